//! `loadgen check` from the command line, against foreign servers.
//!
//! This program is also a server that never gets ready: `serve BEHAVIOUR`.

#![allow(clippy::print_stderr, reason = "a test reads what its servers print")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [first, behaviour, rest @ ..] = arguments.as_slice()
        && first == "serve"
    {
        serve(behaviour, rest);
        return ExitCode::from(3);
    }
    let tests: &[(&str, fn())] = &[
        ("a_right_server_passes", a_right_server_passes),
        (
            "a_wrong_server_fails_and_is_told_why",
            a_wrong_server_fails_and_is_told_why,
        ),
        (
            "a_stranger_may_close_after_any_answer_that_says_so",
            a_stranger_may_close_after_any_answer_that_says_so,
        ),
        (
            "a_case_that_must_own_the_process_is_skipped_visibly",
            a_case_that_must_own_the_process_is_skipped_visibly,
        ),
        ("json_is_an_object_a_line", json_is_an_object_a_line),
        (
            "every_case_is_listed_with_what_it_tries",
            every_case_is_listed_with_what_it_tries,
        ),
        (
            "bad_usage_is_told_and_exits_2",
            bad_usage_is_told_and_exits_2,
        ),
        (
            "what_a_program_says_does_not_reach_the_terminal_as_it_is",
            what_a_program_says_does_not_reach_the_terminal_as_it_is,
        ),
        (
            "a_killed_check_leaves_no_server_behind",
            a_killed_check_leaves_no_server_behind,
        ),
        ("nobody_there_is_one_line", nobody_there_is_one_line),
    ];
    let tests = tests.iter().map(|&(name, test)| {
        Trial::test(name, move || {
            test();
            Ok(())
        })
    });
    libtest_mimic::run(&Arguments::from_args(), tests.collect()).exit_code()
}

/// `refusing` says so in colour and ends; `stuck` has a child, writes both process ids to a file, and waits.
fn serve(behaviour: &str, arguments: &[String]) {
    match behaviour {
        "refusing" => eprintln!("\x1b[31mno way"),
        "stuck" => {
            let mut child = Command::new("/proc/self/exe");
            let mut child = child.args(["serve", "sleeping"]).spawn().unwrap();
            let path = Path::new(&arguments[0]);
            let unfinished = path.with_extension("new");
            let pids = format!("{} {}", std::process::id(), child.id());
            std::fs::write(&unfinished, pids).unwrap();
            std::fs::rename(&unfinished, path).unwrap();
            child.wait().unwrap();
        }
        "sleeping" => std::thread::sleep(Duration::from_mins(1)),
        other => panic!("nobody serves {other}"),
    }
}

/// This program as a server.
fn own_program() -> String {
    let program = std::env::current_exe().expect("this program is a file");
    program.into_os_string().into_string().expect("it is text")
}

/// A server in threads of this test that does with each connection what `serve` says.
fn server(serve: impl Fn(TcpStream) + Send + Clone + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback has a free port");
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = serve.clone();
            std::thread::spawn(move || serve(stream));
        }
    });
    address
}

fn echo(mut stream: TcpStream) {
    let mut buffer = [0; 1000];
    while let Ok(n @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
}

/// Exit code, stdout and stderr of `loadgen check` with these arguments.
fn check(arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
    let output = command
        .arg("check")
        .args(arguments)
        .output()
        .expect("loadgen runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it prints text");
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

fn a_right_server_passes() {
    let address = server(echo).to_string();
    let (code, out, _) = check(&[&address, "--case", "bytes::size"]);
    assert_eq!(code, Some(0), "{out}");
    assert!(out.contains("pass bytes::size_100_000\n"), "{out}");
    assert!(out.contains(" 0 failed, "), "{out}");
}

fn a_wrong_server_fails_and_is_told_why() {
    let address = server(drop).to_string();
    let (code, out, _) = check(&[&address, "--case", "bytes::one"]);
    assert_eq!(code, Some(1), "{out}");
    assert!(
        out.contains("FAIL bytes::one: 1 byte; expected 1 byte, the same as sent; seen "),
        "{out}"
    );
}

/// Answers each request in HTTP/`version`, and closes after this many answers, as the last one announces.
fn http(mut stream: TcpStream, version: &str, most: usize) {
    let mut input = Vec::new();
    let mut answered = 0;
    while answered < most {
        let Some(end) = input.windows(4).position(|part| part == b"\r\n\r\n") else {
            let mut part = [0; 1000];
            match stream.read(&mut part) {
                Ok(n @ 1..) => input.extend_from_slice(&part[..n]),
                _ => return,
            }
            continue;
        };
        let head = String::from_utf8_lossy(&input[..end]).to_lowercase();
        input.drain(..end + 4);
        answered += 1;
        // In HTTP/1.0 the close needs no announcement.
        let last = answered == most || head.contains("close");
        let close = if last && version == "1.1" {
            "Connection: x\r\nConnection: y, Close\r\n"
        } else {
            ""
        };
        let body = if head.starts_with("head") { "" } else { "hi\n" };
        let answer = format!("HTTP/{version} 200 \r\nContent-Length: 3\r\n{close}\r\n{body}");
        if stream.write_all(answer.as_bytes()).is_err() || last {
            return;
        }
    }
}

fn a_stranger_may_close_after_any_answer_that_says_so() {
    for (version, most) in [("1.0", 1), ("1.1", 1), ("1.1", 100)] {
        let address = server(move |stream| http(stream, version, most)).to_string();
        let mut arguments = vec![address.as_str(), "--mode", "http"];
        for case in [
            "http::head",
            "http::keep_alive",
            "http::targets",
            "http::pipelined_unread",
            "http::large_head",
            "http::many_clients",
        ] {
            arguments.extend(["--case", case]);
        }
        let (code, out, _) = check(&arguments);
        assert_eq!(code, Some(0), "{version}, {most}: {out}");
        let skipped = format!("skip http::pipelined_unread (it closes after {most} answer");
        assert!(out.contains(&skipped), "{version}, {most}: {out}");
        assert!(
            out.contains("pass http::many_clients\n"),
            "{version}, {most}: {out}"
        );
    }
}

fn a_case_that_must_own_the_process_is_skipped_visibly() {
    let address = server(echo).to_string();
    let (code, out, _) = check(&[&address, "--case", "stop::idle"]);
    assert_eq!(code, Some(0), "{out}");
    assert!(out.starts_with("skip stop::idle ("), "{out}");
}

fn json_is_an_object_a_line() {
    let address = server(echo).to_string();
    let (code, out, _) = check(&[
        &address,
        "--json",
        "--case",
        "bytes::size",
        "--case",
        "leaks::",
    ]);
    assert_eq!(code, Some(0), "{out}");
    let results: Vec<serde_json::Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line is an object"))
        .collect();
    let with = |result| {
        results
            .iter()
            .filter(|line| line["result"] == result)
            .count()
    };
    assert_eq!((with("pass"), with("skip")), (4, 3), "{out}");
}

fn every_case_is_listed_with_what_it_tries() {
    let (code, out, _) = check(&["--list"]);
    assert_eq!(code, Some(0));
    assert_eq!(out.lines().count(), conformance::cases().len());
    assert!(out.contains("bytes::size_100_000: 100,000 bytes"), "{out}");
}

fn bad_usage_is_told_and_exits_2() {
    let other = env!("CARGO_BIN_EXE_loadgen");
    for arguments in [
        &[][..],
        &["127.0.0.1:1", "--group", "nonsense"],
        &["127.0.0.1:1", "--case", "nonsense"],
        &["nowhere"],
        &["127.0.0.1:1", "--soak", "1s"],
        &["127.0.0.1:1", "--server", other],
        // It is no server of the contract, and is not told where to listen.
        &["--server", other],
        &["--server", other, "--case", "bytes::one"],
        &["--soak", "0s", "--server", other],
        &["--soak", "1s", "--server", other, "{port}"],
    ] {
        let (code, out, err) = check(arguments);
        assert_eq!(code, Some(2), "{arguments:?}: {out}{err}");
        assert!(!err.is_empty(), "{arguments:?}");
    }
}

fn what_a_program_says_does_not_reach_the_terminal_as_it_is() {
    let command = [&own_program(), "serve", "refusing", "{port}"];
    let (code, out, _) = check(&[&["--case", "bytes::none", "--server"][..], &command].concat());
    assert_eq!(code, Some(1), "{out}");
    assert!(out.contains(r"stderr: \u{1b}[31mno way"), "{out}");
}

fn a_killed_check_leaves_no_server_behind() {
    let directory = tempfile::tempdir().expect("there is room for a directory");
    let told = directory.path().join("pids");
    let told_at = told.to_str().expect("it is text");
    // It is never ready, so that the check waits for it. Two processes: a server may fork.
    let mut check = Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args(["check", "--case", "bytes::one", "--server"])
        .args([&own_program(), "serve", "stuck", told_at, "{port}"])
        .spawn()
        .expect("loadgen runs");
    let deadline = Instant::now() + Duration::from_secs(20);
    let wait_until = |what: &str, is_so: &dyn Fn() -> bool| {
        while !is_so() {
            assert!(Instant::now() < deadline, "{what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    wait_until("no server was started", &|| told.exists());
    check.kill().expect("it runs");
    check.wait().expect("it was killed");
    let pids = std::fs::read_to_string(&told).expect("the file is there");
    assert_eq!(pids.split_whitespace().count(), 2, "{pids}");
    for pid in pids.split_whitespace() {
        let pid = pid.parse().expect("it is a number");
        // A zombie whose parent is init may be there for a moment.
        let is_gone = || {
            let stat = procfs::process::Process::new(pid).and_then(|process| process.stat());
            stat.is_ok_and(|stat| stat.state == 'Z') || !Path::new(&format!("/proc/{pid}")).exists()
        };
        wait_until("a server was left behind", &is_gone);
    }
}

fn nobody_there_is_one_line() {
    let (code, out, err) = check(&["127.0.0.1:1"]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert_eq!(err.lines().count(), 1, "{err}");
}

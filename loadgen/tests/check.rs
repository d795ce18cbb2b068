//! `loadgen check` from the command line, against servers of somebody else's at an address.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use assert_cmd::Command;

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

#[test]
fn a_right_server_passes() {
    let address = server(echo).to_string();
    let (code, out, _) = check(&[&address, "--case", "bytes::size"]);
    assert_eq!(code, Some(0), "{out}");
    assert!(out.contains("pass bytes::size_100_000\n"), "{out}");
    assert!(out.contains(" 0 failed, "), "{out}");
}

#[test]
fn a_wrong_server_fails_and_is_told_why() {
    let address = server(drop).to_string();
    let (code, out, _) = check(&[&address, "--case", "bytes::one"]);
    assert_eq!(code, Some(1), "{out}");
    assert!(
        out.contains("FAIL bytes::one: 1 byte; expected 1 byte, the same as sent; seen "),
        "{out}"
    );
}

#[test]
fn a_case_that_must_own_the_process_is_skipped_visibly() {
    let address = server(echo).to_string();
    let (code, out, _) = check(&[&address, "--case", "signals::term_idle"]);
    assert_eq!(code, Some(0), "{out}");
    assert!(out.starts_with("skip signals::term_idle ("), "{out}");
}

#[test]
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

#[test]
fn every_case_is_listed_with_what_it_tries() {
    let (code, out, _) = check(&["--list"]);
    assert_eq!(code, Some(0));
    assert_eq!(out.lines().count(), loadgen::check::cases().len());
    assert!(out.contains("bytes::size_100_000: 100,000 bytes"), "{out}");
}

#[test]
fn bad_usage_is_told_and_exits_2() {
    for arguments in [
        &[][..],
        &["127.0.0.1:1", "--group", "nonsense"],
        &["127.0.0.1:1", "--case", "nonsense"],
        &["nowhere"],
        &["127.0.0.1:1", "--soak", "1s"],
        &["127.0.0.1:1", "--server", "true"],
    ] {
        let (code, out, err) = check(arguments);
        assert_eq!(code, Some(2), "{arguments:?}: {out}{err}");
        assert!(!err.is_empty(), "{arguments:?}");
    }
}

#[test]
fn nobody_there_is_one_line() {
    let (code, out, err) = check(&["127.0.0.1:1"]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert_eq!(err.lines().count(), 1, "{err}");
}

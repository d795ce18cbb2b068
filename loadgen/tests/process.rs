//! Servers that behave badly are started, told apart and brought to an end.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use loadgen::process::{Launch, Ready, Server, StartError, Stopped};
use procfs::process::Process;

const LONG: Duration = Duration::from_secs(20);

/// A "server" that is a shell script.
fn script(text: &str) -> Launch {
    Launch {
        launcher: PathBuf::from(env!("CARGO_BIN_EXE_loadgen")),
        command: ["sh", "-c", text].map(Into::into).into(),
        cpus: Vec::new(),
        descriptors: None,
        ready: Ready::Line,
        timeout: LONG,
    }
}

fn start(launch: &Launch) -> Result<Server, StartError> {
    Server::start(launch, &mut || false)
}

fn wait_until_gone(pid: i32) {
    let deadline = Instant::now() + LONG;
    // A zombie whose parent is init may be there for a moment.
    while Process::new(pid)
        .and_then(|process| process.stat())
        .is_ok_and(|stat| stat.state != 'Z')
    {
        assert!(Instant::now() < deadline, "process {pid} is still there");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_ready_server_tells_its_address_and_stops_on_sigterm() {
    let server = start(&script("echo listening on 127.0.0.1:7; exec sleep 60")).unwrap();
    assert_eq!(server.address(), SocketAddr::from(([127, 0, 0, 1], 7)));
    let pid = server.pid() as i32;
    assert_eq!(server.stop(LONG), Stopped::Gracefully);
    wait_until_gone(pid);
}

#[test]
fn a_server_gets_its_own_limit_of_descriptors_and_core() {
    let mut launch = script("echo listening on 127.0.0.1:$(ulimit -Sn); exec sleep 60");
    launch.descriptors = Some(77);
    launch.cpus = vec![loadgen::observe::cores::allowed_cpus()[0]];
    let server = start(&launch).unwrap();
    assert_eq!(server.address().port(), 77);
    assert_eq!(loadgen::observe::cores::cpus_of(server.pid()), launch.cpus);
}

#[test]
fn a_server_that_ignores_sigterm_is_killed_with_its_children() {
    let text = "trap '' TERM; sleep 60 & echo listening on [::1]:7; while :; do sleep 1; done";
    let server = start(&script(text)).unwrap();
    let shell = Process::new(server.pid() as i32).unwrap();
    let children = shell.task_main_thread().unwrap().children().unwrap();
    assert!(!children.is_empty());
    assert_eq!(server.stop(Duration::from_millis(50)), Stopped::Killed);
    for child in children {
        wait_until_gone(child as i32);
    }
}

#[test]
fn a_server_that_dies_before_it_is_ready_says_how() {
    let error = start(&script("echo the port is taken >&2; exit 7")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "ended before it was ready: exit code 7: the port is taken"
    );
}

#[test]
fn a_server_that_dies_later_is_told_apart_from_one_that_stops() {
    let server = start(&script("echo listening on 127.0.0.1:7; kill -SEGV $$")).unwrap();
    wait_until_gone(server.pid() as i32);
    let Stopped::Before(how) = server.stop(LONG) else {
        panic!("not seen")
    };
    assert!(how.starts_with("SIGSEGV"), "{how}");
}

#[test]
fn a_server_that_fails_at_its_end_is_told() {
    let text = "trap 'exit 3' TERM; echo listening on 127.0.0.1:7; while :; do sleep 0.01; done";
    let server = start(&script(text)).unwrap();
    assert_eq!(server.stop(LONG), Stopped::Badly("exit code 3".to_owned()));
}

#[test]
fn rubbish_instead_of_the_ready_line_is_shown() {
    let error = start(&script(r"printf 'hello\033[31m\n'; sleep 60")).unwrap_err();
    assert!(
        matches!(&error, StartError::Rubbish(line) if line == r"hello\u{1b}[31m"),
        "{error}"
    );
    let error = start(&script("echo listening on port 7000; sleep 60")).unwrap_err();
    assert!(matches!(error, StartError::Rubbish(_)), "{error}");
    // An endless line is cut.
    let error = start(&script("head -c 1000000 /dev/zero; sleep 60")).unwrap_err();
    assert!(
        matches!(&error, StartError::Rubbish(line) if line.len() < 100_000),
        "{error}"
    );
}

#[test]
fn a_server_that_never_gets_ready_is_given_up_and_ended() {
    let mut launch = script("echo $$ waits for its database >&2; sleep 60");
    launch.timeout = Duration::from_millis(300);
    let error = start(&launch).unwrap_err().to_string();
    let said = error
        .strip_prefix("was not ready within 300ms: ")
        .expect(&error);
    let pid = said.split(' ').next().unwrap().parse().unwrap();
    wait_until_gone(pid);
}

#[test]
fn an_interrupt_ends_the_wait() {
    let error = Server::start(&script("sleep 60"), &mut || true).unwrap_err();
    assert!(matches!(error, StartError::Interrupted));
}

#[test]
fn a_missing_program_is_named() {
    let mut launch = script("");
    launch.command = vec!["/no/such/server".into()];
    let error = start(&launch).unwrap_err().to_string();
    assert!(error.contains("cannot start /no/such/server"), "{error}");
}

#[test]
fn a_foreign_server_is_ready_when_its_port_accepts() {
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let mut launch = script("");
    launch.command = vec![
        "python3".into(),
        "-c".into(),
        format!(
            "import socket; s = socket.create_server(('127.0.0.1', {port})); s.accept(); s.accept()"
        )
        .into(),
    ];
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    launch.ready = Ready::Probe(address);
    let server = start(&launch).unwrap();
    assert_eq!(server.address(), address);
    assert_eq!(server.stop(LONG), Stopped::Gracefully);
    // A foreign server that ends at once is not waited for.
    launch.command = vec!["true".into()];
    assert!(matches!(start(&launch), Err(StartError::Ended(_))));
}

#[test]
fn a_server_does_not_outlive_a_killed_bench() {
    // A shell stands for the bench: it starts the launcher as its child and is then killed.
    let launcher = env!("CARGO_BIN_EXE_loadgen");
    let text = format!(
        "exec 3<&0; {launcher} launch --parent $$ -- sh -c 'echo $$; exec sleep 60' <&3 & wait"
    );
    let mut bench = Command::new("sh");
    bench
        .args(["-c", &text])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut bench = bench.spawn().unwrap();
    bench.stdin.take().unwrap().write_all(b"\n").unwrap();
    let mut line = String::new();
    BufReader::new(bench.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let pid: i32 = line.trim().parse().unwrap();
    assert!(Process::new(pid).is_ok());
    bench.kill().unwrap();
    bench.wait().unwrap();
    wait_until_gone(pid);
}

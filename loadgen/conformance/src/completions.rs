//! What can go wrong with completions, for the tests of the servers that wait for them. The trace shows that it happened.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use libtest_mimic::{Arguments, Trial};
use socket2::SockRef;

use crate::client::pattern;
use crate::own_server::{OwnServer, PATIENCE};

/// Runs these tests. Where the kernel refuses the interface, the server says so in one line, and there is nothing to try.
pub fn run<const N: usize>(refused: bool, tests: [(&str, fn()); N]) -> ExitCode {
    let trials = tests.map(|(name, test)| {
        let name = if refused {
            format!("{name} (refused here)")
        } else {
            name.into()
        };
        Trial::test(name, move || {
            test();
            Ok(())
        })
        .with_ignored_flag(refused)
    });
    libtest_mimic::run(&Arguments::from_args(), trials.into()).exit_code()
}

/// More operations complete than the queue holds: the kernel keeps their completions for the next wait.
pub fn full_queue(program: &str, entries: u32) {
    let server = OwnServer::start(program, &format!("--trace --entries {entries}"));
    server.echo_of_many(16, 200_000);
    let (stats, trace) = server.stop();
    assert!(
        trace.contains("more than there is room for"),
        "the queue never overflowed"
    );
    assert_eq!(stats["bytes_out"], 16 * 200_000);
}

/// Clients go, or are idle for too long, while the kernel still has their memory.
pub fn closed_in_flight(program: &str) {
    let server = OwnServer::start(program, "--trace --idle-timeout 300ms");
    // Its answers find no room: a send is in flight until the timeout cancels it.
    let mut stuck = server.connect();
    stuck
        .set_write_timeout(Some(Duration::from_millis(100)))
        .expect("a timeout");
    while stuck.write(&[7; 4096]).is_ok() {}
    // It says nothing: the server waits for its first byte when it resets.
    let silent = server.connect();
    SockRef::from(&silent)
        .set_linger(Some(Duration::ZERO))
        .expect("a socket option");
    drop(silent);
    // Both have ended when the server has closed the stuck one; what it sends then is reset.
    stuck.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    while stuck.write(&[7; 4096]).is_ok() {}

    server.echo_of_many(4, 100_000);
    let (stats, trace) = server.stop();
    assert!(trace.contains("idle for 300ms"));
    assert!(trace.contains("ECANCELED"), "nothing was in flight");
    assert_eq!(stats["accepted"], 6);
    assert_eq!(stats["closed"], 6);
    assert_eq!(stats["reset"], 2);
}

/// A client whose last message was long is polled, at least so often: also while it is idle, and at a stop.
pub fn long_messages(program: &str, polls: usize) {
    let lengths = [64, 200_000, 200_000, 64, 200_000, 200_000];
    let echo_of_all = |client: &TcpStream| {
        for length in lengths {
            echo(client, length);
        }
    };
    let server = OwnServer::start(program, "--trace --idle-timeout 300ms");
    let mut client = server.connect();
    echo_of_all(&client);
    assert_eq!(client.read(&mut [0]).expect("it is closed"), 0);
    let (_, trace) = server.stop();
    assert!(trace.contains("idle for 300ms"));

    let server = OwnServer::start(program, "--trace");
    let mut client = server.connect();
    echo_of_all(&client);
    client.write_all(b"the last").expect("the server reads");
    let (stats, trace) = server.stop();
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).expect("the server answers");
    assert_eq!(rest, b"the last");
    let polled = trace
        .lines()
        .filter(|line| line.ends_with(": submitted POLL_ADD"));
    assert!(polled.count() >= polls, "it was not polled: {trace}");
    assert_eq!(stats["bytes_out"], 800_136);
}

/// Sends a message and reads its echo at the same time.
fn echo(mut client: &TcpStream, length: usize) {
    let sent = pattern(1, length);
    let mut echo = vec![0; length];
    thread::scope(|scope| {
        let (mut writer, sent) = (client, &sent);
        scope.spawn(move || writer.write_all(sent).expect("the server reads"));
        client.read_exact(&mut echo).expect("the server answers");
    });
    assert!(echo == sent, "it came back changed");
}

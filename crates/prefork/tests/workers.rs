//! Clients that wait for a worker are served, even if it is killed or the server is stopped: with
//! one listener for all, and with one for each. The trace has all processes.

use std::io::{Read, Write};
use std::net::TcpStream;

use conformance::OwnServer;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde_json::json;

const PROGRAM: &str = env!("CARGO_BIN_EXE_prefork-server");

/// Clients that have each sent a request.
fn connect_and_ask<const N: usize>(server: &OwnServer) -> [TcpStream; N] {
    [(); N].map(|()| {
        let mut client = server.connect();
        client.write_all(b"hello").expect("room");
        client
    })
}

fn children(server: &OwnServer) -> Vec<Pid> {
    let pid = server.pid();
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let children = children.expect("the kernel lists children");
    let pids = children.split_whitespace().map(str::parse);
    pids.map(|pid| Pid::from_raw(pid.expect("a number")))
        .collect()
}

/// Waits for the echo of what the client has sent.
fn expect_answer(client: &mut TcpStream) {
    let mut echo = [0; 5];
    client.read_exact(&mut echo).expect("an answer");
    assert_eq!(&echo, b"hello");
}

fn expect_answer_and_end(mut client: TcpStream) {
    let mut all = Vec::new();
    client.read_to_end(&mut all).expect("no reset");
    assert_eq!(all, b"hello");
}

fn those_who_wait_are_served(accept: &str) {
    let server = OwnServer::start(PROGRAM, &format!("--workers 1 --accept {accept}"));
    let [mut victim] = connect_and_ask(&server);
    expect_answer(&mut victim);
    let waiting: [_; 2] = connect_and_ask(&server);

    let killed = children(&server);
    kill(killed[0], Signal::SIGKILL).expect("it runs");
    // By a reset or by the end of input.
    assert!(!matches!(victim.read(&mut [0]), Ok(1)), "its child is dead");
    for mut client in waiting {
        expect_answer(&mut client);
        // The next one's turn comes when this one leaves.
    }
    assert_ne!(children(&server), killed);

    let (stats, _) = server.stop();
    assert_eq!(stats["accepted"], 3);
    assert_eq!(stats["closed"], 3);
    assert_eq!(stats["reset"], 1);
    assert_eq!(stats["per_worker"], json!([3]));
}

#[test]
fn those_who_wait_for_a_killed_worker_are_served_shared() {
    those_who_wait_are_served("shared");
}

#[test]
fn those_who_wait_for_a_killed_worker_are_served_reuseport() {
    those_who_wait_are_served("reuseport");
}

#[test]
fn each_listener_is_swept_at_a_stop() {
    for accept in ["shared", "reuseport"] {
        let server = OwnServer::start(PROGRAM, &format!("--workers 3 --accept {accept}"));
        killpg(server.pid(), Signal::SIGSTOP).expect("it runs");
        let clients: [_; 20] = connect_and_ask(&server);
        server.signal(Signal::SIGTERM);
        killpg(server.pid(), Signal::SIGCONT).expect("it runs");
        clients.into_iter().for_each(expect_answer_and_end);
        let (stats, _) = server.ended();
        assert_eq!(stats["accepted"], 20);
        assert_eq!(stats["reset"], 0);
    }
}

#[test]
fn the_lost_lines_of_a_child_s_trace_are_counted() {
    const LINES: usize = 20;
    let server = OwnServer::start(PROGRAM, "--workers 1 --trace-to /dev/full");
    let mut client = server.connect();
    for _ in 0..LINES {
        client.write_all(b"hello").expect("room");
        expect_answer(&mut client);
    }
    drop(client);
    let (_, told) = server.stop();
    let lines = told.split_whitespace().find_map(|word| word.parse().ok());
    // Each answer is read and written by the child.
    assert!(lines.unwrap_or(0) >= 2 * LINES, "{told}");
}

//! A child that is killed takes its own client with it, and nobody else.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// How long nothing may move before the server counts as stuck.
const PATIENCE: Duration = Duration::from_secs(10);

/// A server with one child, so that it is known who serves whom; it ends with the test.
struct Server {
    parent: Child,
    stdout: BufReader<std::process::ChildStdout>,
    address: SocketAddr,
}

impl Server {
    fn start(accept: &str) -> Self {
        let mut parent = Command::new(env!("CARGO_BIN_EXE_prefork-server"))
            .args(["--listen", "127.0.0.1:0", "--workers", "1", "--stats"])
            .args(["--accept", accept])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let mut stdout = BufReader::new(parent.stdout.take().expect("it is piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("a ready line");
        let address = line.trim().trim_start_matches("listening on ");
        Self {
            address: address.parse().expect("an address"),
            parent,
            stdout,
        }
    }

    fn connect(&self) -> TcpStream {
        let client = TcpStream::connect(self.address).expect("a connection");
        client.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        client
    }

    fn child(&self) -> Pid {
        let parent = self.parent.id();
        let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
        let children = children.expect("the kernel lists children");
        Pid::from_raw(children.trim().parse().expect("one child"))
    }

    /// Ends it; what it counted.
    fn stop(mut self) -> Value {
        let parent = Pid::from_raw(self.parent.id().cast_signed());
        kill(parent, Signal::SIGTERM).expect("it runs");
        let mut stats = String::new();
        self.stdout.read_to_string(&mut stats).expect("its output");
        assert!(self.parent.wait().expect("its end").success());
        serde_json::from_str(&stats).expect("a line of JSON")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Fails where it has ended.
        let _ = self.parent.kill();
        let _ = self.parent.wait();
    }
}

/// Waits for the echo of what the client sent.
fn expect(client: &mut TcpStream, sent: &[u8]) {
    let mut echo = vec![0; sent.len()];
    client.read_exact(&mut echo).expect("an answer");
    assert_eq!(echo, sent);
}

fn those_who_wait_are_served(accept: &str) {
    let server = Server::start(accept);
    let mut victim = server.connect();
    victim.write_all(b"served").expect("room");
    expect(&mut victim, b"served");
    let mut waiting = [server.connect(), server.connect()];
    for client in &mut waiting {
        client.write_all(b"waiting").expect("room");
    }

    let killed = server.child();
    kill(killed, Signal::SIGKILL).expect("it runs");
    // By a reset or by the end of input.
    assert!(!matches!(victim.read(&mut [0]), Ok(1)), "its child is dead");
    for mut client in waiting {
        expect(&mut client, b"waiting");
        // The next one's turn comes when this one leaves.
    }
    assert_ne!(server.child(), killed);

    let stats = server.stop();
    assert_eq!(stats["accepted"], 3);
    assert_eq!(stats["closed"], 3);
    assert_eq!(stats["reset"], 1);
    assert_eq!(stats["per_worker"], serde_json::json!([3]));
}

#[test]
fn shared() {
    those_who_wait_are_served("shared");
}

#[test]
fn reuseport() {
    those_who_wait_are_served("reuseport");
}

#[test]
fn handoff() {
    those_who_wait_are_served("handoff");
}

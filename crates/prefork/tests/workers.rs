//! Clients that wait for a worker are served, even if it is killed or the server is stopped: with
//! one listener for all, and with one for each. The trace has all processes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde_json::{Value, json};

/// How long nothing may move before the server counts as stuck.
const PATIENCE: Duration = Duration::from_secs(10);

/// A server in a process group of its own, which ends with the test.
struct Server {
    parent: Child,
    stdout: BufReader<std::process::ChildStdout>,
    address: SocketAddr,
}

impl Server {
    fn start(flags: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_prefork-server"));
        command
            .args(["--listen", "127.0.0.1:0", "--stats"])
            .args(flags.split_whitespace())
            .process_group(0)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut parent = command.spawn().expect("the server starts");
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

    /// Clients that have each sent a request.
    fn connect_and_ask<const N: usize>(&self) -> [TcpStream; N] {
        [(); N].map(|()| {
            let mut client = self.connect();
            client.write_all(b"hello").expect("room");
            client
        })
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.parent.id().cast_signed())
    }

    fn children(&self) -> Vec<Pid> {
        let pid = self.parent.id();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let children = children.expect("the kernel lists children");
        let pids = children.split_whitespace().map(str::parse);
        pids.map(|pid| Pid::from_raw(pid.expect("a number")))
            .collect()
    }

    /// Ends it; what it counted.
    fn stop(self) -> Value {
        kill(self.pid(), Signal::SIGTERM).expect("it runs");
        self.stopped()
    }

    /// Waits for its end; what it counted.
    fn stopped(mut self) -> Value {
        let start = Instant::now();
        let status = loop {
            match self.parent.try_wait().expect("its end") {
                Some(status) => break status,
                None => std::thread::sleep(Duration::from_millis(2)),
            }
            assert!(start.elapsed() < PATIENCE, "it does not stop");
        };
        assert!(status.success(), "{status}");
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("its output");
        serde_json::from_str(&line).expect("a line of JSON")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Fails where all have ended.
        let _ = killpg(self.pid(), Signal::SIGKILL);
        let _ = self.parent.wait();
    }
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
    let server = Server::start(&format!("--workers 1 --accept {accept}"));
    let [mut victim] = server.connect_and_ask();
    expect_answer(&mut victim);
    let waiting: [_; 2] = server.connect_and_ask();

    let killed = server.children();
    kill(killed[0], Signal::SIGKILL).expect("it runs");
    // By a reset or by the end of input.
    assert!(!matches!(victim.read(&mut [0]), Ok(1)), "its child is dead");
    for mut client in waiting {
        expect_answer(&mut client);
        // The next one's turn comes when this one leaves.
    }
    assert_ne!(server.children(), killed);

    let stats = server.stop();
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
        let server = Server::start(&format!("--workers 3 --accept {accept}"));
        killpg(server.pid(), Signal::SIGSTOP).expect("it runs");
        let clients: [_; 20] = server.connect_and_ask();
        kill(server.pid(), Signal::SIGTERM).expect("it runs");
        killpg(server.pid(), Signal::SIGCONT).expect("it runs");
        clients.into_iter().for_each(expect_answer_and_end);
        let stats = server.stopped();
        assert_eq!(stats["accepted"], 20);
        assert_eq!(stats["reset"], 0);
    }
}

#[test]
fn the_lost_lines_of_a_child_s_trace_are_counted() {
    const LINES: usize = 20;
    let mut server = Server::start("--workers 1 --trace-to /dev/full");
    let mut stderr = server.parent.stderr.take().expect("it is piped");
    let mut client = server.connect();
    for _ in 0..LINES {
        client.write_all(b"hello").expect("room");
        expect_answer(&mut client);
    }
    drop(client);
    server.stop();
    let mut told = String::new();
    stderr.read_to_string(&mut told).expect("text");
    let lines = told.split_whitespace().find_map(|word| word.parse().ok());
    // Each answer is read and written by the child.
    assert!(lines.unwrap_or(0) >= 2 * LINES, "{told}");
}

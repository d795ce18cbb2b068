//! The program's file changes or disappears while the server runs.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// How long nothing may move before the server counts as stuck.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server that ends with the test.
struct Server {
    process: Child,
    stdout: BufReader<ChildStdout>,
    address: SocketAddr,
}

impl Server {
    fn start(program: &Path) -> Self {
        let mut process = Command::new(program)
            .args(["--listen", "127.0.0.1:0", "--stats"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let mut stdout = BufReader::new(process.stdout.take().expect("it is piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("a ready line");
        let address = line.trim().trim_start_matches("listening on ");
        Self {
            address: address.parse().expect("an address"),
            process,
            stdout,
        }
    }

    /// The bytes that a client gets back.
    fn echo(&self, message: &[u8]) -> Vec<u8> {
        let mut client = TcpStream::connect(self.address).expect("a connection");
        client.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let mut back = Vec::new();
        // These fail where the client was closed with its bytes unread.
        let _ = client.write_all(message);
        let _ = client.shutdown(Shutdown::Write);
        let _ = client.read_to_end(&mut back);
        back
    }

    /// Ends it; gives its counters and what it said on stderr.
    fn stop(mut self) -> (Value, String) {
        let pid = Pid::from_raw(self.process.id().cast_signed());
        kill(pid, Signal::SIGTERM).expect("it runs");
        let mut stats = String::new();
        self.stdout.read_to_string(&mut stats).expect("text");
        let mut told = String::new();
        let mut stderr = self.process.stderr.take().expect("it is piped");
        stderr.read_to_string(&mut told).expect("text");
        assert!(self.process.wait().expect("it ends").success(), "{told}");
        (serde_json::from_str(&stats).expect("counters"), told)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It fails where the server has ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// One test: a file that is written while another thread forks cannot be executed.
#[test]
fn a_program_that_cannot_be_started_costs_its_client_and_a_removed_one_nobody() {
    let directory = tempfile::tempdir().expect("a directory");
    let program = directory.path().join("inetd-server");
    fs::copy(env!("CARGO_BIN_EXE_inetd-server"), &program).expect("a copy");
    let server = Server::start(&program);
    assert_eq!(server.echo(b"before"), b"before");

    // Not even the superuser executes a file that nobody may execute.
    fs::set_permissions(&program, Permissions::from_mode(0o600)).expect("a file");
    for _ in 0..3 {
        assert_eq!(server.echo(b"meanwhile"), b"");
    }
    fs::set_permissions(&program, Permissions::from_mode(0o700)).expect("a file");
    assert_eq!(server.echo(b"after"), b"after");

    fs::remove_file(&program).expect("a file");
    assert_eq!(server.echo(b"removed"), b"removed");

    let (stats, told) = server.stop();
    assert_eq!(told.lines().count(), 1, "{told}");
    assert!(told.contains("/proc/self/exe"), "{told}");
    assert_eq!(stats["accepted"], 6, "{stats}");
    assert_eq!(stats["closed"], 6, "{stats}");
    assert_eq!(stats["refused"], 3, "{stats}");
}

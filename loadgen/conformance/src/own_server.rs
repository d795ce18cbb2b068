//! A server that a crate's own test starts, for what the cases do not try with every server.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde_json::Value;
use socket2::SockRef;
use tempfile::NamedTempFile;

use crate::client::pattern;
use crate::patience::pause;

/// How long nothing may move before the server counts as stuck.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A server in a process group of its own, which ends with the test. What goes wrong is a panic.
#[derive(Debug)]
pub struct OwnServer {
    process: Child,
    stdout: BufReader<ChildStdout>,
    /// A file, as the server drops lines of its trace for which a pipe has no room.
    stderr: NamedTempFile,
    /// Where it listens.
    pub address: SocketAddr,
}

impl OwnServer {
    /// Starts `program` with these flags, separated by spaces, and waits for its ready line.
    pub fn start(program: &str, flags: &str) -> Self {
        let stderr = NamedTempFile::new().expect("a temporary file");
        let mut process = Command::new(program)
            .args(["--listen", "127.0.0.1:0", "--stats"])
            .args(flags.split_whitespace())
            .process_group(0)
            .stdout(Stdio::piped())
            .stderr(stderr.reopen().expect("the file is there"))
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
            stderr,
        }
    }

    /// A new client, whose reads and writes fail when nothing moves for long.
    pub fn connect(&self) -> TcpStream {
        let client = TcpStream::connect(self.address).expect("a connection");
        client.set_nodelay(true).expect("a socket");
        client.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        client.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        client
    }

    /// Its first process; the group of all has the same number.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.process.id().cast_signed())
    }

    /// Sends a signal to its first process.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("it runs");
    }

    /// What it has said on stderr so far.
    pub fn told(&self) -> String {
        let mut told = String::new();
        let mut file = File::open(self.stderr.path()).expect("the file is there");
        file.read_to_string(&mut told).expect("text");
        told
    }

    /// Waits until it has said this so many times.
    pub fn await_told(&self, what: &str, times: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.told().matches(what).count() < times {
            assert!(Instant::now() < deadline, "{what}? {}", self.told());
            pause();
        }
    }

    /// Asks it to stop, and waits for its end: what it counted, and what it said on stderr.
    pub fn stop(self) -> (Value, String) {
        self.signal(Signal::SIGTERM);
        self.ended()
    }

    /// Waits for its end, which must be clean: what it counted, and what it said on stderr.
    pub fn ended(mut self) -> (Value, String) {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.process.try_wait().expect("a child") {
                break status;
            }
            assert!(Instant::now() < deadline, "it does not stop");
            pause();
        };
        let told = self.told();
        assert!(status.success(), "{status}: {told}");
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("text");
        (serde_json::from_str(&line).expect("counters"), told)
    }

    /// Sends all before it reads the first byte, as far as there is room on the way, and reads in small pieces. Gives
    /// what came back.
    pub fn slow_echo(&self, sent: &[u8]) -> Vec<u8> {
        let client = self.connect();
        SockRef::from(&client)
            .set_recv_buffer_size(64 * 1024)
            .expect("a socket option");
        let taken = AtomicUsize::new(0);
        thread::scope(|scope| {
            scope.spawn(|| {
                for part in sent.chunks(16 * 1024) {
                    (&client).write_all(part).expect("the server reads");
                    taken.fetch_add(part.len(), Ordering::Relaxed);
                }
                client.shutdown(Shutdown::Write).expect("it is open");
            });
            // Nothing is read before the server takes no more: all buffers are full then.
            let (mut last, mut same) = (0, 0);
            while same < 100 && last < sent.len() {
                pause();
                let now = taken.load(Ordering::Relaxed);
                same = if now == last { same + 1 } else { 0 };
                last = now;
            }
            let mut echo = Vec::new();
            let mut piece = [0; 3000];
            loop {
                match (&client).read(&mut piece).expect("the server answers") {
                    0 => return echo,
                    n => echo.extend(&piece[..n]),
                }
            }
        })
    }

    /// That many clients at once, each with bytes of its own.
    pub fn echo_of_many(&self, clients: u64, length: usize) {
        thread::scope(|scope| {
            for seed in 0..clients {
                scope.spawn(move || {
                    let sent = pattern(seed, length);
                    let back = self.slow_echo(&sent);
                    assert!(back == sent, "client {seed}: it came back changed");
                });
            }
        });
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        // Fails where all have ended.
        let _ = killpg(self.pid(), Signal::SIGKILL);
        let _ = self.process.wait();
    }
}

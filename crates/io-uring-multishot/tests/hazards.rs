//! Here everything happens that can go wrong with completions, and no byte is lost. The trace shows
//! that it happened.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use libtest_mimic::{Arguments, Trial};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use socket2::SockRef;
use tempfile::NamedTempFile;

/// How long nothing may move before the server counts as stuck.
const PATIENCE: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    // Where the kernel refuses, the server says so in one line, and there is nothing to try.
    let refused = uring::IoUring::new(1).is_err();
    let trials = [
        ("an_empty_buffer_ring", an_empty_buffer_ring as fn()),
        ("a_full_completion_queue", a_full_completion_queue),
        ("a_multishot_that_ends", a_multishot_that_ends),
        ("sends_in_order", sends_in_order),
        (
            "closed_with_operations_in_flight",
            closed_with_operations_in_flight,
        ),
        ("long_messages", long_messages),
    ]
    .map(|(name, run)| {
        let name = if refused {
            format!("{name} (io_uring is refused here)")
        } else {
            name.into()
        };
        Trial::test(name, move || {
            run();
            Ok(())
        })
        .with_ignored_flag(refused)
    });
    libtest_mimic::run(&Arguments::from_args(), trials.into()).exit_code()
}

/// More clients send than there are buffers: each of them gets its bytes all the same.
fn an_empty_buffer_ring() {
    let server = Server::start(&["--ring-buffers", "2"]);
    server.echo_of_many(16, 200_000);
    let (trace, stats) = server.stop();
    assert!(trace.contains("ENOBUFS"), "the ring was never empty");
    assert_eq!(stats["bytes_out"], 16 * 200_000);
}

/// More operations complete than the queue holds: the kernel keeps their completions for the next
/// wait.
fn a_full_completion_queue() {
    let server = Server::start(&["--entries", "1"]);
    server.echo_of_many(16, 200_000);
    let (trace, stats) = server.stop();
    assert!(
        trace.contains("more than there is room for"),
        "the queue never overflowed"
    );
    assert_eq!(stats["bytes_out"], 16 * 200_000);
}

/// A multishot may end with any completion; the server then submits it anew.
fn a_multishot_that_ends() {
    let server = Server::start(&["--entries", "1"]);
    server.echo_of_many(16, 200_000);
    let (trace, stats) = server.stop();
    let brought_bytes = |line: &str| {
        let result = line.split_once("RECV_MULTISHOT has ended with ")?.1;
        Some(!result.starts_with('0'))
    };
    assert!(
        trace.lines().any(|line| brought_bytes(line) == Some(true)),
        "no receive ended before its client did"
    );
    assert_eq!(stats["accepted"], 16);
    assert_eq!(stats["closed"], 16);
    assert_eq!(stats["reset"], 0);
}

/// Many small requests are answered through many sends, never two of a client at once.
fn sends_in_order() {
    let server = Server::start(&["--buffer-size", "64"]);
    let sent = pattern(2, 300_000);
    assert!(server.slow_echo(&sent) == sent, "it came back changed");
    let (trace, _) = server.stop();
    let sends: Vec<usize> = trace
        .lines()
        .filter_map(|line| line.split_once("wrote ")?.1.split(' ').next()?.parse().ok())
        .collect();
    assert!(
        sends.len() > 300_000 / 64,
        "they are small: {}",
        sends.len()
    );
    assert_eq!(sends.iter().sum::<usize>(), 300_000);
}

fn closed_with_operations_in_flight() {
    let server = Server::start(&["--idle-timeout", "300ms"]);
    server.end_clients_in_flight();
    server.echo_of_many(4, 100_000);
    let (trace, stats) = server.stop();
    assert!(trace.contains("idle for 300ms"));
    assert!(trace.contains("ECANCELED"), "nothing was in flight");
    assert_eq!(stats["accepted"], 6);
    assert_eq!(stats["closed"], 6);
    assert_eq!(stats["reset"], 2);
}

/// A client whose last message was long is polled: also while it is idle, and at a stop.
fn long_messages() {
    let lengths = [64, 200_000, 200_000, 64, 200_000, 200_000];
    let server = Server::start(&["--idle-timeout", "300ms"]);
    let mut client = server.connect();
    for length in lengths {
        echo(&client, length);
    }
    assert_eq!(client.read(&mut [0]).expect("it is closed"), 0);
    let (trace, _) = server.stop();
    assert!(trace.contains("idle for 300ms"));

    let server = Server::start(&[]);
    let mut client = server.connect();
    for length in lengths {
        echo(&client, length);
    }
    client.write_all(b"the last").expect("the server reads");
    let (trace, stats) = server.stop();
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).expect("the server answers");
    assert_eq!(rest, b"the last");
    let polls = trace
        .lines()
        .filter(|line| line.ends_with(": submitted POLL_ADD"));
    assert!(polls.count() >= 1, "no client was polled");
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

/// Bytes that differ by position and client.
fn pattern(seed: u32, length: usize) -> Vec<u8> {
    let mut state = seed;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    })
    .take(length)
    .collect()
}

/// A server with a trace; it ends with the test.
struct Server {
    process: Child,
    stdout: BufReader<ChildStdout>,
    /// A file, as the server drops lines for which a pipe has no room.
    trace: NamedTempFile,
    address: SocketAddr,
}

impl Server {
    fn start(flags: &[&str]) -> Self {
        let trace = NamedTempFile::new().expect("a temporary file");
        let mut process = Command::new(env!("CARGO_BIN_EXE_io-uring-multishot-server"))
            .args(["--listen", "127.0.0.1:0", "--trace", "--stats"])
            .args(flags)
            .stdout(Stdio::piped())
            .stderr(trace.reopen().expect("the file is there"))
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
            trace,
        }
    }

    fn connect(&self) -> TcpStream {
        let client = TcpStream::connect(self.address).expect("a connection");
        client.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        client
    }

    /// Sends all before it reads the first byte, as far as there is room on the way, and reads in
    /// small pieces.
    fn slow_echo(&self, sent: &[u8]) -> Vec<u8> {
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
            while same < 20 && last < sent.len() {
                thread::sleep(Duration::from_millis(10));
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
    fn echo_of_many(&self, clients: u32, length: usize) {
        thread::scope(|scope| {
            for seed in 0..clients {
                scope.spawn(move || {
                    let sent = pattern(seed, length);
                    assert!(
                        self.slow_echo(&sent) == sent,
                        "client {seed}: it came back changed"
                    );
                });
            }
        });
    }

    /// Clients go, or are idle for too long, while the kernel still has their memory. Needs an idle
    /// timeout.
    fn end_clients_in_flight(&self) {
        // Its answers find no room: a send is in flight until the timeout cancels it.
        let mut stuck = self.connect();
        stuck
            .set_write_timeout(Some(Duration::from_millis(100)))
            .expect("a timeout");
        while stuck.write(&[7; 4096]).is_ok() {}
        // It says nothing: the server waits for its first byte when it resets.
        let silent = self.connect();
        SockRef::from(&silent)
            .set_linger(Some(Duration::ZERO))
            .expect("a socket option");
        drop(silent);
        // Both have ended when the server has closed the stuck one; what it sends then is reset.
        stuck.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        while stuck.write(&[7; 4096]).is_ok() {}
    }

    /// Ends it; its trace and what it counted.
    fn stop(mut self) -> (String, Value) {
        let process = Pid::from_raw(self.process.id().cast_signed());
        kill(process, Signal::SIGTERM).expect("it runs");
        let mut stats = String::new();
        self.stdout.read_to_string(&mut stats).expect("its output");
        assert!(self.process.wait().expect("its end").success());
        let trace = std::fs::read_to_string(self.trace.path()).expect("the trace");
        (trace, serde_json::from_str(&stats).expect("a line of JSON"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Fails where it has ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

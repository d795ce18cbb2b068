//! A signal queue of ten, and two hundred clients who all speak while nobody reads it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

/// Ends the server with the test, however that ends.
struct Server(Child);

impl Server {
    fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("the server runs");
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.0.id().cast_signed())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn nobody_is_lost_when_the_signal_queue_overflows() {
    // The server inherits it.
    setrlimit(Resource::RLIMIT_SIGPENDING, 10, 10).expect("a limit may be lowered");
    let trace = tempfile::NamedTempFile::new().expect("a temporary file");
    let mut server = Server(
        Command::new(env!("CARGO_BIN_EXE_sigio-server"))
            .args(["--listen", "127.0.0.1:0", "--trace"])
            .stdout(Stdio::piped())
            .stderr(trace.reopen().expect("the file is there"))
            .spawn()
            .expect("the server starts"),
    );
    let mut ready_line = String::new();
    BufReader::new(server.0.stdout.take().expect("it is piped"))
        .read_line(&mut ready_line)
        .expect("the ready line");
    let address = ready_line.trim().trim_start_matches("listening on ");

    // Connected while it is stopped, the clients overflow the queue of the listener's signals too.
    stop(&server);
    let mut clients: Vec<TcpStream> = (0..200)
        .map(|_| {
            let client = TcpStream::connect(address).expect("there is room in the backlog");
            client
                .set_read_timeout(Some(Duration::from_secs(30)))
                .expect("a timeout");
            client
        })
        .collect();
    server.signal(Signal::SIGCONT);
    for round in 0..5 {
        if round > 0 {
            stop(&server);
        }
        for (i, client) in clients.iter_mut().enumerate() {
            client
                .write_all(&message(round, i))
                .expect("the kernel takes it");
        }
        server.signal(Signal::SIGCONT);
        for (i, client) in clients.iter_mut().enumerate() {
            let mut answer = message(round, i);
            answer.fill(0);
            client
                .read_exact(&mut answer)
                .unwrap_or_else(|error| panic!("client {i} in round {round}: {error}"));
            assert_eq!(answer, message(round, i), "client {i} in round {round}");
        }
    }
    // The ends of input come all at once as well.
    stop(&server);
    for client in &clients {
        client.shutdown(Shutdown::Write).expect("it is open");
    }
    server.signal(Signal::SIGCONT);
    for (i, client) in clients.iter_mut().enumerate() {
        let rest = client.read(&mut [0]);
        assert_eq!(rest.expect("the server closes"), 0, "client {i}");
    }

    let told = std::fs::read_to_string(trace.path()).expect("the trace");
    let overflows = told.matches("the signal queue was full").count();
    assert!(overflows >= 5, "it overflowed {overflows} times");
}

/// Stops the server, so that what is sent to it from now on queues up.
fn stop(server: &Server) {
    server.signal(Signal::SIGSTOP);
    waitpid(server.pid(), Some(WaitPidFlag::WUNTRACED)).expect("it is our child");
}

fn message(round: usize, client: usize) -> Vec<u8> {
    format!("round {round}, client {client}\n").into_bytes()
}

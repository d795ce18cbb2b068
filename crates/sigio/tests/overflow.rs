//! A signal queue of ten, and two hundred clients who all speak while nobody reads it.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use conformance::OwnServer;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, waitpid};

#[test]
fn nobody_is_lost_when_the_signal_queue_overflows() {
    // The server inherits it.
    setrlimit(Resource::RLIMIT_SIGPENDING, 10, 10).expect("a limit may be lowered");
    let server = OwnServer::start(env!("CARGO_BIN_EXE_sigio-server"), "--trace");
    // Connected while it is stopped, the clients overflow the queue of the listener's signals too.
    suspend(&server);
    let mut clients: Vec<TcpStream> = (0..200).map(|_| server.connect()).collect();
    server.signal(Signal::SIGCONT);
    for round in 0..5 {
        if round > 0 {
            suspend(&server);
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
    suspend(&server);
    for client in &clients {
        client.shutdown(Shutdown::Write).expect("it is open");
    }
    server.signal(Signal::SIGCONT);
    for (i, client) in clients.iter_mut().enumerate() {
        let rest = client.read(&mut [0]);
        assert_eq!(rest.expect("the server closes"), 0, "client {i}");
    }

    let (_, told) = server.stop();
    let overflows = told.matches("the signal queue was full").count();
    assert!(overflows >= 5, "it overflowed {overflows} times");
}

/// Stops the server, so that what is sent to it from now on queues up.
fn suspend(server: &OwnServer) {
    server.signal(Signal::SIGSTOP);
    waitpid(server.pid(), Some(WaitPidFlag::WUNTRACED)).expect("it is our child");
}

fn message(round: usize, client: usize) -> Vec<u8> {
    format!("round {round}, client {client}\n").into_bytes()
}

//! A stop of a server that has few descriptors, with more clients in its backlog than these suffice for.

use std::io::{Read, Write};
use std::net::TcpStream;

use conformance::OwnServer;
use nix::sys::signal::Signal;
use rustix::process::{Pid, Resource, Rlimit, prlimit};

const CLIENTS: usize = 40;
const DESCRIPTORS: Option<u64> = Some(24);

#[test]
fn all_who_are_accepted_at_a_stop_are_answered() {
    let server = OwnServer::start(env!("CARGO_BIN_EXE_inetd-server"), "--max-connections 1");
    let limit = Rlimit {
        current: DESCRIPTORS,
        maximum: DESCRIPTORS,
    };
    prlimit(
        Pid::from_raw(server.pid().as_raw()),
        Resource::Nofile,
        limit,
    )
    .expect("a child");
    let mut clients: Vec<TcpStream> = (0..CLIENTS).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.write_all(b"hello").expect("room");
    }
    let mut answer = [0; 5];
    clients[0]
        .read_exact(&mut answer)
        .expect("it has a program");
    server.signal(Signal::SIGTERM);
    let mut answered = 0;
    for mut client in clients {
        let mut rest = Vec::new();
        // It fails for those who were left in the backlog.
        let all = client.read_to_end(&mut rest).is_ok();
        answered += usize::from(all && (rest == b"hello" || rest.is_empty()));
    }
    let (stats, told) = server.ended();
    assert_eq!(stats["refused"], 0, "{stats} {told}");
    assert_eq!(stats["accepted"], answered, "{stats} {told}");
    assert!(answered > 10, "{stats} {told}");
}

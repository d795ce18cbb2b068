//! A client for whom there is no stack waits until another leaves; nobody is dropped, and the server
//! says why, once.

use std::io::{Read, Write};
use std::net::TcpStream;

use conformance::OwnServer;
use rustix::process::{Pid, Resource, Rlimit, prlimit};

/// With 64 KiB and a guard page for each, these do not fit into what is left to the server.
const CLIENTS: usize = 600;
const LEFT: u64 = 20 << 20;

#[test]
fn without_a_stack_a_client_waits() {
    let server = OwnServer::start(env!("CARGO_BIN_EXE_coroutines-server"), "");
    limit_addresses(&server);

    let connect = |_| {
        let client = server.connect();
        (&client).write_all(b"hello").expect("room");
        client
    };
    let clients: Vec<TcpStream> = (0..CLIENTS).map(connect).collect();
    // The first clients leave, one by one, and make room for the others.
    for mut client in clients {
        let mut answer = [0; 5];
        client.read_exact(&mut answer).expect("an answer");
        assert_eq!(&answer, b"hello");
    }

    let (stats, told) = server.stop();
    assert_eq!(stats["accepted"], CLIENTS, "{stats}");
    assert_eq!(stats["closed"], CLIENTS, "{stats}");
    assert_eq!(stats["reset"], 0, "{stats}");
    assert_eq!(stats["refused"], 0, "{stats}");
    assert_eq!(told.lines().count(), 1, "{told}");
    assert!(told.contains("there is none for another"), "{told}");
}

/// At its start the server had more addresses.
fn limit_addresses(server: &OwnServer) {
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("it runs");
    let size = status.lines().find_map(|line| {
        let kib = line.strip_prefix("VmSize:")?.trim().strip_suffix(" kB")?;
        kib.parse::<u64>().ok()
    });
    let most = Some((size.expect("its size") << 10) + LEFT);
    let limit = Rlimit {
        current: most,
        maximum: most,
    };
    prlimit(Pid::from_raw(server.pid().as_raw()), Resource::As, limit).expect("a child of ours");
}

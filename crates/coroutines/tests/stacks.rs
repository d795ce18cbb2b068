//! A client for whom there is no stack waits until another leaves; nobody is dropped, and the server
//! says why, once.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};

/// How long nothing may move before the server counts as stuck.
const PATIENCE: Duration = Duration::from_secs(20);

/// With 64 KiB and a guard page for each, these do not fit into what is left to the server.
const CLIENTS: usize = 600;
const LEFT: u64 = 20 << 20;

#[test]
fn without_a_stack_a_client_waits() {
    let mut server = Command::new(env!("CARGO_BIN_EXE_coroutines-server"))
        .args(["--listen", "127.0.0.1:0", "--stats"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the server starts");
    let mut stdout = BufReader::new(server.stdout.take().expect("it is piped"));
    let mut line = String::new();
    stdout.read_line(&mut line).expect("a ready line");
    let address = line.trim().trim_start_matches("listening on ");
    let address: SocketAddr = address.parse().expect("an address");
    limit_addresses(&server);

    let connect = |_| {
        let client = TcpStream::connect(address).expect("the backlog takes it");
        client.set_read_timeout(Some(PATIENCE)).expect("a timeout");
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

    kill_process(pid(&server), Signal::TERM).expect("it runs");
    let mut stats = String::new();
    stdout.read_to_string(&mut stats).expect("its output");
    let mut told = String::new();
    let mut stderr = server.stderr.take().expect("it is piped");
    stderr.read_to_string(&mut told).expect("its messages");
    assert!(server.wait().expect("its end").success());
    let all = format!("\"accepted\":{CLIENTS},\"closed\":{CLIENTS},\"reset\":0,\"refused\":0");
    assert!(stats.contains(&all), "{stats}");
    assert_eq!(told.lines().count(), 1, "{told}");
    assert!(told.contains("there is none for another"), "{told}");
}

fn pid(server: &Child) -> Pid {
    Pid::from_child(server)
}

/// At its start the server had more addresses.
fn limit_addresses(server: &Child) {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.id())).expect("it runs");
    let size = status.lines().find_map(|line| {
        let kib = line.strip_prefix("VmSize:")?.trim().strip_suffix(" kB")?;
        kib.parse::<u64>().ok()
    });
    let most = Some((size.expect("its size") << 10) + LEFT);
    let limit = Rlimit {
        current: most,
        maximum: most,
    };
    prlimit(Some(pid(server)), Resource::As, limit).expect("a child of ours");
}

//! A server that does not accept: the kernel completes a few connections and drops the rest in silence.

use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use socket2::{Domain, Socket, Type};

/// The kernel tries for about this long to make one connection.
const KERNEL_PATIENCE: Duration = Duration::from_secs(130);

/// A listener that nobody accepts from, and its address.
fn deaf_listener() -> (Socket, SocketAddrV4) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let any = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
    socket.bind(&any.into()).unwrap();
    socket.listen(1).unwrap();
    let address = socket.local_addr().unwrap().as_socket_ipv4().unwrap();
    (socket, address)
}

#[test]
fn a_trial_begins_without_the_connections_that_are_not_accepted() {
    let (_listener, address) = deaf_listener();
    let begun = Instant::now();
    let output = Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args(["run", &address.to_string(), "-c", "1000", "--warmup", "0s"])
        .args(["-d", "100ms", "--drain", "0s", "--no-save", "--json"])
        .output()
        .unwrap();
    assert!(begun.elapsed() < KERNEL_PATIENCE);
    let trial: Value = serde_json::from_slice(&output.stdout).unwrap();
    // Those that the kernel has connected were sent a request each.
    assert_eq!(trial["scheduled"], trial["in_flight"]);
    assert_eq!(trial["connect_us"]["count"], trial["in_flight"]);
    assert_eq!(trial["connections_answered"], 0);
}

#[test]
fn a_connection_is_given_up_after_its_time() {
    let (_listener, address) = deaf_listener();
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_loadgen"))
            .args(["run", &address.to_string(), "-c", "10", "--warmup", "0s"])
            .args(["-d", "1s", "--no-save", "--json"])
            .args(["--connect-timeout", "100ms"])
            .args(arguments)
            .output()
            .unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        (serde_json::from_slice(&output.stdout), error)
    };
    let (trial, error) = run(&[]);
    let trial: Value = trial.unwrap_or_else(|wrong| panic!("{wrong}: {error}"));
    // The queue holds one more than it was asked for; the other eight try again and again.
    assert_eq!(trial["connect_us"]["count"], 2, "{trial:#}");
    assert!(
        trial["errors"]["connect-timeout"].as_u64() >= Some(8),
        "{trial:#}"
    );
    // Now it is full.
    let (_, error) = run(&["--mode", "once"]);
    assert!(error.contains("did not answer within 100ms"), "{error}");
}

#[test]
fn an_interrupt_is_heard_while_the_first_connection_is_made() {
    let (_listener, address) = deaf_listener();
    // The queue holds one more than it was asked for.
    let _full = [0, 1].map(|_| TcpStream::connect(address).unwrap());
    let mut child = Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args(["run", &address.to_string(), "--mode", "once", "--no-save"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    while !is_connecting_to(address) {
        assert_eq!(child.try_wait().unwrap(), None, "it ended before");
        std::thread::sleep(Duration::from_millis(5));
    }
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    let output = child.wait_with_output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{error}");
}

/// Whether a connection to this address is in the state `SYN_SENT`.
fn is_connecting_to(address: SocketAddrV4) -> bool {
    let server = format!(
        "{:08X}:{:04X}",
        u32::from_le_bytes(address.ip().octets()),
        address.port()
    );
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    table.lines().any(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        fields.get(2) == Some(&server.as_str()) && fields.get(3) == Some(&"02")
    })
}

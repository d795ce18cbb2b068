//! A listening socket that another process has made: `--listen fd:N`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Starts the server on a socket that it finds as its standard input.
fn start(stdin: impl Into<Stdio>) -> Child {
    Command::new(env!("CARGO_BIN_EXE_epoll-server"))
        .args(["--listen", "fd:0"])
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the server starts")
}

fn refused(stdin: impl Into<Stdio>) -> String {
    let ended = start(stdin).wait_with_output().expect("it ends");
    assert_eq!(ended.status.code(), Some(1));
    assert!(ended.stdout.is_empty(), "it is not ready");
    let told = String::from_utf8(ended.stderr).expect("text");
    assert_eq!(told.lines().count(), 1, "{told}");
    told
}

#[test]
fn a_client_that_came_before_the_server_is_served() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let mut early = TcpStream::connect(address).expect("the backlog takes it");
    early.write_all(b"hello").expect("room");
    let mut server = start(OwnedFd::from(listener));
    let mut line = String::new();
    let mut stdout = BufReader::new(server.stdout.take().expect("it is piped"));
    stdout.read_line(&mut line).expect("a ready line");
    assert_eq!(line, format!("listening on {address}\n"));
    let patience = Some(Duration::from_secs(20));
    early.set_read_timeout(patience).expect("a timeout");
    let mut back = [0; 5];
    early.read_exact(&mut back).expect("an answer");
    assert_eq!(&back, b"hello");
    server.kill().expect("it runs");
    server.wait().expect("it ends");
}

#[test]
fn what_does_not_listen_is_refused_in_one_line() {
    assert!(refused(Stdio::null()).contains("cannot listen on fd:0"));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let connected = TcpStream::connect(address).expect("the backlog takes it");
    let told = refused(OwnedFd::from(connected));
    assert!(
        told.contains("it is not a TCP socket that listens"),
        "{told}"
    );
}

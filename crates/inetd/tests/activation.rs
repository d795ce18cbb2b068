//! What the program of a client inherits when sockets were passed to its parent.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

#[test]
fn a_program_does_not_inherit_the_variables_of_socket_activation() {
    let mut server = Command::new(env!("CARGO_BIN_EXE_inetd-server"))
        .args(["--listen", "127.0.0.1:0"])
        .envs(["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"].map(|name| (name, "1")))
        .env("OTHER", "1")
        .stdout(Stdio::piped())
        .spawn()
        .expect("the server starts");
    let mut line = String::new();
    let mut stdout = BufReader::new(server.stdout.take().expect("it is piped"));
    stdout.read_line(&mut line).expect("a ready line");
    let address = line.trim_end().strip_prefix("listening on ");
    let mut client = TcpStream::connect(address.expect("an address")).expect("it listens");
    client.write_all(b"a").expect("room");
    client.read_exact(&mut [0]).expect("an answer");
    let parent = server.id();
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
    let child = children.expect("a list").trim().to_owned();
    let environment = fs::read(format!("/proc/{child}/environ")).expect("one child");
    let environment = String::from_utf8_lossy(&environment).into_owned();
    server.kill().expect("it runs");
    server.wait().expect("it ends");
    assert!(environment.contains("OTHER=1"), "it is that of the program");
    assert!(!environment.contains("LISTEN_"), "they were passed on");
}

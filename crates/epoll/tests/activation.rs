//! A listening socket that another process has made: `--listen fd:N`, and the variables of
//! `sd_listen_fds(3)`.

use std::env;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::socket::{Backlog, listen};

const SERVER: &str = env!("CARGO_BIN_EXE_epoll-server");

/// Tells [`launcher`] the flags of the server.
const FLAGS: &str = "TEST_ACTIVATION_FLAGS";
/// Tells [`launcher`] that the socket is meant for another process.
const OTHER: &str = "TEST_ACTIVATION_OTHER";

/// With this flag the server ends after it has looked at the descriptor and before it listens.
const ENDS: &str = "--trace-to=/";

/// The server, on a socket that it finds as its standard input.
fn on_stdin(stdin: impl Into<Stdio>, flags: &[&str]) -> Command {
    let mut server = Command::new(SERVER);
    server.args(["--listen", "fd:0"]).args(flags).stdin(stdin);
    server
}

/// The server as systemd starts it, with a socket as descriptor 3; `None`: that one is closed.
fn activated(socket: Option<OwnedFd>, count: Option<&str>, flags: &str) -> Command {
    let mut server = Command::new(env::current_exe().expect("this program"));
    server
        .args(["--exact", "launcher"])
        .args(["--ignored", "--nocapture", "--quiet"])
        .env(FLAGS, flags)
        .env_remove("LISTEN_FDS")
        .envs(count.map(|count| ("LISTEN_FDS", count)))
        .stdin(socket.map_or_else(Stdio::null, Stdio::from));
    server
}

/// Becomes the server: `LISTEN_PID` is its own process number, so only its process can set it.
#[test]
#[ignore = "is the process that other tests start"]
fn launcher() {
    let flags = env::var(FLAGS).expect("flags, from another test");
    // It may be open: make passes descriptors on.
    let _ = nix::unistd::close(3);
    if File::open("/proc/self/fd/0").is_err() {
        // It is a socket, for that cannot be opened.
        let copied = fcntl(io::stdin(), FcntlArg::F_DUPFD(3)).expect("a copy");
        assert_eq!(copied, 3);
    }
    let own = u32::from(env::var_os(OTHER).is_none()) * std::process::id();
    let error = Command::new(SERVER)
        .args(flags.split_whitespace())
        .env("LISTEN_PID", own.to_string())
        .exec();
    panic!("{error}");
}

fn start(mut server: Command) -> Child {
    let server = server.stdout(Stdio::piped()).stderr(Stdio::piped());
    server.spawn().expect("the server starts")
}

/// The server, and the address on which it says that it listens.
fn ready(server: Command) -> (Child, SocketAddr) {
    let mut server = start(server);
    let stdout = BufReader::new(server.stdout.as_mut().expect("it is piped"));
    let address = stdout
        .lines()
        .find_map(|line| {
            line.expect("text")
                .strip_prefix("listening on ")?
                .parse()
                .ok()
        })
        .expect("a ready line");
    (server, address)
}

fn end(mut server: Child) {
    server.kill().expect("it runs");
    server.wait().expect("it ends");
}

/// The exit code of a server that does not become ready, and the one line that it says.
fn refused(server: Command) -> (i32, String) {
    let ended = start(server).wait_with_output().expect("it ends");
    let stdout = String::from_utf8(ended.stdout).expect("text");
    assert!(!stdout.contains("listening on"), "{stdout}");
    let told = String::from_utf8(ended.stderr).expect("text");
    assert_eq!(told.lines().count(), 1, "{told}");
    (ended.status.code().expect("a code"), told)
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    (listener, address)
}

#[test]
fn a_client_that_came_before_the_server_is_served() {
    let (listener, address) = listener();
    let mut early = TcpStream::connect(address).expect("the backlog takes it");
    early.write_all(b"hello").expect("room");
    let (server, told) = ready(on_stdin(OwnedFd::from(listener), &[]));
    assert_eq!(told, address);
    let patience = Some(Duration::from_secs(20));
    early.set_read_timeout(patience).expect("a timeout");
    let mut back = [0; 5];
    early.read_exact(&mut back).expect("an answer");
    assert_eq!(&back, b"hello");
    end(server);
}

#[test]
fn what_does_not_listen_is_refused_in_one_line() {
    let (listener, address) = listener();
    let connected = TcpStream::connect(address).expect("the backlog takes it");
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let directory = tempfile::tempdir().expect("a directory");
    let unix = UnixListener::bind(directory.path().join("socket")).expect("a new name");
    let file = File::open(SERVER).expect("the program");
    for other in [
        OwnedFd::from(connected),
        udp.into(),
        unix.into(),
        file.into(),
    ] {
        let (code, told) = refused(on_stdin(other, &[]));
        assert_eq!(code, 1, "{told}");
        let why = "cannot listen on fd:0: it is not a TCP socket that listens";
        assert!(told.contains(why), "{told}");
    }
    drop(listener);
}

#[test]
fn a_descriptor_that_is_not_open_is_not_taken_for_one_of_the_servers_own() {
    for (count, flags) in [(None, "--listen fd:3"), (Some("1"), "")] {
        let (code, told) = refused(activated(None, count, flags));
        assert_eq!(code, 1, "{told}");
        assert!(told.contains("fd:3: this descriptor is not open"), "{told}");
    }
}

#[test]
fn a_socket_that_systemd_passes_is_the_listener() {
    let (listener, address) = listener();
    let (server, told) = ready(activated(Some(listener.into()), Some("1"), ""));
    assert_eq!(told, address);
    end(server);
}

#[test]
fn a_wrong_number_of_passed_sockets_is_told_in_one_line() {
    for count in [
        "abc",
        "",
        "-1",
        "1 ",
        "1\n",
        "2147483647",
        "99999999999",
        "2",
    ] {
        let (socket, _) = listener();
        let (code, told) = refused(activated(Some(socket.into()), Some(count), ENDS));
        assert_eq!(code, 2, "{count:?}: {told}");
        assert!(told.contains("LISTEN_FDS"), "{count:?}: {told}");
    }
}

#[test]
fn a_socket_for_another_process_is_ignored() {
    let udp = || UdpSocket::bind("127.0.0.1:0").expect("a free port").into();
    // It would refuse this socket if it looked.
    let (_, told) = refused(activated(Some(udp()), Some("1"), ENDS));
    assert!(told.contains("not a TCP socket"), "{told}");
    for count in ["1", "abc"] {
        let mut server = activated(Some(udp()), Some(count), ENDS);
        server.env(OTHER, "");
        let (_, told) = refused(server);
        assert!(told.contains("--trace-to"), "{count}: {told}");
    }
    for none in [None, Some("0")] {
        let (_, told) = refused(activated(Some(udp()), none, ENDS));
        assert!(told.contains("--trace-to"), "{none:?}: {told}");
    }
}

/// How many of eight clients find room in the backlog.
fn room(address: SocketAddr) -> usize {
    let connect = |_| TcpStream::connect_timeout(&address, Duration::from_millis(500)).ok();
    (0..8).map_while(connect).collect::<Vec<_>>().len()
}

/// Starts the server on the listener, and ends it before a client comes.
fn serve_nobody(listener: &TcpListener, flags: &[&str]) {
    let copy = listener.try_clone().expect("a copy");
    end(ready(on_stdin(OwnedFd::from(copy), flags)).0);
}

#[test]
fn the_backlog_of_a_passed_socket_changes_only_with_the_flag() {
    let (socket, address) = listener();
    serve_nobody(&socket, &["--backlog", "1"]);
    assert!(room(address) < 8);

    let (socket, address) = listener();
    listen(&socket, Backlog::new(1).expect("a number")).expect("it listens");
    serve_nobody(&socket, &[]);
    assert!(room(address) < 8);
}

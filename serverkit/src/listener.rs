//! The listening socket and the ready line.

use std::net::{Shutdown, SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

use anyhow::Context as _;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use crate::console;
use crate::options::Options;

/// A listening socket. Non-blocking unless [`Listener::blocking`] made it otherwise.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    address: SocketAddr,
}

/// `SO_REUSEPORT` of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReusePort {
    No,
    /// Set when it is bound: with it, bind would join the listeners of another server.
    First,
    Following,
}

impl Listener {
    /// Binds to `--listen` and listens.
    pub fn bind(options: &Options) -> anyhow::Result<Self> {
        Self::open(options, options.listen, ReusePort::No)
    }

    /// So many listeners on the one address `--listen`, with `SO_REUSEPORT`: each has a backlog
    /// of its own, and the kernel spreads the clients over them.
    pub fn bind_shared(options: &Options, count: usize) -> anyhow::Result<Vec<Self>> {
        let first = Self::open(options, options.listen, ReusePort::First)?;
        let address = first.address;
        let others = (1..count).map(|_| Self::open(options, address, ReusePort::Following));
        std::iter::once(Ok(first)).chain(others).collect()
    }

    fn open(options: &Options, address: SocketAddr, reuse: ReusePort) -> anyhow::Result<Self> {
        let listen = || -> std::io::Result<Self> {
            let socket = Socket::new(
                Domain::for_address(address),
                Type::STREAM,
                Some(Protocol::TCP),
            )?;
            socket.set_reuse_address(true)?;
            // Accepted sockets inherit it: no system call for each client.
            socket.set_tcp_nodelay(true)?;
            notice_vanished_peers(&socket, options.keepalive)?;
            socket.set_nonblocking(true)?;
            socket.set_reuse_port(reuse == ReusePort::Following)?;
            socket.bind(&address.into())?;
            socket.set_reuse_port(reuse != ReusePort::No)?;
            socket.listen(options.backlog)?;
            let address = socket.local_addr()?.as_socket().unwrap_or(address);
            Ok(Self { socket, address })
        };
        listen().with_context(|| format!("cannot listen on {address}"))
    }

    /// Makes accept wait when no client does.
    pub fn blocking(self) -> anyhow::Result<Self> {
        let set = self.socket.set_nonblocking(false);
        set.context("cannot make the listener block")?;
        Ok(self)
    }

    /// Makes accept return at once when no client waits: for the last sweep before it is closed.
    pub fn set_nonblocking(&self) -> anyhow::Result<()> {
        let set = self.socket.set_nonblocking(true);
        set.context("cannot make the listener non-blocking")
    }

    /// Somebody waits to be accepted.
    pub fn has_client(&self) -> bool {
        let mut entries = [PollFd::new(self.as_fd(), PollFlags::POLLIN)];
        poll(&mut entries, PollTimeout::ZERO) == Ok(1)
    }

    /// Closes it for all processes that have a copy of it: nobody can connect any more, and accept
    /// fails.
    pub fn shut_down(&self) {
        // It fails where that was done before.
        let _ = self.socket.shutdown(Shutdown::Both);
    }

    /// The address with the port that the kernel chose.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Prints the ready line. Clients that connect from now on are served.
    pub fn announce(&self) {
        announce(self.address);
    }
}

/// Prints the ready line of a listener that is elsewhere by now: [`Listener::announce`].
pub fn announce(address: SocketAddr) {
    console::print("the ready line", &format!("listening on {address}\n"));
}

/// A peer that vanishes without a word, its machine or its network gone, would hold its place for
/// ever. After `silence` without a byte the kernel asks the peer, and asks again. It ends the
/// connection when five times that has passed without an answer, or without room at the peer for
/// what waits to be sent. Accepted sockets inherit this.
fn notice_vanished_peers(socket: &Socket, silence: Duration) -> std::io::Result<()> {
    if silence.is_zero() {
        return Ok(());
    }
    let keepalive = TcpKeepalive::new()
        .with_time(silence)
        .with_interval(silence)
        .with_retries(4);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(silence * 5))
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl From<Listener> for TcpListener {
    fn from(listener: Listener) -> Self {
        listener.socket.into()
    }
}

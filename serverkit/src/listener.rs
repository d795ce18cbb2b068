//! The listening socket and the ready line.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use anyhow::Context as _;
use socket2::{Domain, Protocol, Socket, Type};

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
    pub fn blocking(self) -> std::io::Result<Self> {
        self.socket.set_nonblocking(false)?;
        Ok(self)
    }

    /// Ends listening while others may be blocked in accept: they and all who try later get
    /// EINVAL, and clients are refused.
    pub fn close(&self) {
        // It fails where it was closed before.
        let _ = self.socket.shutdown(std::net::Shutdown::Read);
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
    let mut stdout = std::io::stdout();
    // A closed stdout is no reason to stop serving.
    let _ = writeln!(stdout, "listening on {address}").and_then(|()| stdout.flush());
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

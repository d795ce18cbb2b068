//! The listening socket and the ready line.

use std::net::{Shutdown, SocketAddr, TcpListener};
use std::time::Duration;

use anyhow::Context as _;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use crate::console;
use crate::options::Options;

/// Binds to `--listen` and listens. The listener does not block.
pub fn bind(options: &Options) -> anyhow::Result<TcpListener> {
    open(options, options.listen, false, false)
}

/// So many listeners on the one address `--listen`, with `SO_REUSEPORT`: each has a backlog of its
/// own, and the kernel spreads the clients over them.
pub fn bind_shared(options: &Options, count: usize) -> anyhow::Result<Vec<TcpListener>> {
    // If it were set before, the first one would join the listeners of another server.
    let first = open(options, options.listen, false, true)?;
    let address = first.local_addr()?;
    let others = (1..count).map(|_| open(options, address, true, true));
    std::iter::once(Ok(first)).chain(others).collect()
}

/// `reuse_before` and `reuse_after`: `SO_REUSEPORT` when it is bound, and from then on.
fn open(
    options: &Options,
    address: SocketAddr,
    reuse_before: bool,
    reuse_after: bool,
) -> anyhow::Result<TcpListener> {
    let listen = || -> std::io::Result<TcpListener> {
        let domain = Domain::for_address(address);
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        // Accepted sockets inherit it: no system call for each client.
        socket.set_tcp_nodelay(true)?;
        notice_vanished_peers(&socket, options.keepalive)?;
        socket.set_nonblocking(true)?;
        socket.set_reuse_port(reuse_before)?;
        socket.bind(&address.into())?;
        socket.set_reuse_port(reuse_after)?;
        socket.listen(options.backlog)?;
        Ok(socket.into())
    };
    listen().with_context(|| format!("cannot listen on {address}"))
}

/// Prints the ready line. Clients that connect from now on are served.
pub fn announce(address: SocketAddr) {
    console::print("the ready line", &format!("listening on {address}\n"));
}

/// Closes it for all threads and processes that use it: nobody can connect any more, and accept
/// fails.
pub fn shut_down(listener: &TcpListener) {
    // It fails where that was done before.
    let _ = SockRef::from(listener).shutdown(Shutdown::Both);
}

/// The machine or the network of a peer may be gone. Without this the server would keep its
/// connection for ever. After `silence` without a byte the kernel asks the peer, and asks again. It
/// ends the connection when five times that has passed without an answer, or without room at the
/// peer for what waits to be sent. Accepted sockets inherit this.
fn notice_vanished_peers(socket: &Socket, silence: Duration) -> std::io::Result<()> {
    if silence.is_zero() {
        return Ok(());
    }
    let keepalive = TcpKeepalive::new()
        .with_time(silence)
        .with_interval(silence);
    socket.set_tcp_keepalive(&keepalive.with_retries(4))?;
    socket.set_tcp_user_timeout(Some(silence * 5))
}

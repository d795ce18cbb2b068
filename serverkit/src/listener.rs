//! The listening socket and the ready line.

use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener};
use std::os::fd::{BorrowedFd, FromRawFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use crate::options::{Listen, Options};
use crate::{console, memory, trace};

/// Where a server listens by default.
const DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7000);

/// The first descriptor that systemd passes: `sd_listen_fds(3)`.
const FIRST_PASSED: u16 = 3;

/// The socket is that of the process which has passed it.
static PASSED: AtomicBool = AtomicBool::new(false);

/// The listener that `--listen` names. It does not block.
pub fn bind(options: &Options) -> anyhow::Result<TcpListener> {
    let listener = first(options, false)?;
    trace::start(options.mode, listener.local_addr()?);
    Ok(listener)
}

/// This many listeners on the one address that `--listen` names, with `SO_REUSEPORT`: each has a backlog
/// of its own, and the kernel spreads the clients over them.
pub fn bind_shared(options: &Options, count: usize) -> anyhow::Result<Vec<TcpListener>> {
    // If it were set before, the first one would join the listeners of another server.
    let first = first(options, true)?;
    let address = first.local_addr()?;
    trace::start(options.mode, address);
    let others = (1..count).map(|_| open(options, address, true, true));
    std::iter::once(Ok(first)).chain(others).collect()
}

/// `reuse`: `SO_REUSEPORT` from when it is bound on.
fn first(options: &Options, reuse: bool) -> anyhow::Result<TcpListener> {
    match options.listen.map_or_else(passed_or_default, Ok)? {
        Listen::Address(address) => open(options, address, false, reuse),
        Listen::Descriptor(number) => inherit(options, number, reuse),
    }
}

/// Socket activation: the environment says whether the sockets are meant for this process. A child
/// of the process that they were meant for has the same environment.
fn passed_or_default() -> anyhow::Result<Listen> {
    let number = |name| std::env::var(name).ok()?.parse::<u32>().ok();
    if number("LISTEN_PID") != Some(std::process::id()) {
        return Ok(Listen::Address(DEFAULT));
    }
    match number("LISTEN_FDS") {
        None | Some(0) => Ok(Listen::Address(DEFAULT)),
        Some(1) => Ok(Listen::Descriptor(FIRST_PASSED)),
        Some(several) => Err(anyhow!(
            "{several} sockets were passed (LISTEN_FDS): choose one, such as --listen fd:{FIRST_PASSED}"
        )),
    }
}

/// A listening socket that another process has made.
#[allow(unsafe_code, reason = "the command line names it by a bare number")]
fn inherit(options: &Options, number: u16, reuse: bool) -> anyhow::Result<TcpListener> {
    let fd = RawFd::from(number);
    // SAFETY: it is used until the end of this function only, and not closed meanwhile. A number that is
    // no open descriptor is an error of the first call.
    let socket = unsafe { BorrowedFd::borrow_raw(fd) };
    let socket = SockRef::from(&socket);
    let prepare = || -> std::io::Result<bool> {
        let is_tcp = matches!(socket.domain()?, Domain::IPV4 | Domain::IPV6)
            && socket.r#type()? == Type::STREAM;
        if !is_tcp || !socket.is_listener()? {
            return Ok(false);
        }
        socket.set_cloexec(true)?;
        socket.set_tcp_nodelay(true)?;
        notice_vanished_peers(&socket, options.keepalive)?;
        socket.set_nonblocking(true)?;
        if reuse {
            socket.set_reuse_port(true)?;
        }
        Ok(true)
    };
    let listens = prepare().with_context(|| format!("cannot listen on fd:{number}"))?;
    ensure!(
        listens,
        "cannot listen on fd:{number}: it is not a TCP socket that listens"
    );
    PASSED.store(true, Relaxed);
    // SAFETY: it was inherited, for this process has not made a listening socket yet. So nothing
    // else owns it.
    Ok(unsafe { TcpListener::from_raw_fd(fd) })
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
///
/// # Errors
/// When what the server has made leaves no memory for a client.
pub fn announce(address: SocketAddr) -> anyhow::Result<()> {
    ensure!(
        memory::suffices_beside(0),
        "no memory for a client: raise the limit (ulimit -v)"
    );
    console::print("the ready line", &format!("listening on {address}\n"));
    Ok(())
}

/// Closes it for all threads and processes that use it: nobody can connect any more, and accept
/// fails.
///
/// Does nothing to a socket that was passed: the process that passed it may serve those who still
/// wait.
pub fn shut_down(listener: &TcpListener) {
    if PASSED.load(Relaxed) {
        return;
    }
    // It fails if that was done before.
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

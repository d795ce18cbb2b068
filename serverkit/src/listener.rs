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

/// The backlog of a socket of the server's own.
const BACKLOG: i32 = 4096;

/// The first descriptor that systemd passes.
const FIRST_PASSED: u16 = 3;

const PID: &str = "LISTEN_PID";
const COUNT: &str = "LISTEN_FDS";

/// With these variables systemd passes sockets to one process. They mean nothing to the programs that
/// it starts.
pub(crate) const ACTIVATION: [&str; 3] = [PID, COUNT, "LISTEN_FDNAMES"];

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
    match options.listen.unwrap_or(Listen::Address(DEFAULT)) {
        Listen::Address(address) => open(options, address, false, reuse),
        Listen::Descriptor(number) => inherit(options, number, reuse),
    }
}

/// Socket activation, `sd_listen_fds(3)`: the socket that was passed to this process, if one was. The
/// environment says whether it is meant for this process. A child of the process that it was meant
/// for may have the same environment.
///
/// # Errors
/// The environment does not name one socket.
pub(crate) fn passed() -> anyhow::Result<Option<Listen>> {
    let pid = std::env::var(PID).ok().and_then(|pid| pid.parse().ok());
    let Some(count) = std::env::var_os(COUNT).filter(|_| pid == Some(std::process::id())) else {
        return Ok(None);
    };
    let count = count.to_string_lossy();
    let number = count.parse().ok();
    match number.filter(|number| (0..i32::MAX).contains(number)) {
        Some(0) => Ok(None),
        Some(1) => Ok(Some(Listen::Descriptor(FIRST_PASSED))),
        Some(several) => Err(anyhow!(
            "{several} sockets were passed ({COUNT}): choose one, such as --listen fd:{FIRST_PASSED}"
        )),
        None => Err(anyhow!(
            "{COUNT}={count:?} in the environment: expected the number of sockets that were passed, \
             such as 1; or choose with --listen"
        )),
    }
}

/// Whether the descriptor that `--listen` names is a TCP socket that listens. To be called before the
/// server opens a descriptor: that would get the number of one that was not passed on.
///
/// # Errors
/// It is not open, or is something else.
pub(crate) fn look(listen: Option<Listen>) -> anyhow::Result<()> {
    let Some(Listen::Descriptor(number)) = listen else {
        return Ok(());
    };
    let fd = borrow(number);
    let socket = SockRef::from(&fd);
    let else_do =
        format!("pass a listening TCP socket as descriptor {number}, or give --listen an address");
    // This fails for a number that is not open, and for no other.
    ensure!(
        socket.set_cloexec(true).is_ok(),
        "cannot listen on fd:{number}: this descriptor is not open; {else_do}"
    );
    let listens = || -> std::io::Result<bool> {
        Ok(matches!(socket.domain()?, Domain::IPV4 | Domain::IPV6)
            && socket.r#type()? == Type::STREAM
            && socket.is_listener()?)
    };
    ensure!(
        listens().unwrap_or(false),
        "cannot listen on fd:{number}: it is not a TCP socket that listens; {else_do}"
    );
    Ok(())
}

#[allow(unsafe_code, reason = "the command line names it by a bare number")]
fn borrow<'a>(number: u16) -> BorrowedFd<'a> {
    // SAFETY: it is used for a moment only, and nothing closes a descriptor meanwhile. A number that is no
    // open descriptor is an error of the first call.
    unsafe { BorrowedFd::borrow_raw(RawFd::from(number)) }
}

/// A listening socket that another process has made.
#[allow(unsafe_code, reason = "the command line names it by a bare number")]
fn inherit(options: &Options, number: u16, reuse: bool) -> anyhow::Result<TcpListener> {
    let fd = borrow(number);
    let socket = SockRef::from(&fd);
    let prepare = || -> std::io::Result<()> {
        socket.set_tcp_nodelay(true)?;
        notice_vanished_peers(&socket, options.keepalive)?;
        socket.set_nonblocking(true)?;
        if reuse {
            socket.set_reuse_port(true)?;
        }
        // It listens already. This changes its backlog.
        options.backlog.map_or(Ok(()), |most| socket.listen(most))
    };
    prepare().with_context(|| format!("cannot listen on fd:{number}"))?;
    PASSED.store(true, Relaxed);
    // SAFETY: it was inherited, for it was open before this process opened a descriptor (`look`). So
    // nothing else owns it.
    Ok(unsafe { TcpListener::from_raw_fd(RawFd::from(number)) })
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
        socket.listen(options.backlog.unwrap_or(BACKLOG))?;
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

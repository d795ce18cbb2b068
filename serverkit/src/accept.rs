//! Who is let in, and when: accept's errors sorted, and capacity.

use std::net::TcpStream;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{SockFlag, accept4};

use crate::context::Context;
use crate::listener::Listener;
use crate::trace;

/// A server that ran out of descriptors or memory asks again when a connection of its own
/// closes, or after this time.
pub const RETRY: Duration = Duration::from_millis(100);

/// What accept gave.
#[derive(Debug)]
pub enum Accepted {
    /// A client.
    Client(TcpStream),
    /// No client now: none waits, it went away again, or a signal came in between.
    None,
    /// No descriptor or memory for another client: disarm the listener and see [`RETRY`].
    Overloaded,
}

/// Whether the accepted socket blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blocking {
    /// For the blocking driver.
    Yes,
    /// For loops.
    No,
}

/// Accepts one client; an error means that the listener is of no more use.
///
/// With [`Blocking::No`] [`Accepted::None`] means that none waits: a server that is told of each
/// arrival only once can rely on it.
pub fn accept(
    context: &Context,
    listener: &Listener,
    blocking: Blocking,
) -> anyhow::Result<Accepted> {
    let flags = match blocking {
        Blocking::Yes => SockFlag::SOCK_CLOEXEC,
        Blocking::No => SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
    };
    loop {
        match accept4(listener.as_raw_fd(), flags) {
            Ok(fd) => {
                context.stats.accept();
                trace!(context, "accept: client {fd}");
                return Ok(Accepted::Client(stream(fd)));
            }
            Err(errno) => match sort_error(context, errno)? {
                // Others may wait behind the one that went away.
                Accepted::None if blocking == Blocking::No && errno != Errno::EAGAIN => {}
                sorted => return Ok(sorted),
            },
        }
    }
}

/// Sorts an error of accept; for servers that accept by other means.
pub fn sort_error(context: &Context, errno: Errno) -> anyhow::Result<Accepted> {
    match errno {
        Errno::EAGAIN | Errno::EINTR => Ok(Accepted::None),
        Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM => {
            context.stats.accept_error();
            trace!(
                context,
                "accept: {errno}; trying again when a client leaves"
            );
            Ok(Accepted::Overloaded)
        }
        // Linux hands the new connection's own network errors to accept (accept(2)).
        Errno::ECONNABORTED
        | Errno::EPROTO
        | Errno::EPERM
        | Errno::ENETDOWN
        | Errno::ENOPROTOOPT
        | Errno::EHOSTDOWN
        | Errno::ENONET
        | Errno::EHOSTUNREACH
        | Errno::EOPNOTSUPP
        | Errno::ENETUNREACH
        | Errno::ETIMEDOUT => {
            context.stats.accept_error();
            trace!(context, "accept: {errno}");
            Ok(Accepted::None)
        }
        fatal => Err(anyhow::Error::from(fatal).context("accept")),
    }
}

#[allow(unsafe_code, reason = "nix hands out the new socket as a bare number")]
fn stream(fd: i32) -> TcpStream {
    // SAFETY: accept4 has just made it, and nothing else knows of it.
    unsafe { OwnedFd::from_raw_fd(fd) }.into()
}

/// Whether a loop listens now: not above capacity, and not where accept has just run out of
/// something.
#[derive(Debug)]
pub struct Admission {
    capacity: usize,
    retry_at: Option<Instant>,
}

impl Admission {
    /// At most `capacity` clients at once.
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity,
            retry_at: None,
        }
    }

    /// With `open` clients, the listener belongs in the interest set.
    pub fn is_open(&self, open: usize) -> bool {
        open < self.capacity && self.retry_at.is_none()
    }

    /// accept ran out of something; gives the time at which to call [`Admission::retry`].
    pub fn overloaded(&mut self) -> Instant {
        let at = Instant::now() + RETRY;
        self.retry_at = Some(at);
        at
    }

    /// A client left, or the time has come: accept may be tried again.
    pub fn retry(&mut self) {
        self.retry_at = None;
    }
}

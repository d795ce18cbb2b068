//! Who is let in, and when: accept's errors sorted, and capacity.

use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{SockFlag, accept4};

use crate::context::Context;
use crate::{memory, trace};

/// A server that ran out of descriptors or memory asks again when a connection of its own
/// closes, or after this time.
pub const RETRY: Duration = Duration::from_millis(100);

/// Clients in a row that may go wrong inside of accept before a pause: where each fails, as under
/// a security module that forbids accept, a server must not spin.
const FAILURES_IN_A_ROW: usize = 16;

/// What accept gave.
#[derive(Debug)]
pub enum Accepted {
    /// A client.
    Client(TcpStream),
    /// None waits. With [`Blocking::Yes`] also: a signal came in between.
    None,
    /// No descriptor or memory for another client, or nothing but errors: leave the listener
    /// alone, and see [`RETRY`].
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
pub fn accept(
    context: &Context,
    listener: &impl AsFd,
    blocking: Blocking,
) -> anyhow::Result<Accepted> {
    let flags = match blocking {
        Blocking::Yes => SockFlag::SOCK_CLOEXEC,
        Blocking::No => SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
    };
    if !memory::suffices_beside(context.stats.open()) {
        trace!(context, "accept: no memory for another client");
        return Ok(Accepted::Overloaded);
    }
    for _ in 0..FAILURES_IN_A_ROW {
        match accept4(listener.as_fd().as_raw_fd(), flags) {
            Ok(fd) => {
                context.stats.accept();
                trace!(context, "accept: client {fd}");
                return Ok(Accepted::Client(stream(fd)));
            }
            Err(Errno::EAGAIN) => return Ok(Accepted::None),
            Err(Errno::EINTR) if blocking == Blocking::Yes => return Ok(Accepted::None),
            Err(Errno::EINTR) => {}
            Err(errno) => {
                if sort_error(context, errno)? == Failure::OfServer {
                    return Ok(Accepted::Overloaded);
                }
            }
        }
    }
    Ok(Accepted::Overloaded)
}

/// Whom an error of accept concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The client that would have come: others may wait behind it.
    OfClient,
    /// The server ran out of something: leave the listener alone, and see [`RETRY`].
    OfServer,
}

/// Sorts an error of accept; for servers that accept by other means. An error means that the
/// listener is of no more use.
pub fn sort_error(context: &Context, errno: Errno) -> anyhow::Result<Failure> {
    let failure = match errno {
        Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM => Failure::OfServer,
        // Linux hands the new connection's own network errors to accept (accept(2)); EPERM is a
        // firewall's refusal of one client, or a security module's of all.
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
        | Errno::ETIMEDOUT => Failure::OfClient,
        fatal => return Err(anyhow::Error::from(fatal).context("accept")),
    };
    context.stats.accept_error();
    trace!(context, "accept: {errno}");
    Ok(failure)
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
    /// Accepts in a row that have failed.
    failures: usize,
    retry_at: Option<Instant>,
}

impl Admission {
    /// At most `capacity` clients at once.
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity,
            failures: 0,
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

    /// A client was accepted by other means than [`accept`].
    pub fn accepted(&mut self, context: &Context, client: &TcpStream) {
        self.failures = 0;
        context.stats.accept();
        trace!(context, "accept: client {}", client.as_raw_fd());
    }

    /// Accepting by other means than [`accept`] failed. Where it cannot go on, gives the time at
    /// which to call [`Admission::retry`]. An error means that the listener is of no more use.
    pub fn failed(&mut self, context: &Context, errno: Errno) -> anyhow::Result<Option<Instant>> {
        self.failures += 1;
        let of_server = sort_error(context, errno)? == Failure::OfServer;
        if of_server || self.failures == FAILURES_IN_A_ROW {
            self.failures = 0;
            return Ok(Some(self.overloaded()));
        }
        Ok(None)
    }

    /// A client left, or the time has come: accept may be tried again.
    pub fn retry(&mut self) {
        self.retry_at = None;
    }
}

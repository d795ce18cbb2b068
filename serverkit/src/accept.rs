//! Who is let in, and when: accept's errors sorted, and capacity.

use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::Context as _;
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
                let client = stream(fd);
                accepted(context, &client);
                return Ok(Accepted::Client(client));
            }
            Err(Errno::EAGAIN) => return Ok(Accepted::None),
            Err(Errno::EINTR) if blocking == Blocking::Yes => return Ok(Accepted::None),
            Err(Errno::EINTR) => {}
            Err(errno) => {
                if count_error(context, errno)? {
                    return Ok(Accepted::Overloaded);
                }
            }
        }
    }
    Ok(Accepted::Overloaded)
}

/// Counts a client; for servers that accept by other means than [`accept`], too.
pub fn accepted(context: &Context, client: &TcpStream) {
    context.stats.accept();
    trace!(context, "accept: client {}", client.as_raw_fd());
}

/// Counts an error of accept. True: the server ran out of something, so leave the listener alone,
/// and see [`RETRY`]. False: it concerns the client that would have come, and others may wait behind
/// it. An error means that the listener is of no more use.
pub fn count_error(context: &Context, errno: Errno) -> anyhow::Result<bool> {
    use Errno::{EBADF, EFAULT, EINVAL, EMFILE, ENFILE, ENOBUFS, ENOMEM, ENOTSOCK};
    if matches!(errno, EBADF | EFAULT | EINVAL | ENOTSOCK) {
        return Err(errno).context("accept");
    }
    context.stats.accept_error();
    trace!(context, "accept: {errno}");
    // All others: Linux hands the new connection's own network errors to accept (accept(2)). EPERM is a
    // firewall's refusal of one client, or a security module's of all.
    Ok(matches!(errno, EMFILE | ENFILE | ENOBUFS | ENOMEM))
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

    /// accept ran out of something: the listener is left alone for a moment. Gives the time at
    /// which to call [`Admission::retry`].
    pub fn overloaded(&mut self) -> Instant {
        *self.retry_at.insert(Instant::now() + RETRY)
    }

    /// A client left, or the time has come: accept may be tried again.
    pub fn retry(&mut self) {
        self.retry_at = None;
    }
}

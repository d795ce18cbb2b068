//! Which clients are accepted, and when: the errors of accept, and the limit of clients.

use std::net::TcpStream;
use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::errno::Errno;
use nix::sys::socket::{SockFlag, accept4};

use crate::context::Context;
use crate::memory;
use crate::trace::{self, Event};

/// A server that ran out of descriptors or memory asks again when a connection of its own
/// closes, or after this time.
pub const RETRY: Duration = Duration::from_millis(100);

/// Errors of accept in a row before a pause. If each accept fails, as under a security module that
/// forbids it, a server must not spin.
const FAILURES_IN_A_ROW: usize = 16;

/// The result of accept.
#[derive(Debug)]
pub enum Accepted {
    /// A client.
    Client(Socket),
    /// No client waits. In a blocking server also: a signal has interrupted the call.
    None,
    /// No descriptor or memory for another client, or nothing but errors: leave the listener
    /// alone, and see [`RETRY`].
    Overloaded,
}

/// A client's socket.
#[derive(Debug)]
pub struct Socket {
    stream: TcpStream,
    number: u64,
}

impl Socket {
    /// The socket of the client with this number.
    pub fn new(stream: TcpStream, number: u64) -> Self {
        Self { stream, number }
    }

    /// Which client it is, counted from 1 in the order in which they were accepted by all threads and
    /// processes together.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The socket alone.
    pub fn into_stream(self) -> TcpStream {
        self.stream
    }
}

impl Deref for Socket {
    type Target = TcpStream;

    fn deref(&self) -> &TcpStream {
        &self.stream
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }
}

/// What blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blocking {
    /// The listener, so that accept waits for a client, and the client's socket.
    Both,
    /// The client's socket, for the blocking driver.
    Client,
    /// Nothing: for loops.
    None,
}

/// Accepts one client; an error means that the listener is of no more use.
pub fn accept(
    context: &Context,
    listener: &impl AsFd,
    blocking: Blocking,
) -> anyhow::Result<Accepted> {
    let flags = match blocking {
        Blocking::Both | Blocking::Client => SockFlag::SOCK_CLOEXEC,
        Blocking::None => SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
    };
    if !memory::suffices_beside(context.stats.open()) {
        trace::note(None, || "no memory for another client".to_owned());
        return Ok(Accepted::Overloaded);
    }
    for _ in 0..FAILURES_IN_A_ROW {
        match accept_once(listener, flags, blocking) {
            Ok(fd) => return Ok(Accepted::Client(accepted(context, stream(fd), ACCEPT))),
            Err(Errno::EAGAIN) => return Ok(Accepted::None),
            Err(Errno::EINTR) if blocking != Blocking::None => return Ok(Accepted::None),
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

fn accept_once(listener: &impl AsFd, flags: SockFlag, blocking: Blocking) -> nix::Result<RawFd> {
    let listeners = || vec![trace::LISTENER.to_string()];
    let waiting = (blocking == Blocking::Both).then(|| trace::wait(ACCEPT, None, listeners));
    let result = accept4(listener.as_fd().as_raw_fd(), flags);
    match (waiting, result) {
        (Some(waiting), Err(Errno::EAGAIN)) => waiting.woke(Vec::new),
        // The wait reports its end when it is dropped.
        (None, _) | (_, Err(Errno::EINTR)) => {}
        (Some(waiting), _) => waiting.woke(listeners),
    }
    if let Err(error) = result {
        tell_nobody(ACCEPT, error);
    }
    result
}

/// Tells the trace that `call` has accepted nobody.
pub fn tell_nobody(call: &'static str, error: Errno) {
    trace::tell(|| Event::Nobody { call, error });
}

/// The system call.
const ACCEPT: &str = "accept4";

/// Counts a client. Servers that do not use [`accept`] call this themselves; `call` is the name of
/// their system call.
pub fn accepted(context: &Context, client: TcpStream, call: &'static str) -> Socket {
    let number = context.stats.accept();
    let fd = client.as_raw_fd();
    trace::tell(|| Event::Accept {
        call,
        client: number,
        fd,
    });
    Socket::new(client, number)
}

/// Counts a client that was accepted and cannot be served.
pub fn refuse(context: &Context, client: u64, why: &str) {
    context.stats.refuse();
    trace::tell(|| Event::Refuse { client, why });
    trace::tell(|| Event::Close { client, why });
}

/// Waits for [`RETRY`].
pub fn pause() {
    let waiting = trace::wait("clock_nanosleep", Some(RETRY), Vec::new);
    thread::sleep(RETRY);
    waiting.woke(Vec::new);
}

/// Counts an error of accept. True: the server ran out of memory or descriptors, so leave the
/// listener alone, and see [`RETRY`]. False: the error concerns one client only, and others may
/// wait behind it. An error means that the listener is of no more use.
pub fn count_error(context: &Context, errno: Errno) -> anyhow::Result<bool> {
    use Errno::{EBADF, EFAULT, EINVAL, EMFILE, ENFILE, ENOBUFS, ENOMEM, ENOTSOCK};
    if matches!(errno, EBADF | EFAULT | EINVAL | ENOTSOCK) {
        return Err(errno).context("accept");
    }
    context.stats.accept_error();
    // All others: Linux hands the new connection's own network errors to accept (accept(2)). EPERM is a
    // firewall's refusal of one client, or a security module's of all.
    Ok(matches!(errno, EMFILE | ENFILE | ENOBUFS | ENOMEM))
}

#[allow(unsafe_code, reason = "nix hands out the new socket as a bare number")]
fn stream(fd: i32) -> TcpStream {
    // SAFETY: accept4 has just made it, and nothing else knows of it.
    unsafe { OwnedFd::from_raw_fd(fd) }.into()
}

/// Whether a loop listens now. It does not at capacity, and not while accept lacks memory or
/// descriptors.
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

    /// accept ran out of memory or descriptors: the listener is left alone for a moment. Returns
    /// the time at which to call [`Admission::retry`].
    pub fn overloaded(&mut self) -> Instant {
        *self.retry_at.insert(Instant::now() + RETRY)
    }

    /// A client left, or the time has come: accept may be tried again.
    pub fn retry(&mut self) {
        self.retry_at = None;
    }
}

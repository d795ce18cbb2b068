//! The ring: two queues in memory that this process shares with the kernel. What is to be done goes
//! into one, what was done comes out of the other.
//!
//! The kernel reads and writes the memory that an operation names until the operation has completed,
//! whatever the program does meanwhile. So an operation owns its client: [`Ring::submit`] takes it,
//! and the completion gives it back. In between nobody can change or free its memory.
//!
//! A ring that is dropped leaks the clients that are in flight: the kernel may still use them.

use std::io;
use std::mem;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use serverkit::Context;
use serverkit::accept::{RETRY, Socket, tell_nobody};
use serverkit::buffer::WAITING;
use serverkit::connection::{Connection, name_calls};
use serverkit::in_flight::InFlight;
use serverkit::session::READ;
use serverkit::stop::StopSignal;
use serverkit::trace;
use uring::types::{CancelBuilder, Fd, Timespec};
use uring::{IoUring, cqueue, opcode, squeue};

/// A client. In a box, it stays where it is while an operation owns it.
pub struct Client {
    pub connection: Connection,
    /// What is done for it now, or was done last.
    operation: Operation,
    /// The last receive has filled the space that it had, so there may be more in the socket.
    may_have_more: bool,
    /// Bytes received since it last waited.
    burst: usize,
    /// How long the operation may take.
    time_left: Timespec,
    // Dropped last: the connection must be counted before the client sees the end.
    pub socket: Socket,
}

impl Client {
    /// A client just accepted. Its socket blocks: the kernel would not wait for another.
    pub fn new(context: &'static Context, socket: Socket) -> Box<Self> {
        Box::new(Self {
            connection: Connection::new(context, socket.number()),
            operation: Operation::AwaitInput,
            may_have_more: false,
            burst: 0,
            time_left: Timespec::new(),
            socket,
        })
    }

    /// A receive has brought `n` bytes.
    pub fn received(&mut self, n: usize) {
        self.connection.did_read(n);
        self.may_have_more = self.connection.may_have_more();
        self.burst += n;
    }

    /// A receive has found nothing.
    pub fn found_no_input(&mut self) {
        self.connection.found_no_input();
        self.may_have_more = false;
    }

    /// How what comes next is received. A client that has said nothing, or whose last message was
    /// long, holds no memory while it is silent.
    pub fn next_receive(&mut self) -> Operation {
        if self.may_have_more {
            return Operation::RECEIVE_NOW;
        }
        let was_long = mem::take(&mut self.burst) > WAITING;
        match Wait::of(&self.connection) {
            Wait::Yes if was_long || self.connection.is_silent() => {
                self.connection.rest(0);
                Operation::AwaitInput
            }
            wait => Operation::Receive(wait),
        }
    }

    /// Where it receives to; empty if there is no memory.
    pub fn space(&mut self, wait: Wait) -> &mut [u8] {
        match wait {
            Wait::Yes => {
                self.connection.rest(WAITING);
                self.connection.waiting_space()
            }
            Wait::No => self.connection.read_space(),
        }
    }
}

/// What can be done for a client, one thing at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Wait until there is something to receive, or until the connection's deadline.
    AwaitInput,
    /// Receive into the connection's read space. While it waits it holds little memory.
    Receive(Wait),
    /// Send what is pending; waits for room.
    Send,
}

impl Operation {
    /// Receive what is there.
    pub const RECEIVE_NOW: Self = Self::Receive(Wait::No);

    fn name(self) -> &'static str {
        match self {
            Self::AwaitInput => "POLL_ADD",
            Self::Receive(_) => "RECV",
            Self::Send => "SEND",
        }
    }
}

/// Whether an operation waits for bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Until the connection's deadline; then the result is ECANCELED.
    Yes,
    /// Not at all; the result is EAGAIN if there are none.
    No,
}

impl Wait {
    /// What a client has sent before a stop is received, and nothing else is awaited.
    fn of(connection: &Connection) -> Self {
        if connection.is_stopping() && !connection.is_lingering() {
            Self::No
        } else {
            Self::Yes
        }
    }
}

/// What the kernel has done.
pub enum Completion {
    /// A stop signal can be taken.
    StopSignal,
    /// A client was accepted. ENOMEM: or there is no memory for it.
    Accepted(Result<TcpStream, Errno>),
    /// Accept can be tried again.
    PauseIsOver,
    /// An operation of a client; the result is what the system call of that name would return.
    Done(Box<Client>, Operation, Result<usize, Errno>),
}

impl Completion {
    /// Its name in the trace.
    fn name(&self, in_flight: &mut InFlight) -> String {
        match self {
            Self::StopSignal => trace::STOP.ready(READ),
            Self::Accepted(_) => in_flight.completed(0, "ACCEPT", false),
            Self::PauseIsOver => "timer".to_owned(),
            Self::Done(client, operation, _) => {
                in_flight.completed(client.socket.number(), operation.name(), false)
            }
        }
    }

    /// Tells the trace what has failed. What was done is traced later.
    fn tell_failure(&self) {
        let (connection, operation, result) = match self {
            Self::Accepted(Err(errno)) => return tell_nobody("ACCEPT", *errno),
            Self::Done(client, operation, result) => (&client.connection, operation, result),
            _ => return,
        };
        match (operation, result.map_err(io::Error::from)) {
            (Operation::Receive(_), Err(error)) => connection.could_not_read(&error),
            (Operation::Send, Err(error)) => connection.could_not_write(&error),
            _ => {}
        }
    }
}

// What a submission carries and its completion hands back: one of these, or else the address of the
// client that is in flight.
const NOBODY: u64 = 0;
const STOP_SIGNAL: u64 = 1;
const ACCEPT: u64 = 2;
const PAUSE: u64 = 3;

/// What a client takes beside its buffers, in bytes, and something for the server itself.
const CLIENT_MEMORY: usize = 4096;

static PAUSE_TIME: Timespec = Timespec::new()
    .sec(RETRY.as_secs())
    .nsec(RETRY.subsec_nanos());

/// If the kernel has no memory for a submission, it is submitted again after a pause, this many times.
const MOST_FAILURES: u32 = 1000;
const FAILURE_PAUSE: Duration = Duration::from_millis(1);

/// The two queues.
pub struct Ring {
    uring: IoUring,
    /// For the trace.
    in_flight: InFlight,
    failures: u32,
}

impl Ring {
    /// A submission queue of `entries`, at least two, and a completion queue twice as long.
    pub fn new(entries: u32) -> anyhow::Result<Self> {
        name_calls("RECV", "SEND");
        let uring = IoUring::builder()
            // One thread submits and waits, so the kernel can complete what is ready in that
            // thread's wait, and never has to interrupt it.
            .setup_single_issuer()
            .setup_defer_taskrun()
            // An entry that fails at once must not keep the following ones from submission.
            .setup_submit_all()
            .build(entries)
            .map_err(|error| refused(&error))?;
        Ok(Self {
            uring,
            in_flight: InFlight::default(),
            failures: 0,
        })
    }

    /// How many completions can be there after one wait.
    pub fn most_completions(&self) -> usize {
        self.uring.params().cq_entries() as usize
    }

    /// Completes when a stop signal can be taken. This is submitted at once: a server that is not
    /// allowed to do so fails before it says that it is ready.
    pub fn await_stop(&mut self, signal: &StopSignal) -> io::Result<()> {
        let entry = poll(Fd(signal.as_fd().as_raw_fd()));
        self.push_plain(entry.user_data(STOP_SIGNAL))?;
        let entered = self.uring.submit();
        self.check(entered)
    }

    /// Accepts one client.
    pub fn accept(&mut self, listener: &TcpListener) -> io::Result<()> {
        let listener = Fd(listener.as_raw_fd());
        let entry = opcode::Accept::new(listener, ptr::null_mut(), ptr::null_mut())
            .flags(libc::SOCK_CLOEXEC)
            .build();
        self.in_flight.submit(0, "ACCEPT", None);
        self.push_plain(entry.user_data(ACCEPT))
    }

    /// Completes after [`RETRY`].
    pub fn pause(&mut self) -> io::Result<()> {
        let entry = opcode::Timeout::new(&raw const PAUSE_TIME).build();
        self.push_plain(entry.user_data(PAUSE))
    }

    /// Ends all operations that wait: the result of each is ECANCELED.
    pub fn cancel_all(&mut self) -> io::Result<()> {
        let entry = opcode::AsyncCancel2::new(CancelBuilder::any()).build();
        self.push_plain(entry.user_data(NOBODY))
    }

    /// Does something for a client. Its completion gives the client back.
    #[allow(
        unsafe_code,
        reason = "the memory of the client is named to the kernel"
    )]
    pub fn submit(&mut self, client: Box<Client>, operation: Operation) -> io::Result<()> {
        let address = Box::into_raw(client);
        // SAFETY: it was in a box, and this function is the only one that knows where it is now.
        let client = unsafe { &mut *address };
        client.operation = operation;
        let number = client.socket.number();
        self.in_flight
            .submit(number, operation.name(), Some(number));

        let socket = Fd(client.socket.as_raw_fd());
        let entry = match operation {
            Operation::AwaitInput => poll(socket),
            Operation::Receive(wait) => {
                let dont_wait = match wait {
                    Wait::Yes => 0,
                    Wait::No => libc::MSG_DONTWAIT,
                };
                let space = client.space(wait);
                opcode::Recv::new(socket, space.as_mut_ptr(), space.len() as u32)
                    .flags(dont_wait)
                    .build()
            }
            Operation::Send => {
                let bytes = client.connection.pending();
                opcode::Send::new(socket, bytes.as_ptr(), bytes.len() as u32)
                    .flags(libc::MSG_NOSIGNAL)
                    .build()
            }
        };
        let entry = entry.user_data(address.expose_provenance() as u64);

        let Some(deadline) = client.connection.deadline() else {
            // SAFETY: the memory is the client's, and nobody has the client until the completion.
            return unsafe { self.push(&[entry]) };
        };
        client.time_left = deadline.saturating_duration_since(Instant::now()).into();
        let limit = opcode::LinkTimeout::new(&raw const client.time_left).build();
        let linked = entry.flags(squeue::Flags::IO_LINK);
        // SAFETY: as above.
        unsafe { self.push(&[linked, limit.user_data(NOBODY)]) }
    }

    #[allow(unsafe_code, reason = "an entry can name memory")]
    fn push_plain(&mut self, entry: squeue::Entry) -> io::Result<()> {
        // SAFETY: what comes here names no memory, or memory that is static.
        unsafe { self.push(&[entry]) }
    }

    /// Queues entries that belong together, and submits what is queued if there is no room.
    ///
    /// # Safety
    ///
    /// The memory that the entries name is not used before their completion.
    #[allow(unsafe_code, reason = "an entry can name memory")]
    unsafe fn push(&mut self, entries: &[squeue::Entry]) -> io::Result<()> {
        // SAFETY: the caller's.
        while unsafe { self.uring.submission().push_multiple(entries) }.is_err() {
            let entered = self.uring.submit();
            trace::note(None, || {
                "io_uring_enter, to make room in the submission queue".to_owned()
            });
            self.check(entered)?;
        }
        Ok(())
    }

    /// Submits all that was queued, waits for a completion, and adds those that are there to an
    /// empty list. When more came than the queue holds, the kernel keeps the rest until the next
    /// wait.
    pub fn wait(&mut self, completions: &mut Vec<Completion>) -> io::Result<()> {
        let waiting = trace::wait("io_uring_enter", None, || self.in_flight.names());
        let entered = self.uring.submit_and_wait(1);
        let completed = self.uring.completion();
        completions.extend(completed.filter_map(|entry| taken(&entry)));
        waiting.woke(|| {
            let in_flight = &mut self.in_flight;
            trace::list(
                completions
                    .iter()
                    .map(|completion| completion.name(in_flight)),
            )
        });
        if trace::is_on() {
            completions.iter().for_each(Completion::tell_failure);
            if self.uring.submission().cq_overflow() {
                trace::note(None, || {
                    "completions wait: there are more than there is room for".to_owned()
                });
            }
        }
        if completions.is_empty() {
            self.check(entered)?;
        } else {
            self.failures = 0;
        }
        Ok(())
    }

    /// A temporary error is no error: the same call is made again.
    fn check(&mut self, entered: io::Result<usize>) -> io::Result<()> {
        let Err(error) = entered else {
            self.failures = 0;
            return Ok(());
        };
        match error.raw_os_error() {
            // The wait ended early.
            Some(libc::EINTR | libc::ETIME) => Ok(()),
            // No memory.
            Some(libc::EAGAIN | libc::EBUSY) if self.failures < MOST_FAILURES => {
                self.failures += 1;
                thread::sleep(FAILURE_PAUSE);
                Ok(())
            }
            _ => Err(io::Error::new(
                error.kind(),
                format!("io_uring_enter: {error}"),
            )),
        }
    }
}

/// Completes when the file has input.
fn poll(file: Fd) -> squeue::Entry {
    opcode::PollAdd::new(file, libc::POLLIN as u32).build()
}

/// What a completion means; `None` if nobody waits for it.
#[allow(
    unsafe_code,
    reason = "the kernel hands back a client as its address, and a socket as a number"
)]
fn taken(entry: &cqueue::Entry) -> Option<Completion> {
    let result = usize::try_from(entry.result()).map_err(|_| match -entry.result() {
        // It was cancelled while a thread of the kernel waited for it.
        libc::EINTR => Errno::ECANCELED,
        errno => Errno::from_raw(errno),
    });
    Some(match entry.user_data() {
        NOBODY => return None,
        STOP_SIGNAL => Completion::StopSignal,
        PAUSE => Completion::PauseIsOver,
        ACCEPT => Completion::Accepted(result.and_then(|fd| {
            // SAFETY: accept has just made it, and nothing else knows of it.
            let socket = unsafe { OwnedFd::from_raw_fd(fd as RawFd) };
            // A Rust program aborts if it gets no memory, so this is tried before.
            let memory = Vec::<u8>::new().try_reserve_exact(CLIENT_MEMORY);
            memory.map(|()| socket.into()).map_err(|_| Errno::ENOMEM)
        })),
        address => {
            let address = ptr::with_exposed_provenance_mut::<Client>(address as usize);
            // SAFETY: only `submit` makes such an address, from a box. The kernel hands it back
            // once, when it has done with the memory.
            let client = unsafe { Box::from_raw(address) };
            let operation = client.operation;
            Completion::Done(client, operation, result)
        }
    })
}

/// Why there is no ring, in one line that says what to do.
fn refused(error: &io::Error) -> anyhow::Error {
    let reason = match error.raw_os_error() {
        Some(libc::ENOSYS) => "this kernel was built without it, or a sandbox hides it",
        Some(libc::EPERM) => {
            "it is forbidden here (sysctl kernel.io_uring_disabled must be 0; containers may \
             forbid it by seccomp)"
        }
        Some(libc::EINVAL) => "this kernel is too old for it: Linux 6.1 is needed",
        Some(libc::ENOMEM) => "no memory for the queues (ulimit -l, or a smaller --entries)",
        _ => "the queues could not be made",
    };
    anyhow::anyhow!("io_uring is not available: {reason}: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_one_line_that_says_what_to_do() {
        for (errno, told) in [
            (libc::ENOSYS, "built without it"),
            (libc::EPERM, "kernel.io_uring_disabled"),
            (libc::EINVAL, "Linux 6.1"),
            (libc::ENOMEM, "ulimit -l"),
            (libc::EMFILE, "could not be made"),
        ] {
            let line = refused(&io::Error::from_raw_os_error(errno)).to_string();
            assert!(line.starts_with("io_uring is not available: "), "{line}");
            assert!(line.contains(told), "{line}");
            assert!(!line.contains('\n'), "{line}");
        }
    }
}

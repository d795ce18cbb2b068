//! The ring: two queues in memory that this process shares with the kernel. What is to be done goes
//! into one, what was done comes out of the other.
//!
//! The kernel reads and writes the memory that an operation names until the operation has completed,
//! whatever the program does meanwhile. So an operation owns what it names: [`Ring::receive`] and
//! [`Ring::send`] take a client's connection, and the completion gives it back. In between nobody
//! can change or free its memory. A multishot receive names no memory but that of the
//! [buffer ring](crate::buffers), which is never freed.
//!
//! A ring that is dropped leaks the connections that are in flight: the kernel may still use them.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::{self, NonNull};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use serverkit::accept::Socket;
use serverkit::connection::{Connection, name_calls};
use serverkit::in_flight::InFlight;
use serverkit::stop::StopSignal;
use serverkit::trace;
use uring::types::{CancelBuilder, Fd, SubmitArgs, Timespec};
use uring::{IoUring, cqueue, opcode, squeue};

use crate::buffers::{BufferRing, Filled, GROUP};

/// What the kernel is told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Tell when a stop signal can be taken.
    StopSignal,
    /// Accept one client.
    Accept,
    /// Accept clients until further notice: multishot.
    AcceptMany,
    /// Receive once, into memory of the connection.
    Receive,
    /// Receive until further notice, into buffers of the kernel's choice: multishot.
    ReceiveMany,
    /// Tell when there is something to receive.
    AwaitInput,
    /// Send what is pending.
    Send,
    /// Cancel other operations.
    Cancel,
}

impl Operation {
    const ALL: [Self; 8] = [
        Self::StopSignal,
        Self::Accept,
        Self::AcceptMany,
        Self::Receive,
        Self::ReceiveMany,
        Self::AwaitInput,
        Self::Send,
        Self::Cancel,
    ];

    /// Its name in the trace.
    pub fn name(self) -> &'static str {
        match self {
            Self::StopSignal | Self::AwaitInput => "POLL_ADD",
            Self::Accept => "ACCEPT",
            Self::AcceptMany => "ACCEPT_MULTISHOT",
            Self::Receive => "RECV",
            Self::ReceiveMany => "RECV_MULTISHOT",
            Self::Send => "SEND",
            Self::Cancel => "ASYNC_CANCEL",
        }
    }

    /// What a submission carries and its completions hand back.
    fn user_data(self, key: usize) -> u64 {
        (self as u64) << 32 | key as u64
    }

    fn of(user_data: u64) -> (Self, usize) {
        let operation = Self::ALL[(user_data >> 32) as usize];
        (operation, user_data as u32 as usize)
    }
}

/// What the kernel has done. A result is what the system call of that name would return.
pub enum Completion {
    /// A stop signal can be taken.
    StopSignal,
    /// A client was accepted.
    Accepted(Result<TcpStream, Errno>, More),
    /// The multishot receive of the client with this key brought bytes, or has ended, or both.
    Brought(usize, Option<Filled>, Result<usize, Errno>, More),
    /// The client with this key has something to receive, or the wait for it has ended otherwise.
    InputAwaited(usize, Result<usize, Errno>),
    /// The receive of the client with this key is over, and here is its connection.
    Received(usize, Box<Connection>, Result<usize, Errno>),
    /// The send of the client with this key is over, and here is its connection.
    Sent(usize, Box<Connection>, Result<usize, Errno>),
}

/// Whether an operation goes on and will complete again. A multishot ends with any completion, for
/// whatever reason, and is then to be submitted anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum More {
    /// It goes on.
    Yes,
    /// It has ended.
    No,
}

/// In place of a client's key, for operations of the server's own.
const NOBODY: usize = 0;

/// If the kernel has no memory for a submission, it is submitted again after a pause, this many times.
const MOST_FAILURES: u32 = 1000;
const FAILURE_PAUSE: Duration = Duration::from_millis(1);

/// The two queues.
pub struct Ring {
    uring: IoUring,
    /// For the trace.
    traced: InFlight,
    /// The connections that operations own, by the keys of their clients.
    in_flight: Vec<Option<NonNull<Connection>>>,
    failures: u32,
}

impl Ring {
    /// A submission queue of `entries`, and a completion queue twice as long.
    pub fn new(entries: u32) -> anyhow::Result<Self> {
        name_calls(Operation::ReceiveMany.name(), Operation::Send.name());
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
            traced: InFlight::default(),
            in_flight: Vec::new(),
            failures: 0,
        })
    }

    /// Registers `count` buffers of `size` bytes for multishot receives. To be called once.
    pub fn register_buffers(&self, count: u16, size: usize) -> anyhow::Result<BufferRing> {
        let mut buffers = BufferRing::new(count, size)?;
        let registered = buffers.register(&self.uring);
        registered.map_err(|error| refused(&error))?;
        Ok(buffers)
    }

    /// How many completions can be there after one wait: what the queue holds, and one for which
    /// there was no room and with which a multishot ends.
    pub fn most_completions(&self) -> usize {
        self.uring.params().cq_entries() as usize + 1
    }

    /// Completes when a stop signal can be taken. This is submitted at once: a server that is not
    /// allowed to do so fails before it says that it is ready.
    pub fn await_stop(&mut self, signal: &StopSignal) -> io::Result<()> {
        let entry = poll(signal.as_fd());
        self.push_plain(entry, Operation::StopSignal, NOBODY)?;
        let entered = self.uring.submit();
        self.check(entered)
    }

    /// Accepts one client.
    pub fn accept(&mut self, listener: &TcpListener) -> io::Result<()> {
        let listener = Fd(listener.as_raw_fd());
        let entry = opcode::Accept::new(listener, ptr::null_mut(), ptr::null_mut())
            .flags(libc::SOCK_CLOEXEC)
            .build();
        self.trace(Operation::Accept, NOBODY, None);
        self.push_plain(entry, Operation::Accept, NOBODY)
    }

    /// Accepts clients until it is cancelled.
    pub fn accept_many(&mut self, listener: &TcpListener) -> io::Result<()> {
        let entry = opcode::AcceptMulti::new(Fd(listener.as_raw_fd()))
            .flags(libc::SOCK_CLOEXEC)
            .build();
        self.trace(Operation::AcceptMany, NOBODY, None);
        self.push_plain(entry, Operation::AcceptMany, NOBODY)
    }

    /// Receives into the buffer ring until it is cancelled, or there is no buffer (ENOBUFS).
    pub fn receive_many(&mut self, key: usize, socket: &Socket) -> io::Result<()> {
        self.trace(Operation::ReceiveMany, key, Some(socket));
        let entry = opcode::RecvMulti::new(Fd(socket.as_raw_fd()), GROUP).build();
        self.push_plain(entry, Operation::ReceiveMany, key)
    }

    /// Completes when there is something to receive.
    pub fn await_input(&mut self, key: usize, socket: &Socket) -> io::Result<()> {
        self.trace(Operation::AwaitInput, key, Some(socket));
        self.push_plain(poll(socket.as_fd()), Operation::AwaitInput, key)
    }

    /// Receives once, into the connection's read space, what is there already; EAGAIN if there is
    /// nothing.
    pub fn receive(
        &mut self,
        key: usize,
        socket: &Socket,
        connection: Box<Connection>,
    ) -> io::Result<()> {
        self.trace(Operation::Receive, key, Some(socket));
        self.push_owner(Operation::Receive, key, connection, |connection| {
            let space = connection.read_space();
            opcode::Recv::new(
                Fd(socket.as_raw_fd()),
                space.as_mut_ptr(),
                space.len() as u32,
            )
            .flags(libc::MSG_DONTWAIT)
            .build()
        })
    }

    /// Sends what is pending, or as much of it as the socket has room for.
    pub fn send(
        &mut self,
        key: usize,
        socket: &Socket,
        connection: Box<Connection>,
    ) -> io::Result<()> {
        self.trace(Operation::Send, key, Some(socket));
        self.push_owner(Operation::Send, key, connection, |connection| {
            let bytes = connection.pending();
            opcode::Send::new(Fd(socket.as_raw_fd()), bytes.as_ptr(), bytes.len() as u32)
                .flags(libc::MSG_NOSIGNAL)
                .build()
        })
    }

    /// Ends an operation of a client if it waits; its completion says ECANCELED.
    pub fn cancel(&mut self, operation: Operation, key: usize) -> io::Result<()> {
        let target = CancelBuilder::user_data(operation.user_data(key));
        let entry = opcode::AsyncCancel2::new(target).build();
        self.push_plain(entry, Operation::Cancel, NOBODY)
    }

    /// Ends the multishot accept.
    pub fn cancel_accept(&mut self) -> io::Result<()> {
        self.cancel(Operation::AcceptMany, NOBODY)
    }

    /// Ends all operations that wait: their completions say ECANCELED.
    pub fn cancel_all(&mut self) -> io::Result<()> {
        let entry = opcode::AsyncCancel2::new(CancelBuilder::any()).build();
        self.push_plain(entry, Operation::Cancel, NOBODY)
    }

    /// Queues an operation that owns a connection, and names memory of that and no other.
    #[allow(
        unsafe_code,
        reason = "the memory of the connection is named to the kernel"
    )]
    fn push_owner(
        &mut self,
        operation: Operation,
        key: usize,
        connection: Box<Connection>,
        entry: impl FnOnce(&mut Connection) -> squeue::Entry,
    ) -> io::Result<()> {
        if self.in_flight.len() <= key {
            self.in_flight.resize(key + 1, None);
        }
        let slot = &mut self.in_flight[key];
        assert!(slot.is_none(), "a client has one connection");
        let owned = NonNull::from(Box::leak(connection));
        *slot = Some(owned);
        // SAFETY: it was in a box, and this function is the only one that has it now.
        let entry = entry(unsafe { &mut *owned.as_ptr() });
        // SAFETY: the memory is the connection's, and nobody has that until the completion.
        unsafe { self.push(&entry.user_data(operation.user_data(key))) }
    }

    #[allow(unsafe_code, reason = "an entry can name memory; these do not")]
    fn push_plain(
        &mut self,
        entry: squeue::Entry,
        operation: Operation,
        key: usize,
    ) -> io::Result<()> {
        // SAFETY: it names no memory, or the buffer ring.
        unsafe { self.push(&entry.user_data(operation.user_data(key))) }
    }

    /// Queues an entry, and submits what is queued if there is no room.
    ///
    /// # Safety
    ///
    /// The memory that the entry names is not used before its completion.
    #[allow(unsafe_code, reason = "an entry can name memory")]
    unsafe fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        // SAFETY: the caller's.
        while unsafe { self.uring.submission().push(entry) }.is_err() {
            let queued = self.uring.submission().len() as u32;
            let queue = self.uring.submitter();
            // SAFETY: that many entries are in the queue, and no argument is given. Without
            // GETEVENTS nothing that waits is completed here, in the middle of a turn.
            let entered = unsafe { queue.enter::<libc::sigset_t>(queued, 0, 0, None) };
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
    pub fn wait(
        &mut self,
        timeout: Option<Duration>,
        completions: &mut Vec<Completion>,
    ) -> io::Result<()> {
        let waiting = trace::wait("io_uring_enter", timeout, || self.traced.names());
        let queue = self.uring.submitter();
        let entered = match timeout {
            None => queue.submit_and_wait(1),
            Some(timeout) => {
                let timeout = Timespec::from(timeout);
                queue.submit_with_args(1, &SubmitArgs::new().timespec(&timeout))
            }
        };
        let in_flight = &mut self.in_flight;
        let completed = self.uring.completion();
        let mut names = Vec::new();
        completions.extend(completed.filter_map(|entry| {
            if trace::is_on() {
                names.extend(name(&entry, &mut self.traced));
            }
            taken(&entry, in_flight)
        }));
        waiting.woke(|| trace::list(names));
        if trace::is_on() && self.uring.submission().cq_overflow() {
            trace::note(None, || {
                "completions wait: there are more than there is room for".to_owned()
            });
        }
        if completions.is_empty() {
            self.check(entered)?;
        } else {
            self.failures = 0;
        }
        Ok(())
    }

    /// Tells of an operation that is submitted for the client with this key, or for the listener.
    fn trace(&mut self, operation: Operation, key: usize, client: Option<&Socket>) {
        let client = client.map(Socket::number);
        self.traced.submit(key as u64, operation.name(), client);
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

/// Completes when `file` has input.
fn poll(file: BorrowedFd) -> squeue::Entry {
    opcode::PollAdd::new(Fd(file.as_raw_fd()), libc::POLLIN as u32).build()
}

/// What has completed, for the trace; `None` if nobody waits for it.
fn name(entry: &cqueue::Entry, traced: &mut InFlight) -> Option<String> {
    let (operation, key) = Operation::of(entry.user_data());
    match operation {
        Operation::Cancel => None,
        Operation::StopSignal => Some(trace::STOP.to_string()),
        _ => Some(traced.completed(key as u64, operation.name(), cqueue::more(entry.flags()))),
    }
}

/// What a completion means; `None` if nobody waits for it.
#[allow(
    unsafe_code,
    reason = "the kernel hands back numbers: of a connection, a socket, a buffer"
)]
fn taken(
    entry: &cqueue::Entry,
    in_flight: &mut [Option<NonNull<Connection>>],
) -> Option<Completion> {
    let result = usize::try_from(entry.result()).map_err(|_| match -entry.result() {
        // It was cancelled while a thread of the kernel waited for it.
        libc::EINTR => Errno::ECANCELED,
        errno => Errno::from_raw(errno),
    });
    let more = if cqueue::more(entry.flags()) {
        More::Yes
    } else {
        More::No
    };
    let (operation, key) = Operation::of(entry.user_data());
    let mut owned = || {
        let owned = in_flight[key].take().expect("an operation owns it");
        // SAFETY: it comes from a box, and the kernel has done with its memory.
        unsafe { Box::from_raw(owned.as_ptr()) }
    };
    Some(match operation {
        Operation::StopSignal => Completion::StopSignal,
        Operation::Accept | Operation::AcceptMany => {
            // SAFETY: accept has just made it, and nothing else knows of it.
            let socket = |fd| unsafe { OwnedFd::from_raw_fd(fd as RawFd) }.into();
            Completion::Accepted(result.map(socket), more)
        }
        Operation::ReceiveMany => {
            let filled = cqueue::buffer_select(entry.flags()).map(|id| {
                // SAFETY: this completion has named it.
                unsafe { Filled::new(id, result.unwrap_or(0)) }
            });
            Completion::Brought(key, filled, result, more)
        }
        Operation::AwaitInput => Completion::InputAwaited(key, result),
        Operation::Receive => Completion::Received(key, owned(), result),
        Operation::Send => Completion::Sent(key, owned(), result),
        Operation::Cancel => return None,
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
    fn operations_are_found_again_in_what_the_kernel_hands_back() {
        for operation in Operation::ALL {
            let user_data = operation.user_data(19_999);
            assert_eq!(Operation::of(user_data), (operation, 19_999));
        }
    }

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

//! Linux AIO: a list of requests goes to the kernel with one system call, and their results come in a
//! ring in memory that the kernel shares with this process.
//!
//! A request owns its client: [`Ring::submit`] takes it, and the completion gives it back. What makes the
//! rest of this file safe:
//!
//! * The kernel reads a request (`iocb`) while it is submitted, and after that knows its address only.
//!   The requests stay where they are, so that an address is that of one request in flight.
//! * The memory that a read or a write names belongs to its client, whom nobody has until the completion.
//!   A socket that does not block is even read and written before `io_submit` returns.
//! * The ring is mapped until `io_destroy`, which waits for all requests. The kernel moves the tail, and only
//!   this process the head. What lies between is whole.

use std::io;
use std::mem::{replace, take, zeroed};
use std::net::TcpListener;
use std::os::fd::{AsRawFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc::{self, iocb};
use nix::sys::time::TimeSpec;
use serverkit::Context;
use serverkit::accept::{RETRY, Socket};
use serverkit::connection::{Connection, name_calls};
use serverkit::deadlines::Deadlines;
use serverkit::in_flight::InFlight;
use serverkit::trace;
use slab::Slab;

/// A client.
pub struct Client {
    pub connection: Connection,
    /// Its last read has filled the space that it had, so there may be more in the socket.
    pub may_have_more: bool,
    // Dropped last: the connection must be counted before the client sees the end.
    pub socket: Socket,
}

impl Client {
    /// A client just accepted. Its socket does not block.
    pub fn new(context: &'static Context, socket: Socket) -> Box<Self> {
        Box::new(Self {
            connection: Connection::new(context, socket.number()),
            may_have_more: false,
            socket,
        })
    }
}

/// What can be done for a client, one thing at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Wait until there is something to read.
    AwaitInput,
    /// Wait until there is room to write.
    AwaitRoom,
    /// Read into the connection's read space.
    Read,
    /// Write what is pending.
    Write,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Self::AwaitInput | Self::AwaitRoom => POLL,
            Self::Read => "PREAD",
            Self::Write => "PWRITE",
        }
    }
}

const POLL: &str = "POLL";

/// What the kernel has done.
pub enum Completion {
    /// A client can be accepted, or the wait for one was cancelled.
    Listener,
    /// Accept can be tried again.
    PauseIsOver,
    /// The server is to end, whatever is in flight.
    End,
    /// An operation of a client; the result is what the system call of that name would return. A wait also ends at the
    /// client's deadline, and when it is cancelled.
    Done(Box<Client>, Operation, Result<usize, Errno>),
}

impl Completion {
    /// Its name in the trace.
    fn name(&self, in_flight: &mut InFlight) -> String {
        match self {
            Self::Listener => in_flight.completed(0, POLL, false),
            Self::PauseIsOver | Self::End => "timer".to_owned(),
            Self::Done(client, operation, _) => {
                in_flight.completed(client.socket.number(), operation.name(), false)
            }
        }
    }

    /// Tells the trace the result of an operation of a client. The bytes that it moved are traced
    /// later.
    fn tell_failure(&self) {
        let Self::Done(client, operation, Err(errno)) = self else {
            return;
        };
        let error = io::Error::from(*errno);
        match operation {
            Operation::Read => client.connection.could_not_read(&error),
            Operation::Write => client.connection.could_not_write(&error),
            Operation::AwaitInput | Operation::AwaitRoom => {}
        }
    }
}

/// What is in flight in a slot.
enum Request {
    Listener(RawFd),
    OfClient(Box<Client>, Operation),
}

// Numbers of deadlines. That of a slot is its number and this.
const PAUSE: usize = 0;
const END: usize = 1;
const OF_SLOT: usize = 2;

/// Events that one `io_getevents` brings; the ring may have more.
const EVENTS: usize = 64;

/// Requests that are not of clients: the listener's.
pub const OWN_REQUESTS: u32 = 1;

/// If the kernel has no memory for a submission, it is submitted again after a pause, this many times.
const MOST_FAILURES: u32 = 1000;
const FAILURE_PAUSE: Duration = Duration::from_millis(1);

// Of linux/aio_abi.h and the kernel's fs/aio.c.
const IOCB_CMD_PREAD: u16 = 0;
const IOCB_CMD_PWRITE: u16 = 1;
const IOCB_CMD_POLL: u16 = 5;
const AIO_RING_MAGIC: u32 = 0xa10a_10a1;
const POLLIN: u64 = libc::POLLIN as u64;
const POLLOUT: u64 = libc::POLLOUT as u64;

/// The head of the memory that `io_setup` maps. The events follow.
#[repr(C)]
struct RingHead {
    id: u32,
    events: u32,
    head: AtomicU32,
    tail: AtomicU32,
    magic: u32,
    compatible_features: u32,
    incompatible_features: u32,
    length: u32,
}

/// `io_event`: which request has completed, and with what result.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Event {
    slot: u64,
    request: u64,
    result: i64,
    result_2: i64,
}

impl Event {
    fn result(&self) -> Result<usize, Errno> {
        usize::try_from(self.result).map_err(|_| Errno::from_raw(-self.result as i32))
    }
}

/// A context of Linux AIO.
pub struct Ring {
    /// To the kernel a number, and also the address of the mapped ring.
    id: usize,
    /// The ring can be read without a system call.
    is_readable: bool,
    /// The requests in flight, by slot. They never move.
    requests: Box<[iocb]>,
    slots: Slab<Request>,
    /// The slots whose requests are still to be submitted.
    queue: Vec<usize>,
    awaits_client: bool,
    /// All waits are to be cancelled.
    cancels: bool,
    deadlines: Deadlines,
    in_flight: InFlight,
}

#[allow(unsafe_code, reason = "the C library does not know these system calls")]
impl Ring {
    /// For this many requests in flight.
    pub fn new(requests: u32) -> anyhow::Result<Self> {
        name_calls(Operation::Read.name(), Operation::Write.name());
        let mut id = 0_usize;
        // SAFETY: it writes the number to where the pointer says.
        let set_up = unsafe { libc::syscall(libc::SYS_io_setup, requests, &raw mut id) };
        Errno::result(set_up).map_err(refused)?;
        let mut ring = Self {
            id,
            is_readable: false,
            // SAFETY: zero is a value of each field.
            requests: (0..requests).map(|_| unsafe { zeroed() }).collect(),
            slots: Slab::new(),
            queue: Vec::new(),
            awaits_client: false,
            cancels: false,
            deadlines: Deadlines::default(),
            in_flight: InFlight::default(),
        };
        let head = ring.head();
        ring.is_readable = head.magic == AIO_RING_MAGIC
            && head.incompatible_features == 0
            && head.length as usize == size_of::<RingHead>();
        Ok(ring)
    }

    /// Completes when a client can be accepted.
    pub fn await_client(&mut self, listener: &TcpListener) {
        if !replace(&mut self.awaits_client, true) {
            self.in_flight.submit(0, POLL, None);
            self.queue(Request::Listener(listener.as_raw_fd()));
        }
    }

    /// Submits what was queued: a server that is not allowed to do so fails before it says that it
    /// is ready.
    pub fn start(&mut self) -> anyhow::Result<()> {
        for slot in take(&mut self.queue) {
            self.prepare(slot);
            self.enter(&[slot]).map_err(refused)?;
        }
        Ok(())
    }

    /// Whether a request for the listener has not completed: then the kernel uses the listener.
    pub fn awaits_client(&self) -> bool {
        self.awaits_client
    }

    /// Completes after [`RETRY`].
    pub fn pause(&mut self) {
        self.deadlines.set(PAUSE, Instant::now() + RETRY);
    }

    /// Does something for a client. Its completion gives the client back.
    pub fn submit(&mut self, client: Box<Client>, operation: Operation) {
        let number = client.socket.number();
        self.in_flight
            .submit(number, operation.name(), Some(number));
        let deadline = client.connection.deadline();
        let slot = self.queue(Request::OfClient(client, operation));
        if let Some(at) = deadline {
            self.deadlines.set(OF_SLOT + slot, at);
        }
    }

    fn queue(&mut self, request: Request) -> usize {
        let slot = self.slots.insert(request);
        self.queue.push(slot);
        slot
    }

    /// Ends all waits, also those that were only queued: with the next [`Ring::wait`]. Where that fails, a
    /// client does not come back. So there is an `end`.
    pub fn cancel_all(&mut self, end: Instant) {
        self.cancels = true;
        self.deadlines.set(END, end);
    }

    /// Its completion comes soon. Where the request has completed already this fails, and the completion is there.
    fn cancel(&mut self, slot: usize) {
        let request: *mut iocb = &raw mut self.requests[slot];
        let mut event = [0_u64; 4];
        // SAFETY: it reads the request, and may write an event to where the pointer says.
        unsafe { libc::syscall(libc::SYS_io_cancel, self.id, request, event.as_mut_ptr()) };
    }

    /// Submits all that was queued, waits for a completion, and adds those that are there to an
    /// empty list.
    pub fn wait(&mut self, completions: &mut Vec<Completion>) -> io::Result<()> {
        self.submit_queued(completions)?;
        if take(&mut self.cancels) {
            let slots: Vec<usize> = self.slots.iter().map(|(slot, _)| slot).collect();
            for slot in slots {
                self.cancel(slot);
            }
        }
        let most = if completions.is_empty() {
            self.deadlines.timeout(Instant::now())
        } else {
            Some(Duration::ZERO)
        };
        let (call, most) = match self.peek() {
            Some(_) => ("", Some(Duration::ZERO)),
            None => ("io_getevents", most),
        };
        let waiting = trace::wait(call, most, || self.in_flight.names());
        if !call.is_empty() {
            match self.get_events(most) {
                // By a signal.
                Err(Errno::EINTR) => return Ok(()),
                events => {
                    let events = events.map_err(|errno| failed(call, errno))?;
                    completions.extend(
                        events
                            .into_iter()
                            .filter_map(|event| self.taken(event.slot as usize, event.result())),
                    );
                }
            }
        }
        while let Some(event) = self.peek() {
            let head = self.head();
            let next = (head.head.load(Ordering::Relaxed) + 1) % head.events;
            head.head.store(next, Ordering::Release);
            completions.extend(self.taken(event.slot as usize, event.result()));
        }
        waiting.woke(|| {
            let in_flight = &mut self.in_flight;
            trace::list(completions.iter().map(|one| one.name(in_flight)))
        });
        if trace::is_on() {
            completions.iter().for_each(Completion::tell_failure);
        }
        self.look_at_the_clock(completions);
        Ok(())
    }

    /// One system call, where all goes well.
    fn submit_queued(&mut self, completions: &mut Vec<Completion>) -> io::Result<()> {
        let mut queue = Vec::new();
        for slot in take(&mut self.queue) {
            if self.prepare(slot) {
                queue.push(slot);
            } else if queue.iter().any(|&slot| self.is_brief(slot)) {
                // The requests before it use the memory, and may complete at once.
                self.queue.push(slot);
            } else {
                completions.extend(self.taken(slot, Err(Errno::ENOMEM)));
            }
        }
        let mut rest = &queue[..];
        let mut failures = 0;
        while let [first, others @ ..] = rest {
            match self.enter(rest) {
                Ok(submitted) => rest = &rest[submitted..],
                Err(Errno::EINTR) => {}
                // No memory. It is tried again after a pause.
                Err(Errno::EAGAIN) if failures < MOST_FAILURES => {
                    failures += 1;
                    thread::sleep(FAILURE_PAUSE);
                }
                // The first request was refused.
                Err(errno) => {
                    match self.taken(*first, Err(errno)) {
                        Some(Completion::Listener) => return Err(failed("io_submit", errno)),
                        completion => completions.extend(completion),
                    }
                    rest = others;
                }
            }
        }
        Ok(())
    }

    /// Writes down what the kernel is to do. False: there is no memory to read into. Memory is
    /// requested as late as this, because clients that have just ended have returned theirs.
    fn prepare(&mut self, slot: usize) -> bool {
        let (fd, command, address, length) = match &mut self.slots[slot] {
            Request::Listener(fd) => (*fd, IOCB_CMD_POLL, POLLIN, 0),
            Request::OfClient(client, operation) => {
                let connection = &mut client.connection;
                let (command, address, length) = match operation {
                    Operation::AwaitInput => (IOCB_CMD_POLL, POLLIN, 0),
                    Operation::AwaitRoom => (IOCB_CMD_POLL, POLLOUT, 0),
                    Operation::Read => {
                        let space = connection.read_space();
                        if space.is_empty() {
                            return false;
                        }
                        let address = space.as_mut_ptr().expose_provenance();
                        (IOCB_CMD_PREAD, address as u64, space.len())
                    }
                    Operation::Write => {
                        let bytes = connection.pending();
                        let address = bytes.as_ptr().expose_provenance();
                        (IOCB_CMD_PWRITE, address as u64, bytes.len())
                    }
                };
                (client.socket.as_raw_fd(), command, address, length)
            }
        };
        let request = &mut self.requests[slot];
        request.aio_data = slot as u64;
        request.aio_lio_opcode = command;
        request.aio_fildes = fd as u32;
        request.aio_buf = address;
        request.aio_nbytes = length as u64;
        true
    }

    /// It does not wait.
    fn is_brief(&self, slot: usize) -> bool {
        matches!(
            self.slots.get(slot),
            Some(Request::OfClient(_, Operation::Read | Operation::Write))
        )
    }

    /// Submits requests that were prepared. Returns how many were accepted; an error if the first
    /// one was refused.
    fn enter(&mut self, slots: &[usize]) -> nix::Result<usize> {
        let requests = self.requests.as_mut_ptr();
        // SAFETY: a slot is the number of a request.
        let list: Vec<*mut iocb> = slots
            .iter()
            .map(|&slot| unsafe { requests.add(slot) })
            .collect();
        // SAFETY: the requests are there, and name memory of their clients. Those are in their slots until the
        // completion.
        let submitted =
            unsafe { libc::syscall(libc::SYS_io_submit, self.id, list.len(), list.as_ptr()) };
        Errno::result(submitted).map(|count| count as usize)
    }

    /// Waits for an event, for at most this time.
    fn get_events(&self, most: Option<Duration>) -> nix::Result<Vec<Event>> {
        let mut events = Vec::with_capacity(EVENTS);
        let time = most.map(|most| *TimeSpec::from(most).as_ref());
        let time: *const libc::timespec = time.as_ref().map_or(ptr::null(), ptr::from_ref);
        let space = events.as_mut_ptr();
        // SAFETY: it writes this many events at most, which are numbers, and gives how many.
        unsafe {
            let got = libc::syscall(libc::SYS_io_getevents, self.id, 1, EVENTS, space, time);
            events.set_len(Errno::result(got)? as usize);
        }
        Ok(events)
    }

    fn head(&self) -> &RingHead {
        // SAFETY: io_setup has mapped it there. Of the head only those fields change that are atomics.
        unsafe { &*ptr::with_exposed_provenance(self.id) }
    }

    /// The next event, without a system call.
    fn peek(&self) -> Option<Event> {
        let head = self.head();
        let at = head.head.load(Ordering::Relaxed);
        if !self.is_readable || at == head.tail.load(Ordering::Acquire) {
            return None;
        }
        let events = ptr::with_exposed_provenance::<Event>(self.id + size_of::<RingHead>());
        // SAFETY: the kernel has written it before it moved the tail, and writes there again when the head has passed.
        Some(unsafe { *events.add((at % head.events) as usize) })
    }

    /// What a completed request means; `None` if nobody waits for it.
    fn taken(&mut self, slot: usize, result: Result<usize, Errno>) -> Option<Completion> {
        Some(match self.slots.try_remove(slot)? {
            Request::Listener(_) => {
                self.awaits_client = false;
                Completion::Listener
            }
            Request::OfClient(client, operation) => Completion::Done(client, operation, result),
        })
    }

    /// Cancels the waits of clients whose time is over.
    fn look_at_the_clock(&mut self, completions: &mut Vec<Completion>) {
        let now = Instant::now();
        while let Some(number) = self.deadlines.expired(now) {
            let Some(slot) = number.checked_sub(OF_SLOT) else {
                completions.push(match number {
                    END => Completion::End,
                    _ => Completion::PauseIsOver,
                });
                continue;
            };
            // The slot may be another client's by now.
            if let Some(Request::OfClient(client, _)) = self.slots.get(slot)
                && let Some(deadline) = client.connection.deadline()
            {
                if deadline <= now {
                    self.cancel(slot);
                } else {
                    self.deadlines.set(number, deadline);
                }
            }
        }
    }
}

impl Drop for Ring {
    #[allow(unsafe_code, reason = "the C library does not know this system call")]
    fn drop(&mut self) {
        // SAFETY: it waits for all requests, and unmaps the ring. Nobody uses it after this.
        unsafe { libc::syscall(libc::SYS_io_destroy, self.id) };
    }
}

fn failed(call: &str, errno: Errno) -> io::Error {
    io::Error::other(format!("{call}: {errno}"))
}

/// Why there is no ring, in one line that says what to do.
fn refused(errno: Errno) -> anyhow::Error {
    let reason = match errno {
        Errno::ENOSYS => "this kernel was built without it, or a sandbox hides it",
        Errno::EPERM => "it is forbidden here (containers may forbid it by seccomp)",
        Errno::EINVAL => "Linux 4.18 is needed, or a smaller --entries",
        Errno::EAGAIN => {
            "all programs together have as many requests as the system allows (raise sysctl fs.aio-max-nr, or use a smaller --entries)"
        }
        Errno::ENOMEM => "no memory for the ring (a smaller --entries)",
        _ => "the ring could not be made",
    };
    anyhow::anyhow!("Linux AIO is not available: {reason}: {errno}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_one_line_that_says_what_to_do() {
        for (errno, told) in [
            (Errno::ENOSYS, "built without it"),
            (Errno::EPERM, "seccomp"),
            (Errno::EINVAL, "Linux 4.18"),
            (Errno::EAGAIN, "sysctl fs.aio-max-nr"),
            (Errno::ENOMEM, "--entries"),
            (Errno::EMFILE, "could not be made"),
        ] {
            let line = refused(errno).to_string();
            assert!(line.starts_with("Linux AIO is not available: "), "{line}");
            assert!(line.contains(told), "{line}");
            assert!(!line.contains('\n'), "{line}");
        }
    }
}

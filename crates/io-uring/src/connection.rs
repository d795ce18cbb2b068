//! Drives a session by completions: at most one operation at a time points into its memory.

use std::collections::VecDeque;
use std::fmt::Display;
use std::io::{self, Read};
use std::mem::ManuallyDrop;
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Instant;

use nix::errno::Errno;
use nix::libc::MSG_DONTWAIT;
use serverkit::blocking::LINGER_TIME;
use serverkit::session::Session;
use serverkit::stats::Closed;
use serverkit::{Context, trace, work};

use crate::Completions;
use crate::ring::{InFlight, Operation, Ring};

/// A client. Counted as closed when dropped.
pub struct Connection {
    context: &'static Context,
    receives: Receives,
    socket: TcpStream,
    key: usize,
    /// In a box: what operations point to stays where it is when the table of clients grows.
    session: ManuallyDrop<Box<Session>>,
    /// The operation that has the session's memory: a receive into its space or a send of what
    /// is pending. Until it completes the session is not touched. So sends keep their order too.
    /// Before a client's first byte it is a poll, which needs no memory.
    lent: Option<InFlight>,
    /// The multishot receive.
    receiving: Option<InFlight>,
    /// Cancellations that have not completed.
    cancelling: u32,
    /// What a multishot receive brought before the session had room. The receive is cancelled
    /// then, and so this holds at most what the buffer ring did.
    early: VecDeque<u8>,
    /// The client's end of input has come, behind what is `early`.
    input_ended: bool,
    brought: Brought,
    /// Nothing more is done for this client: it waits for what is in flight.
    ended: bool,
    /// The server is stopping: an empty socket counts as the end of input.
    stopping: bool,
    closed: Closed,
    /// When bytes last moved; kept only for `--idle-timeout`.
    moved: Option<Instant>,
    linger_until: Option<Instant>,
}

/// How a client's bytes are received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Receives {
    /// Into its own memory, after a poll: it has said nothing yet, and holds no memory for it.
    AfterPoll,
    /// Into its own memory.
    Once,
    /// Into the buffer ring's.
    Many,
}

/// What a multishot receive has brought since it was submitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Brought {
    Nothing,
    Bytes,
    /// Not one byte, for the buffer ring was empty.
    NoBuffer,
}

impl Connection {
    /// A client just accepted. Its socket blocks: `io_uring` then waits for it, and would say
    /// EAGAIN otherwise.
    pub fn new(
        context: &'static Context,
        completions: Completions,
        socket: TcpStream,
        key: usize,
    ) -> Self {
        let options = &context.options;
        Self {
            context,
            receives: match completions {
                Completions::Single => Receives::AfterPoll,
                Completions::Multishot => Receives::Many,
            },
            socket,
            key,
            session: ManuallyDrop::new(Box::new(Session::new(options.mode, options.buffer_size))),
            lent: None,
            receiving: None,
            cancelling: 0,
            early: VecDeque::new(),
            input_ended: false,
            brought: Brought::Bytes,
            ended: false,
            stopping: false,
            closed: Closed::default(),
            moved: (!options.idle_timeout.is_zero()).then(Instant::now),
            linger_until: None,
        }
    }

    /// The poll has completed: there is something to receive, if only an error.
    pub fn polled(&mut self) {
        self.lent = None;
        self.receives = Receives::Once;
    }

    /// The receive into the session's own space has completed.
    pub fn received(&mut self, result: Result<u32, Errno>) {
        self.lent = None;
        if self.ended {
            return;
        }
        match result {
            Ok(0) => self.input_ended = true,
            Ok(n) => {
                self.arrived(n as usize);
                self.session.did_read(n as usize);
                self.work();
            }
            // The socket is empty, and the server is stopping.
            Err(Errno::EAGAIN) => self.session.stop(),
            Err(errno) => self.receive_failed(errno),
        }
    }

    /// The multishot receive has brought these bytes.
    pub fn received_many(&mut self, mut bytes: &[u8]) {
        self.brought = Brought::Bytes;
        if self.ended {
            return;
        }
        self.arrived(bytes.len());
        if self.lent.is_none() && self.early.is_empty() {
            self.feed(&mut bytes);
        }
        self.early.extend(bytes);
    }

    /// The multishot receive has ended.
    pub fn receiving_ended(&mut self, result: Result<u32, Errno>) {
        self.receiving = None;
        if result == Err(Errno::ENOBUFS) && self.brought == Brought::Nothing {
            self.brought = Brought::NoBuffer;
        }
        match result {
            Ok(0) => self.input_ended = true,
            Err(errno) if !self.ended => self.receive_failed(errno),
            _ => {}
        }
    }

    fn receive_failed(&mut self, errno: Errno) {
        match errno {
            // Cancelled by the server, interrupted, or the buffer ring was empty: once more.
            Errno::ECANCELED | Errno::EINTR | Errno::ENOBUFS => {}
            // The answer was out: how the client leaves does not matter any more.
            _ if self.session.is_lingering() => self.end(),
            errno => self.abort(errno),
        }
    }

    /// The send has completed: of all bytes, or of some.
    pub fn sent(&mut self, result: Result<u32, Errno>) {
        self.lent = None;
        if self.ended {
            return;
        }
        match result {
            Ok(n) => {
                self.closed.bytes_out += u64::from(n);
                self.moved();
                self.session.did_write(n as usize);
                self.work();
            }
            Err(Errno::EINTR) => {}
            Err(errno) => self.abort(errno),
        }
    }

    /// A cancellation has completed.
    pub fn cancelled(&mut self) {
        self.cancelling -= 1;
    }

    /// Submits what is to be done next for this client, all but the multishot receive.
    pub fn advance(&mut self, ring: &mut Ring) -> io::Result<()> {
        if self.lent.is_none() && !self.ended {
            self.settle();
        }
        if self.ended || self.stopping || !self.early.is_empty() {
            self.cancelling += ring.cancel_once(&mut self.receiving, self.key)?;
        }
        if self.ended || (self.stopping && self.waits_for_request()) {
            self.cancelling += ring.cancel_once(&mut self.lent, self.key)?;
        }
        if self.ended {
            return Ok(());
        }
        if self.lent.is_none() {
            if !self.session.pending().is_empty() {
                self.send(ring)?;
            } else if self.receives != Receives::Many
                && self.receiving.is_none()
                && self.session.interest().read
            {
                self.receive(ring)?;
            }
        }
        Ok(())
    }

    /// Its multishot receive is to be submitted.
    pub fn wants_to_receive(&self) -> bool {
        self.receives == Receives::Many
            && !self.ended
            && self.receiving.is_none()
            && !self.input_ended
            && self.early.is_empty()
            && self.session.interest().read
    }

    /// There was no buffer for it the last time.
    pub fn is_starved(&self) -> bool {
        self.brought == Brought::NoBuffer
    }

    /// Submits the multishot receive.
    pub fn receive_many(&mut self, ring: &mut Ring) -> io::Result<()> {
        ring.receive_many(&self.socket, self.key)?;
        self.receiving = Some(InFlight::new(Operation::ReceiveMany));
        self.brought = Brought::Nothing;
        Ok(())
    }

    /// Brings the session as far as it goes without the socket.
    fn settle(&mut self) {
        loop {
            if !self.early.is_empty() {
                let mut early = std::mem::take(&mut self.early);
                self.feed(&mut early);
                if !early.is_empty() {
                    self.early = early;
                }
            }
            if self.input_ended && self.early.is_empty() && self.session.interest().read {
                self.session.did_read(0);
            }
            if !self.session.take_shutdown() {
                break;
            }
            trace!(
                self.context,
                "client {}: answered, waiting for its close",
                self.as_raw_fd()
            );
            self.linger_until = Some(Instant::now() + LINGER_TIME);
            if self.socket.shutdown(Shutdown::Write).is_err() {
                return self.end();
            }
        }
        if self.session.is_done() {
            self.end();
        }
    }

    /// Hands `bytes` to the session as long as it wants some.
    fn feed(&mut self, bytes: &mut impl Read) {
        while self.session.interest().read {
            match bytes.read(self.session.read_space()) {
                Ok(n) if n > 0 => {
                    self.session.did_read(n);
                    self.work();
                }
                _ => break,
            }
        }
    }

    #[allow(unsafe_code, reason = "the session is lent to the kernel")]
    fn send(&mut self, ring: &mut Ring) -> io::Result<()> {
        // SAFETY: `lent` keeps everybody off the session until the completion.
        unsafe { ring.send(&self.socket, self.key, self.session.pending()) }?;
        self.lent = Some(InFlight::new(Operation::Send));
        Ok(())
    }

    #[allow(unsafe_code, reason = "the session is lent to the kernel")]
    fn receive(&mut self, ring: &mut Ring) -> io::Result<()> {
        if self.receives == Receives::AfterPoll {
            ring.poll(&self.socket, self.key)?;
            self.lent = Some(InFlight::new(Operation::Poll));
            return Ok(());
        }
        let flags = if self.stopping && !self.session.is_lingering() {
            MSG_DONTWAIT
        } else {
            0
        };
        // SAFETY: `lent` keeps everybody off the session until the completion.
        unsafe { ring.receive(&self.socket, self.key, self.session.read_space(), flags) }?;
        self.lent = Some(InFlight::new(Operation::Receive));
        Ok(())
    }

    /// It polls or receives, and not only to await the client's close.
    fn waits_for_request(&self) -> bool {
        !self.session.is_lingering()
            && self
                .lent
                .as_ref()
                .is_some_and(|lent| lent.operation != Operation::Send)
    }

    /// It has ended and nothing is in flight: drop it.
    pub fn is_over(&self) -> bool {
        self.ended && self.lent.is_none() && self.receiving.is_none() && self.cancelling == 0
    }

    /// The server is stopping: what has arrived is answered, then it ends.
    ///
    /// From now on it receives into its own memory, for only such a receive can tell that the
    /// socket is empty.
    pub fn stop(&mut self) {
        self.stopping = true;
        self.receives = Receives::Once;
    }

    /// When to look at this client though nothing completes: see [`Connection::expire`].
    pub fn deadline(&self) -> Option<Instant> {
        let idle = self
            .moved
            .map(|moved| moved + self.context.options.idle_timeout);
        match (idle, self.linger_until) {
            _ if self.ended => None,
            (Some(idle), Some(linger)) => Some(idle.min(linger)),
            (idle, linger) => idle.or(linger),
        }
    }

    /// Ends it if its deadline has passed.
    pub fn expire(&mut self, now: Instant) {
        if self.deadline().is_some_and(|at| at <= now) {
            match self.linger_until {
                Some(_) => self.end(),
                None => self.abort("idle for too long"),
            }
        }
    }

    /// Ends it with work undone, because of `error`.
    pub fn abort(&mut self, error: impl Display) {
        if !self.ended {
            trace!(self.context, "client {}: {error}", self.as_raw_fd());
            self.closed.reset = true;
            self.end();
        }
    }

    fn end(&mut self) {
        self.ended = true;
        self.early = VecDeque::new();
    }

    fn arrived(&mut self, bytes: usize) {
        self.closed.bytes_in += bytes as u64;
        self.moved();
    }

    fn moved(&mut self) {
        if let Some(moved) = &mut self.moved {
            *moved = Instant::now();
        }
    }

    /// Of the requests that became complete. A write may do that too: pipelined ones wait for room
    /// for their answers.
    fn work(&mut self) {
        work::burn(self.context.options.work * self.session.take_requests());
    }
}

impl Drop for Connection {
    #[allow(unsafe_code, reason = "a session that is lent must not be freed")]
    fn drop(&mut self) {
        self.context.stats.close(self.closed);
        if self.lent.is_none() {
            trace!(self.context, "client {}: closed", self.as_raw_fd());
            // SAFETY: dropped here and nowhere else, and no operation points into it.
            unsafe { ManuallyDrop::drop(&mut self.session) }
        }
    }
}

impl AsRawFd for Connection {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

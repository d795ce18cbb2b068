//! What is next for a client, when something has completed.
//!
//! Its multishot receive goes on in the background. Beside that at most one operation is in flight,
//! and owns the connection: so sends keep their order, too.
//!
//! A multishot receive brings all that comes, whether there is room for it or not. What there is no
//! room for is kept here, and the receive is cancelled. When a multishot has ended, for this or
//! another reason, the client's next receives are into its own memory, until its socket is empty. If
//! they bring much, it is polled next, and again receives into its own memory. So a client that
//! sends long messages has no multishot receive.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::mem;
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use serverkit::Context;
use serverkit::accept::Socket;
use serverkit::buffer::WAITING;
use serverkit::connection::Connection;
use serverkit::nonblocking::REQUESTS_PER_TURN;
use serverkit::trace::{self, Event, Moved};
use slab::Slab;

use crate::ring::{Operation, Ring};

/// To copy more bytes than this from the buffer ring costs more than to submit two operations.
const LONG: usize = 16 * 1024;

/// A client.
pub struct Client {
    key: usize,
    /// `None` while an operation owns it, and when the client has ended.
    connection: Option<Box<Connection>>,
    receives: Receives,
    /// Bytes received since it last waited for some.
    burst: usize,
    /// What the multishot receive brought when there was no room for it.
    early: VecDeque<u8>,
    /// The client's end of input has come, behind what is `early`.
    input_ended: bool,
    deadline: Option<Instant>,
    /// Why it is to be ended.
    error: Option<Errno>,
    /// Its deadline has passed, and its answers did not go out.
    is_overdue: bool,
    /// Nothing more is done for it: it waits for the end of its multishot receive.
    has_ended: bool,
    // Dropped last: the connection must be counted before the client sees the end.
    socket: Socket,
}

/// How the client's bytes are received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Receives {
    /// The multishot receive is in flight.
    Many,
    /// No receive is in flight: the socket is polled.
    Polled,
    /// As [`Receives::Many`] or [`Receives::Polled`], but it was cancelled.
    Cancelled,
    /// That has ended. There may be bytes in the socket.
    Ended,
    /// A receive into the connection's memory has just brought bytes. There may be more.
    Once,
    /// The socket is empty, or not looked at yet: it is time for a multishot receive.
    Empty,
}

/// Makes room for one more client, if there is memory for it. Where a Rust program asks for memory
/// in vain it ends, so this is tried before.
pub fn reserve_one(clients: &mut Slab<Client>) -> bool {
    /// What a client takes beside its buffers and its entry, and something for the server itself.
    const BESIDE: usize = 4096;
    const ENTRY: usize = size_of::<Client>() + 16;
    let is_full = clients.len() == clients.capacity();
    let twice = 2 * clients.len().max(32);
    let needed = BESIDE + if is_full { twice * ENTRY } else { 0 };
    let is_there = Vec::<u8>::new().try_reserve_exact(needed).is_ok();
    if is_there && is_full {
        clients.reserve_exact(twice - clients.len());
    }
    is_there
}

impl Client {
    /// A client just accepted. Its socket blocks: the kernel would not wait for another.
    pub fn new(context: &'static Context, socket: Socket, key: usize) -> Self {
        Self {
            key,
            connection: Some(Box::new(Connection::new(context, socket.number()))),
            receives: Receives::Empty,
            burst: 0,
            early: VecDeque::new(),
            input_ended: false,
            deadline: None,
            error: None,
            is_overdue: false,
            has_ended: false,
            socket,
        }
    }

    /// The multishot receive has brought these bytes.
    pub fn brought(&mut self, mut bytes: &[u8]) {
        self.burst += bytes.len();
        if self.early.is_empty()
            && let Some(mut connection) = self.connection.take()
        {
            self.feed(&mut connection, &mut bytes);
            self.connection = Some(connection);
        }
        if self.has_ended || self.error.is_some() {
            return;
        }
        match self.early.try_reserve(bytes.len()) {
            Ok(()) => self.early.extend(bytes),
            Err(_) => self.error = Some(Errno::ENOMEM),
        }
    }

    /// The multishot receive has ended.
    pub fn receive_many_ended(&mut self, result: Result<usize, Errno>) {
        self.receives = Receives::Ended;
        let (call, client) = (Operation::ReceiveMany.name(), self.socket.number());
        match result {
            Ok(n) => trace::note(Some(client), || format!("{call} has ended with {n} bytes")),
            // Bytes that came before the error were traced when they came.
            Err(errno) => trace::tell(|| Event::Read {
                call,
                client,
                moved: Moved::Error(errno),
            }),
        }
        match result {
            Ok(0) => self.input_ended = true,
            Ok(_) | Err(Errno::ECANCELED | Errno::ENOBUFS) => {}
            Err(errno) => self.error = Some(errno),
        }
    }

    /// There is something to receive, or the wait for it has ended otherwise.
    pub fn input_awaited(&mut self, result: Result<usize, Errno>) {
        self.receives = Receives::Ended;
        if let Err(errno) = result
            && errno != Errno::ECANCELED
        {
            self.error = Some(errno);
        }
    }

    /// The receive into the connection's memory is over.
    pub fn received(&mut self, mut connection: Box<Connection>, result: Result<usize, Errno>) {
        let call = Operation::Receive.name();
        if let Err(errno) = result {
            connection.could_not_read_by(call, &errno.into());
        }
        match result {
            Ok(n) => {
                connection.did_read_by(call, n);
                self.burst += n;
                self.receives = if n == 0 || connection.may_have_more() {
                    Receives::Once
                } else {
                    Receives::Empty
                };
            }
            Err(Errno::EAGAIN) => {
                connection.found_no_input();
                self.receives = Receives::Empty;
            }
            Err(Errno::ECANCELED) => {}
            Err(errno) => self.error = Some(errno),
        }
        self.connection = Some(connection);
    }

    /// The send is over.
    pub fn sent(&mut self, mut connection: Box<Connection>, result: Result<usize, Errno>) {
        match result {
            Ok(n) => connection.did_write(n),
            Err(errno) => {
                connection.could_not_write(&errno.into());
                match errno {
                    Errno::ECANCELED => self.is_overdue = connection.is_overdue(),
                    errno => self.error = Some(errno),
                }
            }
        }
        self.connection = Some(connection);
    }

    /// Submits what is next.
    pub fn advance(&mut self, ring: &mut Ring, stop_at: Option<Instant>) -> io::Result<()> {
        if let Some(mut connection) = self.connection.take() {
            if let Some(at) = stop_at {
                connection.stop(at);
            }
            self.next(connection, ring)?;
        }
        if self.error.is_some() {
            self.cancel(ring)
        } else if self.has_ended || !self.early.is_empty() {
            self.cancel_receive(ring)
        } else {
            Ok(())
        }
    }

    fn next(&mut self, mut connection: Box<Connection>, ring: &mut Ring) -> io::Result<()> {
        self.answer(&mut connection);
        if let Some(errno) = self.error {
            connection.fail(errno);
        }
        let answers = !connection.pending().is_empty();
        // It ends only after its answers had a chance to go out, and after all that came in time
        // was received.
        if !answers && matches!(self.receives, Receives::Once | Receives::Empty) {
            self.is_overdue = connection.is_overdue();
        }
        if self.error.is_some() || connection.is_done() || self.is_overdue {
            self.has_ended = true;
            self.deadline = None;
            self.early = VecDeque::new();
            return Ok(());
        }
        self.deadline = connection.deadline();
        // A server that is stopping receives until the socket is empty.
        let to_the_last = connection.is_stopping() && !connection.is_lingering();
        match self.receives {
            _ if answers => return ring.send(self.key, &self.socket, connection),
            Receives::Polled | Receives::Cancelled => {}
            Receives::Many if self.burst > LONG => self.cancel_receive(ring)?,
            Receives::Many => self.burst = 0,
            Receives::Empty if !to_the_last => {
                if mem::take(&mut self.burst) > LONG {
                    ring.await_input(self.key, &self.socket)?;
                    self.receives = Receives::Polled;
                } else {
                    ring.receive_many(self.key, &self.socket)?;
                    self.receives = Receives::Many;
                }
            }
            _ if connection.is_silent() && self.has_no_input() => {
                connection.found_no_input();
                self.receives = Receives::Empty;
                return self.next(connection, ring);
            }
            _ if connection.read_space().is_empty() => {
                self.error = Some(Errno::ENOMEM);
                return self.next(connection, ring);
            }
            _ => return ring.receive(self.key, &self.socket, connection),
        }
        connection.rest(WAITING);
        self.connection = Some(connection);
        Ok(())
    }

    /// Answers what has come, within a budget of requests.
    fn answer(&mut self, connection: &mut Connection) {
        let mut requests = 0;
        loop {
            requests += connection.answer(REQUESTS_PER_TURN - requests);
            if connection.take_shutdown() {
                // It fails if the client has gone. The next receive reports that.
                let _ = self.socket.shutdown(Shutdown::Write);
            }
            if self.early.is_empty() || !connection.interest().read || self.error.is_some() {
                break;
            }
            let mut early = mem::take(&mut self.early);
            self.feed(connection, &mut early);
            if !early.is_empty() {
                self.early = early;
            }
        }
        if self.input_ended && self.early.is_empty() && connection.interest().read {
            connection.did_read(0);
        }
    }

    /// Hands `bytes` to the connection as long as it has room for some.
    fn feed(&mut self, connection: &mut Connection, bytes: &mut impl Read) {
        while connection.interest().read {
            let space = connection.read_space();
            if space.is_empty() {
                self.error = Some(Errno::ENOMEM);
                break;
            }
            match bytes.read(space) {
                Ok(n) if n > 0 => connection.did_read(n),
                _ => break,
            }
        }
    }

    /// For clients that have not said anything: they cost no memory until they do.
    fn has_no_input(&self) -> bool {
        let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        let number = self.socket.number();
        let result = recv(self.socket.as_raw_fd(), &mut [0], flags);
        trace::tell(|| Event::Peek {
            call: "recvfrom",
            client: number,
            moved: result.map_or_else(Moved::Error, Moved::Bytes),
        });
        result == Err(Errno::EAGAIN)
    }

    /// When to call [`Client::cancel`] if nothing completes until then.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Its deadline has passed: what waits is cancelled, so that it has its turn.
    pub fn cancel(&mut self, ring: &mut Ring) -> io::Result<()> {
        ring.cancel(Operation::Send, self.key)?;
        self.cancel_receive(ring)
    }

    fn cancel_receive(&mut self, ring: &mut Ring) -> io::Result<()> {
        let operation = match self.receives {
            Receives::Many => Operation::ReceiveMany,
            Receives::Polled => Operation::AwaitInput,
            _ => return Ok(()),
        };
        self.receives = Receives::Cancelled;
        ring.cancel(operation, self.key)
    }

    /// It has ended and nothing is in flight: drop it.
    pub fn is_over(&self) -> bool {
        let in_flight = [Receives::Many, Receives::Polled, Receives::Cancelled];
        self.has_ended && !in_flight.contains(&self.receives)
    }
}

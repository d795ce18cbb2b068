//! Steps a session over a non-blocking socket as far as it goes, within a budget.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Instant;

use crate::blocking::LINGER_TIME;
use crate::context::Context;
use crate::session::{Interest, Session};
use crate::stats::Closed;
use crate::{trace, work};

/// Reads of one connection in one turn, at most: a client that sends without a pause must leave
/// the loop to the others now and then.
const READS_PER_TURN: u32 = 8;

/// When a step takes a socket for empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// A read gave less than there was room for. Enough where the kernel tells again of what is
    /// left, and one system call cheaper.
    ShortRead,
    /// A read said EAGAIN. Needed where the kernel tells of each arrival only once: the client's
    /// end of input may have come along with the bytes just read.
    WouldBlock,
}

/// What is next for a connection after a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Wait for what [`Connection::interest`] names.
    Wait,
    /// The budget is used up while there may be more: step again without waiting, after others.
    Again,
    /// It has ended: drop it.
    Closed,
}

/// A client of a loop. Counted as closed when dropped.
#[derive(Debug)]
pub struct Connection {
    socket: TcpStream,
    context: &'static Context,
    session: Session,
    closed: Closed,
    /// When bytes last moved; kept only for `--idle-timeout`.
    moved: Option<Instant>,
    linger_until: Option<Instant>,
    /// The server is stopping: an empty socket counts as the end of input.
    stopping: bool,
}

impl Connection {
    /// A client just accepted; its socket does not block.
    pub fn new(context: &'static Context, socket: TcpStream) -> Self {
        let options = &context.options;
        Self {
            socket,
            context,
            session: Session::new(options.mode, options.buffer_size),
            closed: Closed::default(),
            moved: (!options.idle_timeout.is_zero()).then(Instant::now),
            linger_until: None,
            stopping: false,
        }
    }

    /// As [`Connection::step`], for a server that was not told that there is something to read:
    /// a client that has said nothing yet is asked without a buffer being made for it.
    pub fn ask(&mut self, until: Until) -> Next {
        if self.closed.bytes_in == 0 && !self.stopping {
            match self.socket.peek(&mut [0]) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Next::Wait,
                Err(error) if error.kind() != ErrorKind::Interrupted => {
                    self.abort(error);
                    return Next::Closed;
                }
                _ => {}
            }
        }
        self.step(until)
    }

    /// Reads, answers and writes until the socket would block or the budget is used up.
    pub fn step(&mut self, until: Until) -> Next {
        match self.try_step(until) {
            Ok(next) => {
                if next == Next::Closed {
                    trace!(self.context, "client {}: closed", self.as_raw_fd());
                }
                next
            }
            // The answer was out: how the client leaves does not matter any more.
            Err(_) if self.session.is_lingering() => Next::Closed,
            Err(error) => {
                self.abort(error);
                Next::Closed
            }
        }
    }

    fn try_step(&mut self, until: Until) -> std::io::Result<Next> {
        let mut reads = 0;
        loop {
            self.write()?;
            if self.session.is_done() {
                return Ok(Next::Closed);
            }
            if !self.session.interest().read {
                return Ok(Next::Wait);
            }
            // Only here: what the last read brought has been answered, or was the end.
            if reads == READS_PER_TURN {
                return Ok(Next::Again);
            }
            reads += 1;
            let space = self.session.read_space();
            let room = space.len();
            match (&self.socket).read(space) {
                Ok(n) => {
                    trace!(self.context, "client {}: read {n} bytes", self.as_raw_fd());
                    self.closed.bytes_in += n as u64;
                    self.moved();
                    self.session.did_read(n);
                    self.work();
                    if n > 0 && n < room && until == Until::ShortRead && !self.stopping {
                        self.write()?;
                        return Ok(Next::Wait);
                    }
                }
                Err(error)
                    if error.kind() == ErrorKind::WouldBlock
                        && self.stopping
                        && !self.session.is_lingering() =>
                {
                    self.session.stop();
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Ok(Next::Wait);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes what is pending, as far as the socket has room.
    fn write(&mut self) -> std::io::Result<()> {
        while !self.session.pending().is_empty() {
            match (&self.socket).write(self.session.pending()) {
                Ok(n) => {
                    trace!(self.context, "client {}: wrote {n} bytes", self.as_raw_fd());
                    self.closed.bytes_out += n as u64;
                    self.moved();
                    self.session.did_write(n);
                    self.work();
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if self.session.take_shutdown() {
            self.socket.shutdown(Shutdown::Write)?;
            trace!(
                self.context,
                "client {}: answered, waiting for its close",
                self.as_raw_fd()
            );
            self.linger_until = Some(Instant::now() + LINGER_TIME);
        }
        Ok(())
    }

    /// What to wait for.
    pub fn interest(&self) -> Interest {
        self.session.interest()
    }

    /// Bytes read and written so far.
    pub fn bytes_moved(&self) -> u64 {
        self.closed.bytes_in + self.closed.bytes_out
    }

    /// The server is stopping: the next step answers what has arrived, and ends.
    pub fn stop(&mut self) {
        self.stopping = true;
    }

    /// When to look at this connection though nothing is ready: see [`Connection::is_overdue`].
    pub fn deadline(&self) -> Option<Instant> {
        let idle = self
            .moved
            .map(|moved| moved + self.context.options.idle_timeout);
        match (idle, self.linger_until) {
            (Some(idle), Some(linger)) => Some(idle.min(linger)),
            (idle, linger) => idle.or(linger),
        }
    }

    /// Its deadline has passed: drop it.
    pub fn is_overdue(&mut self, now: Instant) -> bool {
        let overdue = self.deadline().is_some_and(|at| at <= now);
        if overdue && self.linger_until.is_none() {
            self.abort("idle for too long");
        }
        overdue
    }

    /// What is dropped now was not done, because of `error`.
    pub fn abort(&mut self, error: impl std::fmt::Display) {
        self.closed.reset = true;
        trace!(self.context, "client {}: {error}", self.as_raw_fd());
    }

    /// Of the requests that became complete. A write may do that too: pipelined ones wait for room
    /// for their answers.
    fn work(&mut self) {
        work::burn(self.context.options.work * self.session.take_requests());
    }

    fn moved(&mut self) {
        if let Some(moved) = &mut self.moved {
            *moved = Instant::now();
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.context.stats.close(self.closed);
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Connection {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

//! Steps a connection over a non-blocking socket as far as it goes, within a budget.

use std::fmt::Display;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use crate::accept::Socket;
use crate::connection::Connection;
use crate::context::Context;
use crate::session::Interest;

/// Reads of one client in one turn, at most: a client that sends without a pause must leave the
/// loop to the others now and then.
const READS_PER_TURN: u32 = 8;

/// No further read in a turn that has brought this many bytes.
const BYTES_PER_TURN: usize = 128 * 1024;

/// Requests of one client that are answered in one turn, at most: one read can bring hundreds.
pub const REQUESTS_PER_TURN: u32 = 16;

/// How a server learns that a socket is ready, and so how far a step must go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// Level-triggered: the kernel reports the socket as long as it is ready. A read that fills
    /// less than the space ends the step, which saves a system call: what may be left is reported
    /// again.
    Level,
    /// Edge-triggered: the kernel reports each arrival once. Only a read that says EAGAIN ends the
    /// step. The first report may be about room to write alone.
    Edge,
    /// Nothing reports readiness: the server tries the socket from time to time.
    Polled,
}

/// What is next for a client after a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Wait for what [`Client::interest`] names.
    Wait,
    /// The budget is used up, and no event may come for the rest: step again after the other
    /// clients, without waiting.
    Again,
    /// It has ended: drop it.
    Closed,
}

/// A client of a loop.
#[derive(Debug)]
pub struct Client {
    connection: Connection,
    // Dropped last: the connection must be counted before the client sees the end.
    socket: Socket,
}

impl Client {
    /// A client just accepted; its socket does not block.
    pub fn new(context: &'static Context, socket: Socket) -> Self {
        Self {
            connection: Connection::new(context, socket.number()),
            socket,
        }
    }

    /// Reads, answers and writes until the socket would block, the budget is used up or the
    /// client's time is over.
    pub fn step(&mut self, trigger: Trigger) -> Next {
        self.step_by(trigger, Connection::answer)
    }

    /// As [`Client::step`], for a server that has its own way to answer at most this many requests.
    pub fn step_by(
        &mut self,
        trigger: Trigger,
        answer: impl FnMut(&mut Connection, u32) -> u32,
    ) -> Next {
        // Checked before the turn: if the process was stopped after a read that found nothing,
        // bytes may have come since then.
        let was_late = self.connection.is_late();
        let next = match self.turn(trigger, answer) {
            Ok(Next::Wait | Next::Again) if was_late && self.connection.is_overdue() => {
                Next::Closed
            }
            Ok(next) => next,
            Err(error) => {
                self.fail(error);
                Next::Closed
            }
        };
        self.connection.rest(0);
        next
    }

    fn turn(
        &mut self,
        trigger: Trigger,
        mut answer: impl FnMut(&mut Connection, u32) -> u32,
    ) -> std::io::Result<Next> {
        let mut reads = 0;
        let mut bytes = 0;
        let mut requests = 0;
        let mut is_empty = false;
        loop {
            requests += answer(&mut self.connection, REQUESTS_PER_TURN - requests);
            self.write()?;
            if self.connection.is_done() {
                return Ok(Next::Closed);
            }
            if self.connection.can_answer() {
                if requests == REQUESTS_PER_TURN {
                    return Ok(Next::Again);
                }
            } else if is_empty || !self.connection.interest().read {
                return Ok(Next::Wait);
            } else if reads == READS_PER_TURN || bytes >= BYTES_PER_TURN {
                return Ok(Next::Again);
            } else {
                reads += 1;
                is_empty = self.read(trigger, &mut bytes)?;
            }
        }
    }

    /// Reads once, and counts the bytes. Tells whether the socket is empty now, as far as the trigger
    /// asks for it.
    fn read(&mut self, trigger: Trigger, bytes: &mut usize) -> std::io::Result<bool> {
        match self.receive(trigger, bytes) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.connection.found_no_input();
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(false),
            result => result,
        }
    }

    fn receive(&mut self, trigger: Trigger, bytes: &mut usize) -> std::io::Result<bool> {
        let space = self.connection.read_space();
        let room = space.len();
        if room == 0 {
            return Err(ErrorKind::OutOfMemory.into());
        }
        let mut stream: &TcpStream = &self.socket;
        let read = stream.read(space);
        let n = read.inspect_err(|error| self.connection.could_not_read(error))?;
        self.connection.did_read(n);
        *bytes += n;
        let is_short = n > 0 && n < room;
        Ok(is_short && trigger != Trigger::Edge && !self.connection.is_stopping())
    }

    /// Writes what is pending, as far as the socket has room.
    fn write(&mut self) -> std::io::Result<()> {
        let mut stream: &TcpStream = &self.socket;
        while !self.connection.pending().is_empty() {
            let written = stream.write(self.connection.pending());
            match written.inspect_err(|error| self.connection.could_not_write(error)) {
                Ok(n) => self.connection.did_write(n),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if self.connection.take_shutdown() {
            stream.shutdown(Shutdown::Write)?;
        }
        Ok(())
    }

    /// The job of its last request was run: see [`Connection::answer_apart`].
    pub fn finish(&mut self) {
        self.connection.finish();
    }

    /// Its last request is worked on, and until [`Client::finish`] it waits for nothing.
    pub fn is_held(&self) -> bool {
        self.connection.is_held()
    }

    /// Which client it is, as [`Socket::number`].
    pub fn number(&self) -> u64 {
        self.connection.number()
    }

    /// What to wait for.
    pub fn interest(&self) -> Interest {
        self.connection.interest()
    }

    /// When to step this client though nothing is ready; `None`: never.
    pub fn deadline(&self) -> Option<Instant> {
        self.connection.deadline()
    }

    /// The server is stopping: the next step answers what has arrived. Everything is over at
    /// `end_of_grace`.
    pub fn stop(&mut self, end_of_grace: Instant) {
        self.connection.stop(end_of_grace);
    }

    /// It cannot be served any further, because of `error`: drop it.
    pub fn fail(&mut self, error: impl Display) {
        self.connection.fail(error);
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

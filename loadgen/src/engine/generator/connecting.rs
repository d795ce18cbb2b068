//! How connections come and go.

use std::io::Read;
use std::sync::atomic::Ordering;

use nix::sys::epoll::{EpollEvent, EpollFlags};
use socket2::Socket;

use super::traffic::End;
use super::{BATCH, Generator, Reached, Stage, State, record};
use crate::engine::clock;
use crate::engine::transport::{Fault, Received, Transport};
use crate::protocol::client::{Outcome, Protocol};
use crate::protocol::error::ErrorKind;

/// The most connections that are being opened at the same time. More could overflow a server's backlog, and each
/// overflow costs a second.
const MAX_CONNECTING: usize = 128;
/// When no connection was opened for this time, the trial starts without those that are missing, ns.
const RAMP_PATIENCE: u64 = 3_000_000_000;
/// A connection that broke before its first answer waits this long before it is opened again, ns.
const REST: u64 = 100_000_000;
/// After its last answer a connection waits this long for the server to close it, then closes itself, ns.
const LINGER: u64 = 100_000_000;

impl<P: Protocol> Generator<'_, P> {
    /// Opens all connections. `false`: the trial was given up.
    pub(super) fn ramp(&mut self) -> anyhow::Result<bool> {
        let mut events = [EpollEvent::empty(); BATCH];
        let mut next = 0;
        let mut most = 0;
        let mut progress = self.now;
        loop {
            while next < self.connections.len() && self.connecting < MAX_CONNECTING {
                self.open(next);
                next += 1;
            }
            if self.open > most {
                most = self.open;
                progress = self.now;
            }
            if most == 0
                && let Some(error) = self.connect_error.take()
            {
                return Err(error.into());
            }
            let none_left = next == self.connections.len();
            if none_left && self.connecting == 0 && self.rest.is_empty() {
                return Ok(true);
            }
            if self.now - progress > RAMP_PATIENCE {
                // The others are opened while the trial runs, as soon as one of those before them is open.
                for c in next..self.connections.len() {
                    self.rest_until(c, self.now);
                }
                return Ok(true);
            }
            if self.task.cancelled.load(Ordering::Relaxed) {
                return Ok(false);
            }
            let (count, _) = self.wait(&mut events)?;
            self.read_clock();
            self.open_rested();
            for event in &events[..count] {
                self.handle(*event);
            }
            self.see_to_alarms();
        }
    }

    pub(super) fn open(&mut self, c: usize) {
        let number = c * self.task.threads + self.task.thread;
        let connection = &mut self.connections[c];
        connection.since = self.now;
        connection.worked = false;
        // What is sent again counts as a request of this connection, too.
        let sent_again = connection.started - connection.answered;
        connection.left = self.limits.requests.saturating_sub(sent_again);
        let result = self.task.connector.connect(number).and_then(|socket| {
            let data = u64::from(connection.generation) << 32 | c as u64;
            self.task
                .queue
                .epoll
                .add(&socket, EpollEvent::new(EpollFlags::EPOLLOUT, data))?;
            Ok(socket)
        });
        match result {
            Ok(socket) => {
                connection.transport = Some(Transport::new(socket));
                connection.state = State::Connecting;
                self.connecting += 1;
                self.set_alarm(c, self.next_alarm(c));
            }
            Err(error) => self.connect_failed(c, error.into()),
        }
    }

    pub(super) fn connect_failed(&mut self, c: usize, fault: Fault) {
        let kind = fault.kind();
        if kind == ErrorKind::NoResources {
            if self.per_request {
                self.missing = self.missing.max(1);
            } else {
                self.missing += 1;
                // So do the requests that its predecessor left unanswered.
                self.fail_all(c, kind);
                self.close(c);
                self.connections[c].state = State::Missing;
                return;
            }
        }
        if kind != ErrorKind::BacklogFull {
            self.connect_error = Some(fault);
        }
        self.broke(c, kind);
    }

    pub(super) fn connected(&mut self, c: usize) {
        let connection = &mut self.connections[c];
        let transport = connection.transport.as_mut().expect("it is connecting");
        let error = match transport.socket.take_error() {
            Ok(None) => None,
            Ok(Some(error)) | Err(error) => Some(error),
        };
        if let Some(error) = error {
            self.connect_failed(c, error.into());
            return;
        }
        connection.wants_write = true;
        if let Some(security) = self.task.connector.security() {
            connection.state = State::Shaking;
            connection.shaking_since = clock::now();
            match transport.secure(security, &mut self.buffers) {
                Ok(()) => self.watch_pending(c),
                Err(fault) => self.connect_failed(c, fault),
            }
        } else {
            self.established(c);
        }
    }

    /// Goes on with the TLS handshake.
    pub(super) fn shake(&mut self, c: usize) {
        let transport = self.connections[c].transport.as_mut();
        let transport = transport.expect("it is connected");
        match transport.shake(&mut self.buffers) {
            Ok(received) => {
                let pending = transport.is_pending();
                let connection = &mut self.connections[c];
                connection.wants_write = pending;
                let generation = connection.generation;
                self.ask_again(c);
                if let Some(received) = received {
                    self.established(c);
                    // A server that speaks first may have sent its greeting with the end of the handshake.
                    self.take(c, generation, &received);
                }
            }
            Err(fault) => self.connect_failed(c, fault),
        }
    }

    fn watch_pending(&mut self, c: usize) {
        let transport = self.connections[c].transport.as_ref();
        let pending = transport.expect("it is connected").is_pending();
        self.watch(c, pending);
    }

    /// Asks for an event when the socket accepts more bytes, or stops asking.
    pub(super) fn watch(&mut self, c: usize, writable: bool) {
        let connection = &mut self.connections[c];
        if connection.wants_write == writable {
            return;
        }
        connection.wants_write = writable;
        self.ask_again(c);
    }

    /// Asks for events of connection `c`. An event that was reported before, and whose bytes were not all read, is
    /// reported again. Events are edge-triggered: otherwise the kernel would look at each socket a second time,
    /// only to find that it was read.
    pub(super) fn ask_again(&mut self, c: usize) {
        let connection = &self.connections[c];
        let transport = connection.transport.as_ref().expect("it is connected");
        let mut flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLET;
        flags.set(EpollFlags::EPOLLOUT, connection.wants_write);
        let data = u64::from(connection.generation) << 32 | c as u64;
        self.task
            .queue
            .epoll
            .modify(&transport.socket, &mut EpollEvent::new(flags, data))
            .expect("the socket is registered");
    }

    /// Connection `c` can be used.
    fn established(&mut self, c: usize) {
        self.read_clock();
        self.connecting -= 1;
        self.open += 1;
        let connection = &mut self.connections[c];
        connection.state = State::Open;
        connection.reaches(Reached::Connected);
        let pending = connection
            .transport
            .as_ref()
            .is_some_and(Transport::is_pending);
        if !self.per_request || self.is_measured(self.slots[c].intended) {
            self.record_connect(c);
        }
        if self.per_request {
            self.flush(c);
        } else {
            let pipeline = self.pipeline as usize;
            for slot in &mut self.slots[c * pipeline..(c + 1) * pipeline] {
                slot.at = slot.at.max(self.now);
            }
            self.set_alarm(c, self.next_alarm(c));
            self.watch(c, false);
            if pending || self.connections[c].sent < self.connections[c].started {
                self.flush(c);
            }
            if self.stage > Stage::Waiting && self.connections[c].state == State::Open {
                self.is_free(c);
            }
        }
    }

    fn record_connect(&mut self, c: usize) {
        let connection = &self.connections[c];
        let took = self.now - connection.since;
        record(&mut self.connect, took, &mut self.counts);
        if let Some(transport) = &connection.transport
            && self.task.connector.security().is_some()
        {
            let took = self.now - connection.shaking_since;
            record(&mut self.tls, took, &mut self.counts);
            self.resumed += u64::from(transport.is_resumed());
        }
    }

    /// Closes the socket. Its events that were already taken from the kernel will be ignored.
    pub(super) fn close(&mut self, c: usize) {
        let connection = &mut self.connections[c];
        match connection.state {
            State::Connecting | State::Shaking => self.connecting -= 1,
            State::Open | State::Lingering => self.open -= 1,
            State::Down | State::Resting | State::Missing => {}
        }
        if let Some(transport) = connection.transport.take() {
            transport.close(&mut self.buffers);
        }
        connection.state = State::Down;
        connection.generation = connection.generation.wrapping_add(1);
        connection.answered = connection.started;
        connection.sent = connection.started;
        connection.offset = 0;
        connection.answer = P::Answer::default();
    }

    /// A connection broke: its requests fail.
    #[cold]
    pub(super) fn broke(&mut self, c: usize, kind: ErrorKind) {
        let connection = &self.connections[c];
        if connection.answered == connection.started {
            if self.now >= self.window.measure {
                self.count_error(kind);
            }
        } else {
            self.fail_all(c, kind);
        }
        let worked = self.connections[c].worked;
        if !worked && self.advice.is_none() {
            self.advice = kind.advice();
        }
        self.close(c);
        if worked {
            self.renew(c);
        } else {
            self.rest_until(c, self.now + REST);
        }
    }

    /// Connection `c` is opened again at this instant, and by nothing else before.
    fn rest_until(&mut self, c: usize, when: u64) {
        self.connections[c].state = State::Resting;
        self.rest.push_back((when, c as u32));
    }

    pub(super) fn fail_all(&mut self, c: usize, kind: ErrorKind) {
        while self.connections[c].answered < self.connections[c].started {
            let end = End::now(self.now);
            self.complete(c, Outcome::Broken(kind), end);
        }
    }

    /// The server closes a connection as it had announced. It does not look at requests that were pipelined behind
    /// its last answer (RFC 9112, 9.6): they are sent again on the next connection.
    pub(super) fn retire(&mut self, c: usize) {
        let answered = self.connections[c].answered;
        self.close(c);
        let connection = &mut self.connections[c];
        connection.answered = answered;
        connection.sent = answered;
        self.renew(c);
    }

    /// The connection has had its one answer, and now the server should close it: the side that closes first keeps
    /// the port in `TIME_WAIT` for a minute.
    pub(super) fn linger(&mut self, c: usize) {
        let connection = &mut self.connections[c];
        connection.state = State::Lingering;
        let entry = (self.now + LINGER, c as u32, connection.generation);
        self.lingering.push_back(entry);
    }

    /// Answers the `close_notify` of a TLS server with one.
    pub(super) fn say_farewell(&mut self, c: usize) {
        if let Some(transport) = &mut self.connections[c].transport {
            transport.farewell(&mut self.buffers);
        }
    }

    /// Something happened on a lingering connection.
    pub(super) fn left(&mut self, c: usize) {
        let mut closed = false;
        let read = |mut socket: &Socket, buffer: &mut [u8]| {
            let count = socket.read(buffer)?;
            closed = count == 0;
            Ok((count, None))
        };
        let transport = self.connections[c].transport.as_mut().expect("it lingers");
        match transport.receive(&mut self.buffers, read) {
            Ok(Received { bytes: 1.., .. }) => self.broke(c, ErrorKind::Unasked),
            // The server has sent close_notify, and closes next.
            Ok(received) if !closed => {
                if received.ended {
                    self.say_farewell(c);
                }
            }
            Err(fault) if fault.would_block() => {}
            _ => self.retire(c),
        }
    }

    /// Closes the connections that the server should have closed.
    pub(super) fn close_lingering(&mut self) {
        while let Some(&(when, c, generation)) = self.lingering.front()
            && when <= self.now
        {
            self.lingering.pop_front();
            let connection = &self.connections[c as usize];
            if connection.state == State::Lingering && connection.generation == generation {
                self.retire(c as usize);
            }
        }
    }

    /// Makes a closed connection usable again; opens it if it is not opened for each request.
    pub(super) fn renew(&mut self, c: usize) {
        if self.per_request {
            let slot = &mut self.slots[c];
            slot.at = slot.at.max(self.now);
            self.is_free(c);
        } else {
            self.open(c);
        }
    }

    pub(super) fn open_rested(&mut self) {
        while let Some(&(when, c)) = self.rest.front()
            && when <= self.now
            && self.connecting < MAX_CONNECTING
        {
            self.rest.pop_front();
            self.connections[c as usize].state = State::Down;
            self.renew(c as usize);
        }
    }
}

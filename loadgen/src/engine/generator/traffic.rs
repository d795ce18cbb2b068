//! How requests go out and answers come in.

use socket2::Socket;

use super::{Connection, Generator, Reached, Slot, Stage, State, record};
use crate::engine::socket::receive;
use crate::engine::transport::{Received, speaks_tls};
use crate::protocol::client::{Outcome, Protocol, Request};
use crate::protocol::error::ErrorKind;
use crate::recording::stages::StageRecord;
use crate::workload::load::{Load, Mode, Timestamps};

/// The most writes on one connection before the others get their turn.
const WRITES_PER_TURN: usize = 4;

/// When a request ended, nanoseconds of the monotonic clock.
#[derive(Clone, Copy)]
pub(super) struct End {
    /// Where response and service end.
    at: u64,
    /// When its last byte arrived in the kernel, if that is known.
    arrived: Option<u64>,
    /// Whether the kernel's stamp is known.
    stamped: bool,
}

impl End {
    /// A request that ended without a stamp.
    pub(super) fn now(now: u64) -> Self {
        Self {
            at: now,
            arrived: None,
            stamped: false,
        }
    }
}

impl<P: Protocol> Generator<'_, P> {
    /// Connection `c` has room for at least one request.
    pub(super) fn is_free(&mut self, c: usize) {
        match self.task.workload.load {
            Load::Closed => {
                self.read_clock();
                if self.stage > Stage::Waiting && self.now < self.window.end {
                    let connection = &self.connections[c];
                    let next = slot_of(self.pipeline, c, connection.started);
                    let free_at = self.slots[next].at;
                    if free_at > self.now {
                        // The client thinks.
                        self.set_alarm(c, free_at);
                        return;
                    }
                    while self.has_room(c) {
                        self.start(c, None);
                    }
                    self.send(c);
                }
            }
            Load::Open { .. } => self.enqueue(c),
        }
    }

    pub(super) fn enqueue(&mut self, c: usize) {
        let connection = &mut self.connections[c];
        if !connection.queued {
            connection.queued = true;
            self.free.push_back(c as u32);
        }
    }

    /// Open loop: sends the requests that are due, while there are free connections.
    pub(super) fn dispatch(&mut self) {
        while let Some(schedule) = &mut self.schedule
            && let Some(due) = schedule.peek()
        {
            let intended = self.window.start + due;
            if intended > self.now || self.stage == Stage::Waiting {
                return;
            }
            let is_overdue = intended.saturating_add(self.limits.timeout) <= self.now;
            let free = self.first_free();
            if !is_overdue && free.is_none() {
                return;
            }
            if let Some(schedule) = &mut self.schedule {
                schedule.advance();
            }
            if is_overdue {
                self.give_up_unsent(intended, free);
                continue;
            }
            let Some(c) = free else {
                return;
            };
            self.free.pop_front();
            self.connections[c].queued = false;
            self.read_clock();
            self.start(c, Some(intended));
            if self.has_room(c) {
                self.enqueue(c);
            }
            self.send(c);
        }
    }

    /// The connection that has been free for the longest time. Those that were free and are not usable any more leave the
    /// queue.
    fn first_free(&mut self) -> Option<usize> {
        while let Some(&c) = self.free.front() {
            let c = c as usize;
            if self.connections[c].state == self.usable && self.has_room(c) {
                return Some(c);
            }
            self.free.pop_front();
            self.connections[c].queued = false;
        }
        None
    }

    /// Hands a request to connection `c` now. In a closed loop its intended time is the moment at which its slot
    /// became free.
    pub(super) fn start(&mut self, c: usize, scheduled: Option<u64>) {
        let connection = &mut self.connections[c];
        let slot = slot_of(self.pipeline, c, connection.started);
        let slot = &mut self.slots[slot];
        let free_since = slot.at;
        let intended = scheduled.unwrap_or(free_since);
        *slot = Slot {
            intended,
            at: self.now,
        };
        connection.started += 1;
        connection.left = connection.left.saturating_sub(1);
        self.set_alarm(c, intended.saturating_add(self.limits.timeout));
        if self.is_measured(intended) {
            self.connections[c].reaches(Reached::Asked);
            self.counts.scheduled += 1;
            if let Some(stage) = self.stage(intended) {
                stage.scheduled += 1;
            }
            if scheduled.is_some() {
                let wait = free_since.saturating_sub(intended);
                record(&mut self.times.wait, wait, &mut self.counts);
            }
            let late = self.now - intended.max(free_since);
            record(&mut self.times.lateness, late, &mut self.counts);
        }
    }

    /// Whether a request belongs to the measured time. In an open loop it does when it was due in that time. In a
    /// closed loop it does when it is unanswered and that time has begun: a server that stops answering in the
    /// warm-up gets no further request, and would otherwise appear in no figure.
    pub(super) fn is_measured(&self, intended: u64) -> bool {
        if self.schedule.is_some() {
            intended >= self.window.measure
        } else {
            self.stage >= Stage::Measuring
        }
    }

    /// Sends the request that was handed to connection `c`.
    pub(super) fn send(&mut self, c: usize) {
        if self.per_request {
            self.open(c);
        } else if !self.connections[c].wants_write {
            self.flush(c);
        }
    }

    /// Writes as much as the socket accepts.
    pub(super) fn flush(&mut self, c: usize) {
        let name = self.name(c);
        for _ in 0..WRITES_PER_TURN {
            let connection = &mut self.connections[c];
            let transport = connection.transport.as_ref().expect("it is open");
            let room = transport.room();
            let out = &mut self.buffers.output[..room];
            let filled = fill(self.protocol, name, connection, out);
            let transport = connection.transport.as_mut().expect("it is open");
            if filled == 0 && room > 0 {
                // All is sent, also a request of no bytes.
                connection.sent = connection.started;
            }
            if filled == 0 && !transport.is_pending() {
                self.watch(c, false);
                return;
            }
            match transport.send(filled, &mut self.buffers) {
                Ok(sent) => {
                    self.bytes_sent += sent.bytes as u64;
                    if sent.bytes > 0 {
                        advance(self.protocol, name, connection, sent.bytes);
                    }
                    if sent.blocked {
                        break;
                    }
                    if connection.sent == connection.started {
                        self.watch(c, false);
                        return;
                    }
                }
                Err(fault) => {
                    self.write_failed(c, fault.kind());
                    return;
                }
            }
        }
        self.connections[c].wants_write = true;
        self.ask_again(c);
    }

    /// The server takes no more of a request. It may have answered before it closed, such as 413 to a long body.
    #[cold]
    fn write_failed(&mut self, c: usize, kind: ErrorKind) {
        let generation = self.connections[c].generation;
        // It may be closed, or has had the one answer that it was opened for.
        while self.connections[c].generation == generation
            && self.connections[c].state == State::Open
        {
            let read = |socket: &Socket, buffer: &mut [u8]| Ok((receive(socket, buffer)?, None));
            let transport = self.connections[c].transport.as_mut();
            let transport = transport.expect("it is open");
            match transport.receive(&mut self.buffers, read) {
                Ok(received) if received.bytes > 0 => self.receive(c, &received),
                _ => self.broke(c, kind),
            }
        }
    }

    /// Reads what has arrived. Returns whether there may be more.
    pub(super) fn read(&mut self, c: usize) -> bool {
        let connection = &mut self.connections[c];
        let generation = connection.generation;
        let transport = connection.transport.as_mut().expect("it is open");
        let read = |socket: &Socket, buffer: &mut [u8]| self.stamps.read(socket, buffer);
        match transport.receive(&mut self.buffers, read) {
            Ok(received) => {
                self.read_clock();
                self.take(c, generation, &received);
                return received.more;
            }
            Err(fault) if fault.would_block() => {}
            Err(fault) => self.broke(c, fault.kind()),
        }
        false
    }

    /// Takes what came in on connection `c`, unless it has been closed since.
    pub(super) fn take(&mut self, c: usize, generation: u32, received: &Received) {
        let state = |connection: &Connection<P::Answer>| {
            (connection.generation == generation).then_some(connection.state)
        };
        if received.bytes > 0 && state(&self.connections[c]) == Some(State::Open) {
            self.receive(c, received);
        }
        match (state(&self.connections[c]), &received.fault) {
            (Some(State::Open), Some(fault)) => self.broke(c, fault.kind()),
            (Some(State::Open), None) if received.ended => self.ended(c),
            (Some(State::Open), None) if received.more => self.ask_again(c),
            // The close_notify came with the answer.
            (Some(State::Lingering), _) if received.ended => self.say_farewell(c),
            _ => {}
        }
    }

    fn ended(&mut self, c: usize) {
        let connection = &mut self.connections[c];
        if connection.answered == connection.started {
            self.broke(c, ErrorKind::ClosedEarly);
            return;
        }
        match self.protocol.end(&mut connection.answer) {
            Outcome::Broken(kind) => self.broke(c, kind),
            outcome @ Outcome::Answered { .. } => {
                self.complete(c, outcome, End::now(self.now));
                if self.per_request && self.task.workload.tls.is_some() {
                    // The server has announced it with close_notify; the close follows.
                    self.say_farewell(c);
                    self.linger(c);
                } else {
                    self.retire(c);
                }
            }
        }
    }

    /// Reads the answers in the data that came in.
    fn receive(&mut self, c: usize, received: &Received) {
        let count = received.bytes;
        self.bytes_received += count as u64;
        let stamp = received.stamp;
        let arrived = stamp.and_then(|stamp| self.stamps.arrival(stamp, self.now));
        if self.may_want_tls(c) && speaks_tls(&self.buffers.input[..count]) {
            self.broke(c, ErrorKind::SpeaksTls);
            return;
        }
        let name = self.name(c);
        let mut at = 0;
        let mut ended = false;
        while at < count {
            let connection = &mut self.connections[c];
            // A request may be answered before all of it is sent, but not before it was started.
            if connection.answered == connection.started {
                let is_echo = self.task.workload.mode == Mode::Echo;
                if at > 0 && !is_echo && self.now >= self.window.measure {
                    // It came with an answer, so the server takes it for a part of that.
                    self.counts.mismatches += 1;
                }
                self.broke(c, ErrorKind::Unasked);
                return;
            }
            let request = Request {
                connection: name,
                number: connection.answered,
            };
            let data = &self.buffers.input[at..count];
            let (taken, outcome) = self.protocol.receive(&mut connection.answer, request, data);
            at += taken;
            match outcome {
                None => {}
                Some(Outcome::Broken(kind)) => {
                    self.broke(c, kind);
                    return;
                }
                Some(outcome @ Outcome::Answered { last, .. }) => {
                    // An earlier answer may have arrived before the last byte did. So may the last answer, if there
                    // is more to read: the kernel puts segments together and keeps the latest stamp.
                    let exact = at == count && received.exact;
                    let end = End {
                        at: match self.task.workload.timestamps {
                            Timestamps::Kernel => arrived.unwrap_or(self.now),
                            Timestamps::Sampled | Timestamps::User => self.now,
                        },
                        arrived: arrived.filter(|_| exact),
                        stamped: arrived.is_some(),
                    };
                    self.complete(c, outcome, end);
                    ended = true;
                    if last && self.per_request && at == count {
                        self.linger(c);
                        return;
                    }
                    if last && !self.per_request {
                        self.retire(c);
                        return;
                    }
                }
            }
        }
        if ended && !self.replace_if_spent(c) {
            self.is_free(c);
        }
    }

    /// Whether this may be the first answer of a server that does not speak clear text.
    fn may_want_tls(&self, c: usize) -> bool {
        !self.connections[c].worked && self.task.connector.security().is_none()
    }

    /// The oldest request of connection `c` has ended. Its slot is free from now on.
    pub(super) fn complete(&mut self, c: usize, outcome: Outcome, end: End) {
        let free_at = self.now + self.thinks(c, self.connections[c].answered);
        let connection = &mut self.connections[c];
        let slot = slot_of(self.pipeline, c, connection.answered);
        let slot = &mut self.slots[slot];
        let sent = std::mem::replace(&mut slot.at, free_at);
        let intended = slot.intended;
        connection.answered += 1;
        let failure = match outcome {
            Outcome::Answered { wrong, .. } => {
                connection.worked = true;
                wrong
            }
            Outcome::Broken(kind) => Some(kind),
        };
        if self.now >= self.window.measure {
            if failure.is_none_or(ErrorKind::is_wrong_answer) {
                connection.reaches(Reached::Answer);
            }
            if failure.is_none() && self.now < self.window.end {
                self.counts.in_time += 1;
            }
        }
        if !self.is_measured(intended) {
            return;
        }
        let Some(kind) = failure else {
            let response = end.at.saturating_sub(intended);
            self.connections[c].answers += 1;
            self.counts.answered += 1;
            let block = &mut self.blocks[self.block];
            block.answers += 1;
            block.response += response;
            record(&mut self.times.response, response, &mut self.counts);
            if let Some(stage) = self.stage(intended) {
                stage.answered += 1;
                stage.respond(response);
            }
            let service = end.at.saturating_sub(sent);
            record(&mut self.times.service, service, &mut self.counts);
            if let Some(arrived) = end.arrived {
                let delay = self.now - arrived;
                record(&mut self.times.read_delay, delay, &mut self.counts);
            }
            if self.task.workload.timestamps == Timestamps::Kernel && !end.stamped {
                self.counts.unstamped += 1;
            }
            return;
        };
        self.counts.failed += 1;
        if let Some(stage) = self.stage(intended) {
            stage.failed += 1;
        }
        self.count_error(kind);
        if kind == ErrorKind::RequestTimeout {
            self.record_given_up(intended);
        }
    }

    /// The record of the stage in which a measured request was due.
    pub(super) fn stage(&mut self, intended: u64) -> Option<&mut StageRecord> {
        self.stages.at(intended.saturating_sub(self.window.measure))
    }

    pub(super) fn count_error(&mut self, kind: ErrorKind) {
        *self.counts.errors.entry(kind).or_default() += 1;
        // An HTTP server may tell an idle client that it closes the connection. An echo server must send nothing by
        // itself.
        let surplus = kind == ErrorKind::Unasked && self.task.workload.mode == Mode::Echo;
        if kind.is_wrong_answer() || surplus {
            self.counts.mismatches += 1;
        }
    }

    /// The name of connection `c` over all threads and generators.
    pub(super) fn name(&self, c: usize) -> u64 {
        let shard = self.task.workload.shard;
        let number = c * self.task.threads + self.task.thread;
        (number * shard.of + shard.index) as u64
    }
}

/// The slot of a request of connection `c`. Without a pipeline there is nothing to divide, and a division is slow.
pub(super) fn slot_of(pipeline: u64, c: usize, number: u64) -> usize {
    if pipeline == 1 {
        c
    } else {
        c * pipeline as usize + (number % pipeline) as usize
    }
}

/// Fills `out` with what connection `name` has to send next; returns the bytes.
fn fill<P: Protocol>(
    protocol: &P,
    name: u64,
    connection: &Connection<P::Answer>,
    out: &mut [u8],
) -> usize {
    let mut filled = 0;
    let mut offset = connection.offset;
    for number in connection.sent..connection.started {
        let request = Request {
            connection: name,
            number,
        };
        let end = out
            .len()
            .min(filled + protocol.request_len(request) - offset);
        protocol.fill(request, offset, &mut out[filled..end]);
        filled = end;
        offset = 0;
        if filled == out.len() {
            break;
        }
    }
    filled
}

/// The kernel has taken `written` more bytes of what connection `name` has to send.
fn advance<P: Protocol>(
    protocol: &P,
    name: u64,
    connection: &mut Connection<P::Answer>,
    written: usize,
) {
    let mut position = connection.offset + written;
    while connection.sent < connection.started {
        let request = Request {
            connection: name,
            number: connection.sent,
        };
        let length = protocol.request_len(request);
        if position < length {
            break;
        }
        position -= length;
        connection.sent += 1;
    }
    connection.offset = position;
}

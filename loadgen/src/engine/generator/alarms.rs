//! Timeouts, the life of a connection, and clients that think.
//!
//! Each connection has at most one alarm, at the earliest instant at which something may be due on it. Most
//! requests are answered in time, so an alarm is not moved with each of them: when it goes off, the connection is
//! asked what is due.

use std::time::Duration;

use super::limits::NEVER;
use super::traffic::{End, slot_of};
use super::{Generator, State, record};
use crate::engine::transport::Fault;
use crate::protocol::client::{Outcome, Protocol, Request};
use crate::protocol::draw::draw;
use crate::protocol::error::ErrorKind;

impl<P: Protocol> Generator<'_, P> {
    /// Sets the alarm of connection `c` to an instant, unless it goes off earlier.
    pub(super) fn set_alarm(&mut self, c: usize, at: u64) {
        let alarm = &mut self.connections[c].alarm;
        if at < *alarm {
            if *alarm != NEVER {
                self.alarms.remove(&(*alarm, c as u32));
            }
            self.alarms.insert((at, c as u32));
            *alarm = at;
        }
    }

    /// Handles the connections whose alarm has gone off.
    pub(super) fn see_to_alarms(&mut self) {
        while let Some(&(at, c)) = self.alarms.first()
            && at <= self.now
        {
            self.alarms.pop_first();
            self.connections[c as usize].alarm = NEVER;
            self.see_to(c as usize);
        }
    }

    /// Does what is due on connection `c`, and sets its alarm anew.
    fn see_to(&mut self, c: usize) {
        let connection = &self.connections[c];
        match connection.state {
            State::Connecting | State::Shaking
                if self.now >= connection.since.saturating_add(self.limits.connect_timeout) =>
            {
                let limit = Duration::from_nanos(self.limits.connect_timeout);
                self.connect_failed(c, Fault::TooSlow(limit));
            }
            // The answer may have arrived, and only the generator is late.
            State::Open => {
                let generation = connection.generation;
                while self.is_overdue(c)
                    && self.connections[c].generation == generation
                    && self.read(c)
                {}
            }
            _ => {}
        }
        self.give_up_overdue(c);
        let connection = &mut self.connections[c];
        if connection.state == State::Open
            && self.now >= connection.since.saturating_add(self.limits.age)
        {
            connection.left = 0;
        }
        self.replace_if_spent(c);
        let connection = &self.connections[c];
        if self.limits.think.is_some()
            && connection.state == self.usable
            && connection.answered == connection.started
        {
            self.is_free(c);
        }
        self.set_alarm(c, self.next_alarm(c));
    }

    /// When the oldest request of connection `c` is given up.
    fn patience(&self, c: usize) -> u64 {
        let connection = &self.connections[c];
        if connection.answered == connection.started {
            return NEVER;
        }
        let oldest = self.slots[slot_of(self.pipeline, c, connection.answered)];
        oldest.intended.saturating_add(self.limits.timeout)
    }

    fn is_overdue(&self, c: usize) -> bool {
        self.patience(c) <= self.now
    }

    /// The next instant at which something is due on connection `c`, apart from the end of thinking.
    pub(super) fn next_alarm(&self, c: usize) -> u64 {
        let connection = &self.connections[c];
        let limit = match connection.state {
            State::Connecting | State::Shaking => self.limits.connect_timeout,
            State::Open if connection.left > 0 => self.limits.age,
            _ => NEVER,
        };
        let of_connection = connection.since.saturating_add(limit);
        of_connection.min(self.patience(c))
    }

    /// Fails the requests of connection `c` that are overdue. Their answers may still come, at any time, so the
    /// connection is replaced. The requests behind them are sent again on the next one, and their time runs on.
    fn give_up_overdue(&mut self, c: usize) {
        let mut gave_up = false;
        while self.is_overdue(c) {
            let outcome = Outcome::Broken(ErrorKind::RequestTimeout);
            self.complete(c, outcome, End::now(self.now));
            gave_up = true;
        }
        if !gave_up {
            return;
        }
        let connection = &mut self.connections[c];
        if self.per_request || connection.state == State::Open {
            self.retire(c);
        } else {
            // It is being opened, and nothing was sent on it yet.
            connection.sent = connection.sent.max(connection.answered);
        }
    }

    /// Open loop: a request that was not sent in time fails. If a connection was `free`, it was the generator that did
    /// not send it.
    pub(super) fn give_up_unsent(&mut self, intended: u64, free: Option<usize>) {
        if !self.is_measured(intended) {
            return;
        }
        if let Some(c) = free {
            let slot = slot_of(self.pipeline, c, self.connections[c].started);
            let late = self.now - intended.max(self.slots[slot].at);
            record(&mut self.times.lateness, late, &mut self.counts);
        }
        self.counts.scheduled += 1;
        self.counts.failed += 1;
        if let Some(stage) = self.stage(intended) {
            stage.scheduled += 1;
            stage.failed += 1;
        }
        self.count_error(ErrorKind::RequestTimeout);
        self.record_given_up(intended);
    }

    /// A request that was given up counts in the response times, with the age that it had.
    pub(super) fn record_given_up(&mut self, intended: u64) {
        let age = self.now - intended;
        record(&mut self.times.response, age, &mut self.counts);
        if let Some(stage) = self.stage(intended) {
            stage.respond(age);
        }
    }

    /// Whether connection `c` takes one more request.
    pub(super) fn has_room(&self, c: usize) -> bool {
        let connection = &self.connections[c];
        connection.left > 0 && connection.started - connection.answered < self.pipeline
    }

    /// Replaces connection `c` if it gets no further request and nothing is in flight on it. Returns whether it did.
    pub(super) fn replace_if_spent(&mut self, c: usize) -> bool {
        let connection = &self.connections[c];
        let replaced = connection.left == 0
            && connection.state == State::Open
            && connection.answered == connection.started;
        if replaced {
            self.retire(c);
        }
        replaced
    }

    /// How long the client of connection `c` thinks after this request, nanoseconds.
    pub(super) fn thinks(&self, c: usize, number: u64) -> u64 {
        self.limits.think.map_or(0, |think| {
            let connection = self.name(c);
            let request = Request { connection, number };
            think.time(draw(self.limits.seed, request))
        })
    }

    /// How long the client of connection `c` still thinks when the load begins, nanoseconds. Otherwise all clients
    /// would begin together, and stay in step.
    pub(super) fn thinks_at_first(&self, c: usize) -> u64 {
        self.limits.think.map_or(0, |think| {
            let request = Request {
                connection: self.name(c),
                number: NEVER,
            };
            think.rest(draw(self.limits.seed, request))
        })
    }
}

//! The course of a trial as one thread sees it: waiting, warm-up, measured time, drain.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::traffic::slot_of;
use super::{Before, Connection, Generator, Reached, Stage, State, record};
use crate::engine::clock;
use crate::engine::messages::{LAP, Message, Share, Window};
use crate::protocol::client::Protocol;
use crate::recording::account::{BLOCKS, Block};

/// If the clock is read later than this after its last reading, the thread was stopped, ns. The longest wait of the
/// loop and the work for one connection are far shorter.
const STOP_AFTER: u64 = 50_000_000;

impl<P: Protocol> Generator<'_, P> {
    /// Reads the clock. The time since the last reading counts as a stop if it is too long. A turn of the loop may take
    /// long because it has ten thousand connections to serve; but that is work, and the clock is read for each of them.
    pub(super) fn read_clock(&mut self) {
        let last = std::mem::replace(&mut self.now, clock::now());
        if self.now.saturating_sub(last) > STOP_AFTER {
            self.was_away_since(last);
        }
    }

    /// The clock was read late. Only the part between the start of the measured time and the end of the drain counts.
    #[cold]
    fn was_away_since(&mut self, last: u64) {
        let Window { measure, limit, .. } = self.window;
        let gap = self.now.min(limit).saturating_sub(last.max(measure));
        if gap > STOP_AFTER {
            let stop = Duration::from_nanos(gap);
            self.time.longest_stop = self.time.longest_stop.max(stop);
            self.time.stopped += stop;
        }
    }

    /// Moves on to the next stage, block and lap, whichever are due.
    #[cold]
    pub(super) fn mark(&mut self) {
        let Window {
            start,
            measure,
            end,
            ..
        } = self.window;
        if self.stage == Stage::Waiting && self.now >= start {
            self.stage = Stage::Warmup;
            self.next_mark = measure;
            self.begin();
        }
        if self.stage == Stage::Warmup && self.now >= measure {
            self.stage = Stage::Measuring;
            if self.schedule.is_none() {
                self.take_over();
            }
            self.before = Before {
                at: self.now,
                cpu: clock::thread_cpu(),
                run_delay: self.run_delay.read(),
                bytes_sent: self.bytes_sent,
                bytes_received: self.bytes_received,
            };
        }
        if self.stage == Stage::Measuring && self.now >= end {
            self.stage = Stage::Draining;
            self.time.span = Duration::from_nanos(self.now - self.before.at);
            self.time.cpu = clock::thread_cpu().saturating_sub(self.before.cpu);
            let delays = self.before.run_delay.zip(self.run_delay.read());
            self.time.run_delay = delays.map(|(then, now)| now.saturating_sub(then));
            self.counts.bytes_sent = self.bytes_sent - self.before.bytes_sent;
            self.counts.bytes_received = self.bytes_received - self.before.bytes_received;
        }
        if self.stage >= Stage::Measuring {
            let into = self.now - measure;
            let lap = into / LAP;
            if lap > self.lap {
                let spare = self.task.spares.try_recv().unwrap_or_default();
                let message = Message::Lap {
                    thread: self.task.thread,
                    second: self.lap,
                    times: std::mem::replace(&mut self.times, spare),
                    errors: self.counts.errors.values().sum(),
                };
                self.lap = lap;
                // The receiver is gone only when the trial was given up.
                let _ = self.task.messages.send(message);
            }
            let length = (end - measure).div_ceil(BLOCKS as u64);
            self.block = ((into / length) as usize).min(BLOCKS);
            if self.stage == Stage::Draining {
                self.block = BLOCKS;
            }
            self.next_mark =
                (measure + (lap + 1) * LAP).min(measure + (into / length + 1) * length);
            if self.stage == Stage::Measuring {
                self.next_mark = self.next_mark.min(end);
            }
        }
    }

    /// The load begins: each connection that can take a request is free from now on. In a closed loop each client
    /// begins when its turn comes, so that the last of a thousand is not late because the others went first.
    fn begin(&mut self) {
        let pipeline = self.pipeline as usize;
        for c in 0..self.connections.len() {
            self.read_clock();
            let first = self.now + self.thinks_at_first(c);
            for slot in &mut self.slots[c * pipeline..][..pipeline] {
                slot.at = first;
            }
            if self.per_request || self.connections[c].state == State::Open {
                self.is_free(c);
            }
        }
    }

    /// Closed loop: the requests in flight when the measured time begins belong to it.
    fn take_over(&mut self) {
        for c in 0..self.connections.len() {
            self.read_clock();
            let connection = &self.connections[c];
            for number in connection.answered..connection.started {
                let slot = self.slots[slot_of(self.pipeline, c, number)];
                self.counts.scheduled += 1;
                record(
                    &mut self.times.lateness,
                    slot.at - slot.intended,
                    &mut self.counts,
                );
            }
        }
    }

    /// The measured time ends now, if it has not ended yet.
    #[cold]
    pub(super) fn cut(&mut self) {
        // A request that is due at this very moment still belongs to the measured time.
        let end = self.now + 1;
        self.window.end = self.window.end.min(end);
        self.window.limit = self.window.limit.min(end);
        self.next_mark = self.next_mark.min(end);
    }

    pub(super) fn is_finished(&self) -> bool {
        if self.stage < Stage::Draining {
            return false;
        }
        let all_sent = self
            .schedule
            .as_ref()
            .is_none_or(|schedule| schedule.peek().is_none());
        let ended = self.counts.answered + self.counts.failed;
        self.now >= self.window.limit || (all_sent && self.counts.scheduled == ended)
    }

    /// Whether a client wanted an answer in the measured time and had none: it could not connect, was given a
    /// request, or still waits since the warm-up. In a closed loop a client that cannot connect again wants an
    /// answer, too.
    fn is_unanswered(&self, connection: &Connection<P::Answer>) -> bool {
        let waits = connection.answered < connection.started;
        let down = !self.per_request && connection.state != State::Open;
        let wanted = match connection.reached {
            Reached::Nothing => waits || down,
            Reached::Connected => waits || (down && self.schedule.is_none()),
            Reached::Asked => true,
            Reached::Answer => false,
        };
        wanted && connection.state != State::Missing
    }

    /// Adds the requests without an answer to `response`, with their present age. `None`: the trial was cancelled.
    pub(super) fn finish(mut self) -> Option<Share> {
        let pipeline = self.pipeline;
        for (c, connection) in self.connections.iter().enumerate() {
            for number in connection.answered..connection.started {
                let slot = self.slots[slot_of(pipeline, c, number)];
                if self.is_measured(slot.intended) {
                    self.counts.in_flight += 1;
                    let age = self.now - slot.intended;
                    record(&mut self.times.response, age, &mut self.counts);
                    if let Some(stage) = self
                        .stages
                        .at(slot.intended.saturating_sub(self.window.measure))
                    {
                        stage.respond(age);
                    }
                }
            }
        }
        // If it was cut short, the rest of the schedule never became due.
        let (start, end) = (self.window.start, self.window.end);
        let schedule = self.schedule.iter_mut().flatten();
        let due = schedule.take_while(|due| start + due < end);
        for (number, due) in due.enumerate() {
            // At a rate far beyond what can be sent there are billions of them.
            if number % (1 << 16) == 0 && self.task.cancelled.load(Ordering::Relaxed) {
                return None;
            }
            let intended = self.window.start + due;
            if intended >= self.window.measure {
                self.counts.scheduled += 1;
                self.counts.never_sent += 1;
                let age = self.now.saturating_sub(intended);
                record(&mut self.times.response, age, &mut self.counts);
                if let Some(stage) = self.stages.at(intended - self.window.measure) {
                    stage.scheduled += 1;
                    stage.respond(age);
                }
            }
        }
        let unanswered = self.connections.iter().filter(|c| self.is_unanswered(c));
        let unanswered = unanswered.count();
        let mut blocks = [Block::default(); BLOCKS];
        blocks.copy_from_slice(&self.blocks[..BLOCKS]);
        Some(Share {
            thread: self.task.thread,
            second: self.lap,
            times: self.times,
            stages: self.stages,
            counts: self.counts,
            connect: self.connect,
            tls: self.tls,
            resumed: self.resumed,
            blocks,
            answers: self.connections.iter().map(|c| c.answers).collect(),
            unanswered,
            missing: self.missing,
            time: self.time,
            began: self.before.at,
            ended: self.now,
        })
    }
}

//! Counts: how requests ended, how steady the answers were, how many neighbours were there.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::protocol::error::ErrorKind;

/// How the requests of the measured time ended.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    /// Became due in the measured time.
    pub scheduled: u64,
    /// Answered rightly.
    pub answered: u64,
    /// Right answers that arrived in the measured time. It includes the answers to requests of the warm-up, since
    /// the server did that work in the measured time.
    pub in_time: u64,
    /// Ended by an error.
    pub failed: u64,
    /// Sent and unanswered at the end of the drain.
    pub in_flight: u64,
    /// Not sent by the end of the drain.
    pub never_sent: u64,
    /// Wrong answers: see [`ErrorKind::is_wrong_answer`]; and echoes of bytes that were never sent.
    pub mismatches: u64,
    /// Bytes sent in the measured time.
    pub bytes_sent: u64,
    /// Bytes received in the measured time.
    pub bytes_received: u64,
    /// Times longer than [`super::histogram::HIGHEST`], in any histogram.
    pub clamped: u64,
    /// Right answers that the kernel should have stamped and did not; their response ends when they were read.
    pub unstamped: u64,
    /// Errors by kind: one for each failed request, and one for each connection that broke without a request in
    /// flight.
    pub errors: BTreeMap<ErrorKind, u64>,
}

impl Counts {
    /// Failed requests that were given up after the time that the client waits. They are in the response times, with the
    /// age that they had.
    pub fn timed_out(&self) -> u64 {
        let errors = self.errors.get(&ErrorKind::RequestTimeout);
        errors.copied().unwrap_or_default()
    }

    /// Adds another thread's counts.
    pub fn add(&mut self, other: &Self) {
        self.scheduled += other.scheduled;
        self.answered += other.answered;
        self.in_time += other.in_time;
        self.failed += other.failed;
        self.in_flight += other.in_flight;
        self.never_sent += other.never_sent;
        self.mismatches += other.mismatches;
        self.bytes_sent += other.bytes_sent;
        self.bytes_received += other.bytes_received;
        self.clamped += other.clamped;
        self.unstamped += other.unstamped;
        for (kind, count) in &other.errors {
            *self.errors.entry(*kind).or_default() += count;
        }
    }
}

/// The answers of a fraction of the measured time, to see whether it was steady.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Block {
    /// Answers that arrived in it.
    pub answers: u64,
    /// The sum of their response times, nanoseconds.
    pub response: u64,
}

/// Blocks of the measured time.
pub const BLOCKS: usize = 20;

/// The least and the greatest of a count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MinMax {
    /// The least.
    pub min: u64,
    /// The greatest.
    pub max: u64,
}

/// What became of the neighbours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NeighbourCounts {
    /// Neighbours that were asked for, without the churn.
    pub asked: usize,
    /// Of these, connected at the end.
    pub present: usize,
    /// Of these, not opened because of the generator's own limits.
    pub missing: usize,
    /// Connections of the churn that were due.
    pub churn_due: u64,
    /// Of these, opened.
    pub churned: u64,
}

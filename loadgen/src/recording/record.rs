//! All that a trial recorded.

use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram;

use super::account::{Block, Counts, MinMax, NeighbourCounts};
use super::stages::StageRecords;
use super::times::{Interval, Times};

/// What one generator thread spent in the measured time, and how it was disturbed.
#[derive(Debug, Clone, Copy, Default)]
pub struct ThreadTime {
    /// The time between its readings at the beginning and the end of the measured time.
    pub span: Duration,
    /// CPU time, user and system.
    pub cpu: Duration,
    /// Runnable, but not running; `None`: it cannot be read here.
    pub run_delay: Option<Duration>,
    /// CPU time that it spent asking for answers before it slept, or until the next request was due.
    pub spun: Duration,
    /// The longest time in which it neither worked nor waited for an event; zero if it was never stopped.
    pub longest_stop: Duration,
    /// All stops together.
    pub stopped: Duration,
}

/// When a trial was really measured.
#[derive(Debug, Clone, Copy, Default)]
pub struct Measured {
    /// When the last of its threads began to measure, since 1970.
    pub begin: Duration,
    /// When the first of them ended.
    pub end: Duration,
    /// `begin` by the monotonic clock of the machine, nanoseconds.
    pub monotonic: u64,
    /// How far the calendar clock was moved in between, nanoseconds.
    pub moved: i64,
    /// How long after its time it began; zero where no time was set.
    pub late: Duration,
    /// It was ended before its time.
    pub cut_short: bool,
}

/// What a trial recorded.
#[derive(Debug, Clone)]
pub struct Recording {
    /// When the measured time began, as it was planned.
    pub started: SystemTime,
    /// When it was really measured.
    pub measured: Measured,
    /// All samples.
    pub times: Times,
    /// What became of the requests by the stage in which they were due.
    pub stages: StageRecords,
    /// Connect times, nanoseconds. They are of all connections; where each request makes its own, of the measured
    /// requests.
    pub connect: Histogram<u64>,
    /// The TLS handshakes of these connections, nanoseconds; a part of their connect times.
    pub tls: Histogram<u64>,
    /// Of these handshakes, those that went on with an earlier session.
    pub resumed: u64,
    /// The samples of `times`, by the second in which they were taken.
    pub intervals: Vec<Interval>,
    /// How the requests ended.
    pub counts: Counts,
    /// Steadiness: [`super::account::BLOCKS`] blocks.
    pub blocks: Vec<Block>,
    /// Connections with at least one answer.
    pub connections_answered: usize,
    /// Connections that wanted an answer in the measured time and had none, not even a wrong one.
    pub connections_unanswered: usize,
    /// The fewest and the most answers of a connection.
    pub answers_per_connection: MinMax,
    /// Connections that the generator's own limits did not allow, also those of neighbours.
    pub connections_missing: usize,
    /// What became of the neighbours.
    pub neighbours: NeighbourCounts,
    /// One for each generator thread.
    pub threads: Vec<ThreadTime>,
}

//! All that a trial recorded.

use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram;

use super::account::{Block, Census, Counts, MinMax};
use super::times::{Interval, Times};

/// What one generator thread spent in the measured time, and how it was disturbed.
#[derive(Debug, Clone, Copy, Default)]
pub struct ThreadTime {
    /// Between its readings at the two ends of the measured time.
    pub span: Duration,
    /// CPU time, user and system.
    pub cpu: Duration,
    /// Runnable, but not running.
    pub run_delay: Duration,
    /// CPU time in which it only waited for the next due time.
    pub spun: Duration,
    /// The longest time in which it did not turn its loop, where that is longer than it may take.
    pub longest_stop: Duration,
    /// The sum of these times.
    pub stopped: Duration,
}

/// What a trial recorded.
#[derive(Debug, Clone)]
pub struct Recording {
    /// When the measured time began.
    pub started: SystemTime,
    /// All samples.
    pub times: Times,
    /// Connect times, nanoseconds: of all connections, or where each request makes its own, of
    /// the measured requests.
    pub connect: Histogram<u64>,
    /// The samples of `times`, by the second in which they were taken.
    pub intervals: Vec<Interval>,
    /// How the requests ended.
    pub counts: Counts,
    /// Steadiness: [`BLOCKS`] blocks.
    pub blocks: Vec<Block>,
    /// Connections with at least one answer.
    pub connections_answered: usize,
    /// The answers of the worst and of the best served connection.
    pub answers_per_connection: MinMax,
    /// Connections that the generator's own limits forbade, neighbours among them.
    pub connections_missing: usize,
    /// The disturbers.
    pub neighbours: Census,
    /// One for each generator thread.
    pub threads: Vec<ThreadTime>,
}

//! What a trial recorded: histograms, counters, and what the generator itself spent.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2Serializer};

use crate::engine::neighbours::Census;
use crate::protocol::ErrorKind;
use crate::results::trial::MinMax;

/// The least time that a histogram tells apart, nanoseconds.
pub const LOWEST: u64 = 1;
/// The greatest; longer ones are recorded as this and counted: 1 h, nanoseconds.
pub const HIGHEST: u64 = 3_600_000_000_000;
/// Significant digits of a histogram.
pub const DIGITS: u8 = 3;

/// An empty histogram with the bounds that all of them have.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(LOWEST, HIGHEST, DIGITS).expect("the bounds are constants")
}

/// The histograms of a time span, nanoseconds.
#[derive(Debug, Clone)]
pub struct Times {
    /// Answer minus intended time.
    pub response: Histogram<u64>,
    /// Answer minus actual send.
    pub service: Histogram<u64>,
    /// How late the generator itself was.
    pub lateness: Histogram<u64>,
    /// Time queued for a free connection.
    pub wait: Histogram<u64>,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            response: histogram(),
            service: histogram(),
            lateness: histogram(),
            wait: histogram(),
        }
    }
}

impl Times {
    /// The histograms by the tags that they have in a log.
    pub fn tagged(&self) -> [(&'static str, &Histogram<u64>); 4] {
        [
            ("response", &self.response),
            ("service", &self.service),
            ("lateness", &self.lateness),
            ("wait", &self.wait),
        ]
    }

    /// Adds all samples of `other`.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in [
            (&mut self.response, &other.response),
            (&mut self.service, &other.service),
            (&mut self.lateness, &other.lateness),
            (&mut self.wait, &other.wait),
        ] {
            mine.add(theirs).expect("all have the same bounds");
        }
    }

    /// Forgets all samples.
    pub fn clear(&mut self) {
        for histogram in [
            &mut self.response,
            &mut self.service,
            &mut self.lateness,
            &mut self.wait,
        ] {
            histogram.reset();
        }
    }
}

/// One second of a trial. Kept packed: empty, a histogram is a quarter of a megabyte.
#[derive(Debug, Clone)]
pub struct Interval {
    /// From the start of the measured time.
    pub start: Duration,
    /// A second, or less at the end.
    pub length: Duration,
    packed: [Vec<u8>; 4],
}

impl Interval {
    /// Packs the histograms of one second.
    pub fn new(start: Duration, length: Duration, times: &Times) -> Self {
        let mut serializer = V2Serializer::new();
        let packed = times.tagged().map(|(_, histogram)| {
            let mut bytes = Vec::new();
            serializer
                .serialize(histogram, &mut bytes)
                .expect("a histogram of these bounds fits, and a Vec takes all");
            bytes
        });
        Self {
            start,
            length,
            packed,
        }
    }

    /// The histograms by tag.
    pub fn unpack(&self) -> [(&'static str, Histogram<u64>); 4] {
        let mut deserializer = Deserializer::new();
        let tags = ["response", "service", "lateness", "wait"];
        let mut packed = self.packed.iter();
        tags.map(|tag| {
            let bytes = packed.next().expect("there are four");
            let histogram = deserializer
                .deserialize(&mut bytes.as_slice())
                .expect("it was packed here");
            (tag, histogram)
        })
    }
}

/// How the requests of the measured time ended.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    /// Became due in the measured time.
    pub scheduled: u64,
    /// Answered rightly.
    pub answered: u64,
    /// Right answers that came in the measured time, those to requests of the warm-up among them: what the server
    /// did in that time.
    pub in_time: u64,
    /// Ended by an error.
    pub failed: u64,
    /// Sent and unanswered at the end of the drain.
    pub in_flight: u64,
    /// Not sent by the end of the drain.
    pub never_sent: u64,
    /// Answers whose bytes were wrong, and echoes of nothing.
    pub mismatches: u64,
    /// Bytes sent in the measured time.
    pub bytes_sent: u64,
    /// Bytes received in the measured time.
    pub bytes_received: u64,
    /// Times longer than [`HIGHEST`], in any histogram.
    pub clamped: u64,
    /// Errors: one for each failed request, one for a connection that broke with none.
    pub errors: BTreeMap<ErrorKind, u64>,
}

impl Counts {
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

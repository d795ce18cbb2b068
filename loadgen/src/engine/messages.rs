//! The messages between the main thread and the generator threads.

use hdrhistogram::Histogram;

use crate::recording::account::{BLOCKS, Block, Counts};
use crate::recording::record::ThreadTime;
use crate::recording::stages::StageRecords;
use crate::recording::times::Times;

/// The histograms are handed over this often, nanoseconds.
pub const LAP: u64 = 1_000_000_000;
/// The instants of a trial, nanoseconds of the monotonic clock.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// The load begins.
    pub start: u64,
    /// The measured time begins.
    pub measure: u64,
    /// It ends: no more requests become due.
    pub end: u64,
    /// The drain is over.
    pub limit: u64,
}

/// What a thread reports while it runs and when it ends.
#[derive(Debug)]
pub enum Message {
    /// All connections are open that can be.
    Ramped,
    /// One second's samples, by the thread and the second's number.
    Lap {
        /// Which thread.
        thread: usize,
        /// Seconds from the start of the measured time.
        second: u64,
        /// The samples.
        times: Box<Times>,
        /// Errors up to now.
        errors: u64,
    },
    /// The thread is done.
    Done(Box<Share>),
    /// It cannot go on.
    Failed(anyhow::Error),
}

/// A thread's part of the recording.
#[derive(Debug)]
pub struct Share {
    /// Which thread.
    pub thread: usize,
    /// The number of its last second.
    pub second: u64,
    /// The samples of that second.
    pub times: Box<Times>,
    /// The same by the stage in which requests were due.
    pub stages: StageRecords,
    /// How its requests ended.
    pub counts: Counts,
    /// Connect times.
    pub connect: Histogram<u64>,
    /// The times of their TLS handshakes.
    pub tls: Histogram<u64>,
    /// Of these, handshakes that went on with an earlier session.
    pub resumed: u64,
    /// Steadiness.
    pub blocks: [Block; BLOCKS],
    /// Answers of each connection in the measured time.
    pub answers: Vec<u64>,
    /// Connections that wanted an answer and had none.
    pub unanswered: usize,
    /// Connections that the generator's own limits did not allow.
    pub missing: usize,
    /// What the thread spent.
    pub time: ThreadTime,
    /// When its measured time began, nanoseconds of the monotonic clock.
    pub began: u64,
    /// When its drain was over, nanoseconds of the monotonic clock.
    pub ended: u64,
}

//! Who watches a trial while it runs.

use std::time::Duration;

use crate::recording::histogram::Quantiles;

/// The longest time between two questions to the observer whether to go on.
pub const ASK_EVERY: Duration = Duration::from_millis(50);
/// The instants of a trial at which costs are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// All connections are open.
    Open,
    /// The warm-up begins, or is about to.
    Warmup,
    /// The measured time begins.
    Measuring,
    /// The measured time is over; the drain begins.
    Measured,
}

/// One second of the measured time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Second {
    /// Its number, from 0.
    pub number: u64,
    /// Answers.
    pub answered: u64,
    /// Errors.
    pub errors: u64,
    /// Response times.
    pub response_us: Quantiles,
}

/// How far a trial is, for somebody who waits for it.
#[derive(Debug, Clone, PartialEq)]
pub enum Progress {
    /// One more second of the measured time is over.
    Second(Box<Second>),
    /// The drain is over. Requests that were due and never sent are being counted, each with its age; at a rate far
    /// beyond what can be sent that takes a while.
    Counting,
}

/// Who watches a trial from the main thread: costs, progress, an interrupt.
pub trait Observer {
    /// Called once for each phase, as soon as the thread wakes up for it.
    fn phase(&mut self, _phase: Phase) {}
    /// Called after each second of the measured time, and if it takes long to count the requests that were never
    /// sent.
    fn progress(&mut self, _progress: Progress) {}
    /// Called a few times a second; `true` ends the trial early.
    fn cancelled(&mut self) -> bool {
        false
    }
    /// Whether what was measured until then is kept.
    fn keeps_a_part(&self) -> bool {
        false
    }
}

/// The observer ended the trial.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

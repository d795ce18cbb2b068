//! The load itself: one event loop per generator thread.

use crate::recording::Recording;
use crate::workload::Workload;

/// The instants of a trial at which others take their readings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// All connections are open and the load begins (warm-up).
    Warmup,
    /// The measured time begins.
    Measuring,
    /// The measured time is over; the drain begins.
    Measured,
}

/// Who watches a trial from the main thread: costs, progress, an interrupt.
pub trait Observer {
    /// Called once for each phase, as close to its instant as the thread is woken.
    fn phase(&mut self, _phase: Phase) {}
    /// Called a few times a second; `true` ends the trial early.
    fn cancelled(&mut self) -> bool {
        false
    }
}

/// Runs one trial to its end.
pub fn run(_workload: &Workload, _observer: &mut dyn Observer) -> anyhow::Result<Recording> {
    anyhow::bail!("not built yet")
}

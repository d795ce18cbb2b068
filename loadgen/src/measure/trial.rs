//! One trial: the load, what is seen beside it, and the judgement of both.

use std::time::Duration;

use crate::engine::observer::{Observer, Phase, Progress};
use crate::engine::trial::run;
use crate::observe::observed::Observed;
use crate::observe::watch::Watch;
use crate::recording::record::{Measured, Recording};
use crate::results::trial::Trial;
use crate::verdict::judge::judge;
use crate::workload::load::Workload;

use super::interrupt::Interrupt;

/// If the measured time was cut short at once, it still counts as this long, so that the rate is a number.
const SHORTEST: Duration = Duration::from_millis(1);

/// Runs a trial while `watch` looks on; `tell` gets its progress. `keeps_a_part`: when the user ends it, what was
/// measured until then is its result.
///
/// # Errors
/// [`crate::engine::observer::Interrupted`] when the user ended it; otherwise what keeps it from being run at all.
pub fn measure(
    workload: &Workload,
    watch: Watch,
    interrupt: &mut Interrupt,
    keeps_a_part: bool,
    tell: &mut dyn FnMut(Progress),
) -> anyhow::Result<(Trial, Recording)> {
    let mut observer = Watching {
        watch,
        keeps_a_part,
        interrupt,
        tell,
    };
    let recording = run(workload, &mut observer)?;
    let seen = observer.watch.result(recording.counts.in_time);
    let Measured {
        begin,
        end,
        cut_short,
        ..
    } = recording.measured;
    let trial = if cut_short {
        let part = Workload {
            duration: end.saturating_sub(begin).max(SHORTEST),
            ..workload.clone()
        };
        judged(&part, &recording, &seen)
    } else {
        judged(workload, &recording, &seen)
    };
    Ok((trial, recording))
}

/// Sums up and judges a trial.
pub fn judged(workload: &Workload, recording: &Recording, observed: &Observed) -> Trial {
    let judgement = judge(workload, recording, observed);
    Trial::new(workload, recording, observed, judgement)
}

/// Passes on the phases and seconds, and asks whether the user wants to end.
struct Watching<'a> {
    watch: Watch<'a>,
    keeps_a_part: bool,
    interrupt: &'a mut Interrupt,
    tell: &'a mut dyn FnMut(Progress),
}

impl Observer for Watching<'_> {
    fn phase(&mut self, phase: Phase) {
        match phase {
            Phase::Open => self.watch.settle(&mut || self.interrupt.pending()),
            Phase::Warmup => self.watch.begin_load(),
            Phase::Measuring => self.watch.begin_measuring(),
            Phase::Measured => self.watch.end_measuring(),
        }
    }

    fn progress(&mut self, progress: Progress) {
        (self.tell)(progress);
    }

    fn cancelled(&mut self) -> bool {
        self.interrupt.pending()
    }

    fn keeps_a_part(&self) -> bool {
        self.keeps_a_part
    }
}

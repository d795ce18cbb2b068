//! The bench: every server of a line-up under every load of a profile. The servers take turns, and each trial has a
//! fresh process. A trial is on disk as soon as it ends, so an interrupted bench can go on.
//!
//! *In:* a profile, and what else was asked. *Out:* a run's directory with its report. *Must not know:* flags and
//! exit codes, and how a trial is measured.

pub(crate) mod attempt;
mod pauses;
pub(crate) mod plan;
mod progress;
mod rounds;

use plan::Start;
use rounds::{Bench, Done};

use crate::measure::interrupt::Interrupt;
use crate::report::style::Style;
use crate::report::summary::Summary;
use crate::report::{files, in_short};
use crate::results::directory::RunDir;
use crate::results::run::Run;

/// How a bench ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// All results are VALID.
    Valid,
    /// A server answered wrongly or not at all, did not start, or died.
    Failed,
    /// A result stayed INVALID.
    Invalid,
    /// All results are VALID, and a server missed a goal.
    Missed,
    /// The user ended it; what finished is kept.
    Interrupted,
}

/// Runs the trials of a bench and prints no tables. `None`: the user interrupted it.
///
/// # Errors
/// When the results cannot be written.
pub(crate) fn measure(
    start: &Start,
    interrupt: &mut Interrupt,
) -> anyhow::Result<Option<(RunDir, Run)>> {
    let (directory, run) = start.open()?;
    let done = Bench::new(&directory, &run, interrupt)?
        .without_tables()
        .run()?;
    Ok((done == Done::Everything).then_some((directory, run)))
}

/// Runs a bench to its end, or until it is interrupted, and writes its report.
///
/// # Errors
/// When the results cannot be written, or read back.
pub fn run(start: &Start) -> anyhow::Result<Ended> {
    // This comes first: threads that start later inherit the blocked signals.
    let mut interrupt = Interrupt::new()?;
    let (directory, run) = start.open()?;
    let end = Bench::new(&directory, &run, &mut interrupt)?.run();

    let summary = Summary::read(&directory, &run)?;
    let written = files::write(&directory, &summary);
    let path = directory.path().display();
    // If both fail, the error of the bench is returned.
    let end = end?;
    written?;
    let style = Style::of_stdout();
    if end == Done::Interrupted {
        style.print(&format!(
            "Interrupted; what finished is in {path}. Go on with: loadgen bench --resume {path}\n"
        ))?;
        return Ok(Ended::Interrupted);
    }
    style.print(&format!(
        "{}\n\nReport: {path}/report.html (for a browser), with summary.md and summary.csv beside it\n",
        in_short::lines(&summary).join("\n"),
    ))?;
    Ok(if summary.any_failed() {
        Ended::Failed
    } else if summary.any_invalid() {
        Ended::Invalid
    } else if summary.any_missed() {
        Ended::Missed
    } else {
        Ended::Valid
    })
}

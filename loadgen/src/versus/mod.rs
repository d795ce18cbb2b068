//! Two servers in turns, A B B A, each trial with a fresh process, until the ratio of their figures is known closely
//! enough or the time is over.
//!
//! Two runs an hour apart may differ because the machine changed. Trials that take turns meet the same changes, so
//! they differ because the servers do.
//!
//! *In:* two commands, a load, and how closely the ratio is to be known. *Out:* an [`answer::Answer`], and a run's
//! directory with the rows `a` and `b`. *Must not know:* flags and exit codes, and how a trial is measured.

pub(crate) mod answer;
mod contest;
pub(crate) mod figure;
pub(crate) mod plan;
mod standing;
mod text;

use anyhow::bail;

use answer::{Ended, Outcome};
use contest::Contest;
use plan::Plan;

use crate::measure::interrupt::Interrupt;
use crate::report::files;
use crate::report::style::Style;
use crate::report::summary::Summary;
use crate::results::directory::RunDir;

/// Measures both, and prints the result.
///
/// # Errors
/// When a server fails, or the results cannot be written.
pub fn run(plan: &Plan) -> anyhow::Result<Outcome> {
    // This comes first: threads that start later inherit the blocked signals.
    let mut interrupt = Interrupt::new()?;
    let opened = plan.open()?;
    let style = Style::of_stdout();
    if !plan.json {
        style.print(&text::head(&opened.run, plan))?;
    }
    let answer = Contest::new(plan, &opened, &mut interrupt)?.run()?;
    if let Some(directory) = &opened.directory {
        // The trials have changed `run.json`.
        let (directory, run) = RunDir::open(directory.path())?;
        files::write(&directory, &Summary::read(&directory, &run)?)?;
    }
    if plan.json {
        Style::Plain.print(&serde_json::to_string_pretty(&answer)?)?;
    } else {
        style.print(&text::render(&answer, style))?;
    }
    if let Ended::Failed { side, reason } = &answer.ended {
        bail!("{side} failed: {reason}");
    }
    Ok(answer.outcome())
}

//! The files of a report, beside the trials that they are made from.

use std::path::Path;

use anyhow::ensure;

use super::style::Style;
use super::summary::Summary;
use super::{csv, page, text, trial_table};
use crate::console;
use crate::results::directory::{PointDir, RunDir};
use crate::results::trial::Trial;
use crate::verdict::cause::Verdict;
use crate::workload::percentile::Percentile;

/// Writes `summary.csv`, `summary.md` and `report.html`.
///
/// # Errors
/// When an interval log cannot be read, or the directory cannot be written.
pub fn write(directory: &RunDir, summary: &Summary) -> anyhow::Result<()> {
    directory.write("summary.csv", &csv::render(summary)?)?;
    directory.write("summary.md", &text::markdown(summary))?;
    directory.write("report.html", &page::render(directory, summary)?)
}

/// Prints the trials that `loadgen run` wrote to this directory. Returns whether one is FAILED; `None`: it holds none.
///
/// # Errors
/// When a trial cannot be read.
pub fn trials(directory: &Path, percentiles: &[Percentile]) -> anyhow::Result<Option<bool>> {
    let trials = PointDir::of_run(directory).trials()?;
    if trials.is_empty() {
        return Ok(None);
    }
    let style = Style::of_stdout();
    let several = trials.len() > 1;
    for (number, trial) in &trials {
        let heading = if several {
            format!("trial {number}\n")
        } else {
            String::new()
        };
        let table = trial_table::render(trial, percentiles, style);
        style.print(&format!("{heading}{table}\n"))?;
    }
    let failed = |trial: &Trial| trial.verdict == Verdict::Failed;
    Ok(Some(trials.iter().any(|(_, trial)| failed(trial))))
}

/// Prints the tables of the run in this directory and writes its files anew, with these percentiles; with none, those
/// that the run was asked for. Returns what it read.
///
/// # Errors
/// When the directory holds no run or no trials, or cannot be written.
pub fn again(directory: &Path, percentiles: &[Percentile]) -> anyhow::Result<Summary> {
    let (directory, mut run) = RunDir::open(directory)?;
    if !percentiles.is_empty() {
        run.settings.percentiles = percentiles.to_vec();
    }
    let summary = Summary::read(&directory, &run)?;
    ensure!(
        !summary.sections.is_empty(),
        "{} holds no trials to make a report from: its files are left as they are",
        directory.path().display()
    );
    let style = Style::of_stdout();
    style.print(&format!(
        "{}\n{}\n\n{}",
        text::head_text(&run, &summary.servers),
        text::legend(style),
        text::tables(&summary, style),
    ))?;
    write(&directory, &summary)?;
    console::say(&format!(
        "written: report.html, summary.md and summary.csv in {}",
        directory.path().display()
    ));
    Ok(summary)
}

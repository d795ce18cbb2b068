//! The files of a report, beside the trials that they are made from.

use std::path::Path;

use anyhow::ensure;

use super::style::Style;
use super::summary::Summary;
use super::{csv, page, text};
use crate::console;
use crate::results::directory::RunDir;
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
        "{} holds no trials, from which a report is made: the files that are there stay as they are",
        directory.path().display()
    );
    let style = Style::of_stdout();
    style.print(&format!(
        "{}\n{}\n{}\n",
        text::head_text(&run, &summary.servers),
        text::tables(&summary, style),
        text::legend(style),
    ))?;
    write(&directory, &summary)?;
    console::say(&format!(
        "written: report.html, summary.md and summary.csv in {}",
        directory.path().display()
    ));
    Ok(summary)
}

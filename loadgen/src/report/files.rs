//! `loadgen report`: the tables of a run, made again from what is on disk.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::report::page;
use crate::report::summary::{Summary, head_text};
use crate::report::table::{Style, legend};
use crate::results::directory::RunDir;

/// The orders of `loadgen report`: prints the tables and writes report.html, summary.md and summary.csv anew.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  loadgen report results/latest
  loadgen report results/latest | less")]
pub struct ReportArgs {
    /// A directory that a bench wrote, such as results/latest
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

impl ReportArgs {
    /// Prints the tables and writes `summary.csv`, `summary.md` and `report.html` anew.
    ///
    /// # Errors
    /// When the directory holds no run, or cannot be written.
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        let (directory, run) = RunDir::open(&self.directory)?;
        let summary = Summary::read(&directory, &run)?;
        let style = Style::of_stdout();
        style.print(&format!(
            "{}\n{}\n{}\n",
            head_text(&run, &summary.servers),
            summary.to_text(style),
            legend(style),
        ))?;
        write(&directory, &summary)?;
        eprintln!(
            "written: report.html, summary.md and summary.csv in {}",
            directory.path().display()
        );
        Ok(ExitCode::SUCCESS)
    }
}

/// Writes `summary.csv`, `summary.md` and `report.html`.
///
/// # Errors
/// When an interval log cannot be read, or the directory cannot be written.
pub fn write(directory: &RunDir, summary: &Summary) -> anyhow::Result<()> {
    directory.write("summary.csv", &summary.to_csv()?)?;
    directory.write("summary.md", &summary.to_markdown())?;
    directory.write("report.html", &page::render(directory, summary)?)
}

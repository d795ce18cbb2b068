//! `loadgen report`: the tables of a run, made again from what is on disk.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::report::files;

/// The flags of `loadgen report`: prints the tables and writes report.html, summary.md and summary.csv anew.
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
    /// Those of [`files::again`].
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        files::again(&self.directory)?;
        Ok(ExitCode::SUCCESS)
    }
}

//! `loadgen merge`: adds up interval logs.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::recording::merge::merge_files;
use crate::report::merged;
use crate::report::style::Style;

/// The flags of `loadgen merge`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  loadgen merge results/latest/ping/epoll/*/trial-*.hlog --out all.hlog
  loadgen merge host-1.hlog host-2.hlog --out both.hlog    both ran at once")]
pub struct MergeArgs {
    /// Interval logs, such as trial-1.hlog
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Where the merged log is written
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
}

impl MergeArgs {
    /// Writes the merged log and shows its percentiles.
    ///
    /// # Errors
    /// Those of [`merge_files`].
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        let totals = merge_files(&self.files, &self.out)?;
        Style::Plain.print(&merged::render(&totals))?;
        Ok(ExitCode::SUCCESS)
    }
}

//! `loadgen report`: the tables of a run, made again from what is on disk.

use std::path::PathBuf;
use std::process::ExitCode;

use super::values::{Percentiles, parse_percentiles};
use crate::answers;
use crate::report::files;

/// The flags of `loadgen report`: prints the tables and writes report.html, summary.md and summary.csv anew.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  loadgen report                                      results/latest
  loadgen report results/latest --percentiles 50,95,99.9 | less
  loadgen report results/answers                      the verdicts of `loadgen answers`, and their page

Exit codes: 0 done, 1 a server FAILED in the run or the report cannot be made, 2 bad usage.")]
pub struct ReportArgs {
    /// A directory that `loadgen bench`, `run` or `answers` wrote
    #[arg(value_name = "DIR", default_value = "results/latest")]
    directory: PathBuf,
    /// The percentiles of the tables, such as 50,95,99.9 [default: those of the bench]
    #[arg(long, value_name = "LIST", value_parser = parse_percentiles)]
    percentiles: Option<Percentiles>,
}

impl ReportArgs {
    /// Prints the tables; of a bench it also writes `summary.csv`, `summary.md` and `report.html` anew.
    ///
    /// # Errors
    /// Those of [`files::trials`] and [`files::again`].
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        if answers::is_of_answers(&self.directory) {
            answers::report(&self.directory)?;
            return Ok(ExitCode::SUCCESS);
        }
        let of_run = match &self.percentiles {
            Some(list) => &list.0,
            None => &Percentiles::of_run().0,
        };
        if let Some(failed) = files::trials(&self.directory, of_run)? {
            return Ok(ExitCode::from(u8::from(failed)));
        }
        let percentiles = self.percentiles.as_ref().map_or(&[][..], |list| &list.0);
        let summary = files::again(&self.directory, percentiles)?;
        Ok(ExitCode::from(u8::from(summary.any_failed())))
    }
}

//! `loadgen merge`: the results of several generators become one, or interval logs do.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::{EXIT_MISSED, Usage, overwriting};
use crate::observe::clock_offset::HostClock;
use crate::recording::merge::merge_files;
use crate::report::merged;
use crate::report::style::Style;
use crate::results::clocks::Clocks;
use crate::shards::merge::{Options, merge};

/// The flags of `loadgen merge`.
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
#[derive(Debug, Args)]
#[command(after_help = "\
Directories of `loadgen run --shard` become one run, as if one generator had done it all: VALID only if all shards are. \
Refused: a missing shard, \
shards that measured together for less than 99 % of the time, a clock that may be off by more than 1 % of that time, and \
different versions of loadgen. An --allow flag merges them all the same, and the result says so. Shards of different \
loads, and a shard that is given twice, are always refused.

Examples:
  loadgen merge results-h1 results-h2 results-h3 --out whole    with shard-1-of-3/ to shard-3-of-3/ in them
  loadgen merge results --out whole --allow-missing
  loadgen merge results --clocks clocks.json --out whole    clocks.json: from loadgen clock
  loadgen merge results/latest/ping/epoll/*/trial-*.hlog --out all.hlog
  loadgen merge host-1.hlog host-2.hlog --out both.hlog    both ran at once

Exit codes: 0 merged, whatever the verdict is, 1 refused, 2 bad usage, 4 merged, and the load missed its --goal.")]
pub struct MergeArgs {
    /// Directories of shards, or interval logs such as trial-1.hlog
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,

    /// Where the merged run is written, a directory, or the merged log, a file
    #[arg(short, long, value_name = "PATH")]
    out: PathBuf,

    /// A file that `loadgen clock` wrote; may be given several times
    #[arg(long, value_name = "FILE")]
    clocks: Vec<PathBuf>,

    /// Leave out shards that are missing or damaged; the result is INVALID
    #[arg(long)]
    allow_missing: bool,

    /// Merge shards that did not measure at the same time
    #[arg(long)]
    allow_windows: bool,

    /// Merge shards whose clocks differ, or whose difference is not known
    #[arg(long)]
    allow_clocks: bool,

    /// Merge shards of different versions of loadgen
    #[arg(long)]
    allow_versions: bool,
}

impl MergeArgs {
    /// Writes the merged run and shows it, or the merged log and its percentiles.
    ///
    /// # Errors
    /// Those of [`merge`] and of [`merge_files`]; [`Usage`] when files and directories are mixed, or a log would be
    /// written over itself.
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        let directories = self.paths.iter().filter(|path| path.is_dir()).count();
        if directories == self.paths.len() {
            let met = merge(&Options {
                directories: self.paths.clone(),
                out: self.out.clone(),
                missing: self.allow_missing,
                windows: self.allow_windows,
                clocks: self.allow_clocks,
                versions: self.allow_versions,
                hosts: self.hosts()?,
            })?;
            return Ok(if met {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(EXIT_MISSED)
            });
        }
        if directories > 0 {
            return Err(Usage("merge either directories or interval logs".into()).into());
        }
        overwriting::refuse("--out", &self.out, self.paths.iter().map(PathBuf::as_path))?;
        let totals = merge_files(&self.paths, &self.out)?;
        Style::Plain.print(&merged::render(&totals))?;
        Ok(ExitCode::SUCCESS)
    }

    /// What was found of the hosts' clocks; `None`: no `--clocks`.
    fn hosts(&self) -> anyhow::Result<Option<Vec<HostClock>>> {
        if self.clocks.is_empty() {
            return Ok(None);
        }
        let clocks = self.clocks.iter().map(|file| Clocks::read(file));
        let clocks = clocks.collect::<Result<_, _>>()?;
        Clocks::together(clocks).map(Some)
    }
}

//! `loadgen run`: loads one server, prints its table, writes its histograms.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

use clap::Args;

use super::load::LoadArgs;
use super::values::{at_least_one, parse_instant, parse_rate, parse_shard};
use super::{EXIT_INTERRUPTED, EXIT_INVALID, Usage};
use crate::measure::run::{self, Ended, Options, Place};
use crate::workload::load::{Arrivals, Load, Shard, Workload};

/// The flags of `loadgen run`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  loadgen run 127.0.0.1:7000                          100 busy connections
  loadgen run 127.0.0.1:7000 -r 20000 -c 50 -d 10s    open loop, 20,000 a second
  loadgen run localhost:8080 --mode http --path /index.html
  loadgen run unix:/run/echo.sock --server-pid 4711 --json --no-save

Exit codes: 0 done, 1 no answer at all, 2 bad usage, 3 a trial was INVALID, 130 interrupted.")]
pub struct RunArgs {
    /// Requests a second (open loop); without it each client waits for its answer before it sends again (closed loop)
    #[arg(short, long, value_name = "R", value_parser = parse_rate)]
    rate: Option<f64>,

    /// How the open loop spaces its requests
    #[arg(long, value_name = "HOW", default_value = "poisson", requires = "rate")]
    arrivals: Arrivals,

    /// Trials, one after the other
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = at_least_one)]
    trials: usize,

    /// Spin for the last 200 us before a request is due, instead of sleeping
    #[arg(long, requires = "rate")]
    spin: bool,

    /// Print a JSON object for each trial instead of a table
    #[arg(long)]
    json: bool,

    /// Where the results are written [default: results/<UTC time>]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Write no results
    #[arg(long, conflicts_with = "out")]
    no_save: bool,

    /// When the warm-up begins: RFC 3339 or seconds since 1970, for generators that start together
    #[arg(long, value_name = "TIME", value_parser = parse_instant)]
    start_at: Option<SystemTime>,

    /// This generator's part of a load that N generators share: 1/N to N/N
    #[arg(long, value_name = "I/N", default_value = "1/1", value_parser = parse_shard)]
    shard: Shard,

    #[command(flatten)]
    load: LoadArgs,
}

impl RunArgs {
    /// Runs the trials.
    ///
    /// # Errors
    /// [`Usage`] when the flags do not fit together, and those of [`run::run`].
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        let options = Options {
            workload: self.workload()?,
            trials: self.trials,
            conditions: self.load.conditions(),
            json: self.json,
            place: self.place()?,
        };
        Ok(match run::run(&options)? {
            Ended::Valid => ExitCode::SUCCESS,
            Ended::Invalid => ExitCode::from(EXIT_INVALID),
            Ended::Interrupted => ExitCode::from(EXIT_INTERRUPTED),
        })
    }

    fn workload(&self) -> Result<Workload, Usage> {
        if self.start_at.is_some() && self.trials > 1 {
            return Err(Usage("--start-at is the start of one trial".into()));
        }
        let load = match self.rate {
            None => Load::Closed,
            Some(rate) => Load::Open {
                rate,
                arrivals: self.arrivals,
            },
        };
        Ok(Workload {
            spin: self.spin,
            start_at: self.start_at,
            ..self.load.workload(load, self.shard)?
        })
    }

    fn place(&self) -> Result<Place, Usage> {
        match &self.out {
            _ if self.no_save => Ok(Place::Nowhere),
            None => Ok(Place::New),
            Some(dir) if dir.join("trial-1.json").exists() => Err(Usage(format!(
                "{} holds trials already: choose another --out",
                dir.display()
            ))),
            Some(dir) => Ok(Place::Directory(dir.clone())),
        }
    }
}

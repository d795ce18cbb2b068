//! `loadgen run`: loads one server, prints its table, writes its histograms.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use clap::Args;

use super::launcher::{self, Which, parse_shard};
use super::load::{GeneratorArgs, ServerArgs};
use super::values::{OF_RUN, Percentiles, parse_listener, parse_percentiles, parse_start};
use super::{EXIT_INTERRUPTED, EXIT_INVALID, EXIT_MISSED, Usage};
use crate::console;
use crate::live;
use crate::measure::run::{self, Ended, Options, Place};
use crate::measure::setup::Conditions;
use crate::results::directory::ensure_no_trials;
use crate::workload::flags::ask::AskArgs;
use crate::workload::flags::keys::WithKeys;
use crate::workload::flags::values::at_least_one;
use crate::workload::load::{Shard, Workload};

/// The flags of `loadgen run`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  loadgen run 127.0.0.1:7000                          100 busy connections
  loadgen run 127.0.0.1:7000 -r 20000 -c 50 -d 10s    open loop, 20,000 a second
  loadgen run 'http://localhost:8080/index.html?a=b'
  loadgen run http://localhost:8080/items -H 'Accept: text/html' --body '{}' --expect-status 201
  loadgen run http://localhost:8080 --requests targets.txt    lines such as: GET /a 3
  loadgen run https://localhost:8443/ --ca-file ca.pem
  loadgen run unix:/run/echo.sock --server-pid 4711 --json --no-save

Exit codes: 0 done, 1 a trial was FAILED (wrong answers, no answer), 2 bad usage, 3 a trial was INVALID, \
4 a --goal was missed, 130 interrupted. With --shard the exit code is 0 \
whatever was measured, because a launcher stops all shards when one exits with an error: the verdict is in the result.")]
pub struct RunArgs {
    /// Trials, one after the other
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = at_least_one)]
    trials: usize,

    /// The percentiles of the table: any of 50, 75, 90, 95, 99, 99.9 and 99.99
    #[arg(long, value_name = "LIST", default_value = OF_RUN, value_parser = parse_percentiles)]
    percentiles: Percentiles,

    /// Print a JSON object for each trial instead of a table
    #[arg(long)]
    json: bool,

    /// Print a JSON object each second while it runs, on standard error
    #[arg(long, value_name = "FORMAT")]
    live: Option<LiveFormat>,

    /// Write the objects of --live to FILE instead
    #[arg(long, value_name = "FILE", requires = "live")]
    live_to: Option<PathBuf>,

    /// Serve the figures of the last second for Prometheus, at /metrics; a port alone means 127.0.0.1
    #[arg(long, value_name = "ADDR", value_parser = parse_listener)]
    metrics: Option<SocketAddr>,

    /// Where the results are written [default: results/<UTC time>]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Write no results
    #[arg(long, conflicts_with = "out")]
    no_save: bool,

    /// When the warm-up begins, so that several generators start together: RFC 3339, seconds since 1970, or +10s
    /// (the next multiple of 10 s that is at least 10 s from now)
    #[arg(long, value_name = "TIME", value_parser = parse_start)]
    start_at: Option<SystemTime>,

    /// This generator's part of a load that N generators share: 1/N to N/N; auto or auto/N: from the environment
    /// that mpirun, srun, a Kubernetes job or GNU parallel has set
    #[arg(long, value_name = "I/N", value_parser = parse_shard)]
    shard: Option<Which>,

    #[command(flatten)]
    server: ServerArgs,

    #[command(flatten)]
    generator: GeneratorArgs,

    #[command(flatten)]
    ask: WithKeys<AskArgs>,
}

/// The formats of `--live`.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum LiveFormat {
    /// JSON
    Json,
}

impl RunArgs {
    /// Runs the trials.
    ///
    /// # Errors
    /// [`Usage`] when the flags do not fit together, and those of [`run::run`].
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        let shard = self.shard()?;
        let is_shard = shard.is_some();
        let options = Options {
            workload: self.workload(shard)?,
            keys: self.ask.keys.clone(),
            trials: self.trials,
            conditions: Conditions {
                keeps_a_part: is_shard,
                ..self.server.conditions()
            },
            goals: self.ask.flags.goals.clone(),
            percentiles: self.percentiles.0.clone(),
            json: self.json,
            live: self.live(),
            is_shard,
            place: self.place(shard)?,
        };
        if let (Some(at), true) = (self.start_at, is_shard) {
            let at = humantime::format_rfc3339_millis(at);
            console::say(&format!("loadgen: begins at {at}"));
        }
        let ended = run::run(&options)?;
        if is_shard && ended != Ended::Interrupted {
            // A launcher kills all shards when one of them exits with an error.
            return Ok(ExitCode::SUCCESS);
        }
        Ok(match ended {
            Ended::Valid => ExitCode::SUCCESS,
            Ended::Failed => ExitCode::FAILURE,
            Ended::Missed => ExitCode::from(EXIT_MISSED),
            Ended::Invalid => ExitCode::from(EXIT_INVALID),
            Ended::Interrupted => ExitCode::from(EXIT_INTERRUPTED),
        })
    }

    fn workload(&self, shard: Option<Shard>) -> Result<Workload, Usage> {
        if shard.is_some() && self.trials > 1 {
            return Err(Usage(
                "--shard: a shard has one trial: leave out --trials, and start all shards again for each further trial".into(),
            ));
        }
        if self.start_at.is_some() && self.trials > 1 {
            return Err(Usage(
                "--start-at is the start of one trial: leave out --trials".into(),
            ));
        }
        if let Some(at) = self.start_at
            && shard.is_none()
            && at < SystemTime::now()
        {
            return Err(Usage(
                "--start-at: the time has passed already: give a later one".into(),
            ));
        }
        let shard = shard.unwrap_or_default();
        let files = &|path: &Path| fs::read(path);
        let load = self
            .ask
            .flags
            .workload(&self.server.address, shard, files)?;
        Ok(Workload {
            start_at: self.start_at,
            ..self.generator.with(load)?
        })
    }

    /// Which shard this is; `None`: it is alone.
    fn shard(&self) -> Result<Option<Shard>, Usage> {
        let shard = match self.shard {
            None => return Ok(None),
            Some(Which::One(shard)) => shard,
            Some(Which::Auto(of)) => {
                let variable = |name: &str| std::env::var(name).ok();
                let (shard, how) = launcher::found(of, &variable)?;
                console::say(&format!("loadgen: shard {shard} ({how})"));
                shard
            }
        };
        Ok(Some(shard))
    }

    fn live(&self) -> live::Options {
        live::Options {
            json: self.live.map(|LiveFormat::Json| match &self.live_to {
                Some(file) => live::Place::File(file.clone()),
                None => live::Place::Stderr,
            }),
            metrics: self.metrics,
        }
    }

    fn place(&self, shard: Option<Shard>) -> Result<Place, Usage> {
        match &self.out {
            _ if self.no_save => Ok(Place::Nowhere),
            None => Ok(Place::New),
            Some(dir) => {
                let own = shard.map_or(dir.clone(), |shard| dir.join(shard.directory()));
                ensure_no_trials(&own).map_err(|error| Usage(error.to_string()))?;
                Ok(Place::Directory(dir.clone()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::flags::keys::is_key;

    /// Flags that say how and where to measure, and where the results go. They are no keys of a scenario: a bench
    /// has its own.
    const NOT_OF_THE_LOAD: [&str; 15] = [
        "cpu",
        "json",
        "keep-awake",
        "live",
        "live-to",
        "metrics",
        "no-save",
        "out",
        "percentiles",
        "seed",
        "server-pid",
        "shard",
        "start-at",
        "threads",
        "trials",
    ];

    #[test]
    fn every_flag_of_a_load_is_a_key_of_a_scenario() {
        let command = RunArgs::augment_args(clap::Command::new("run"));
        for flag in command.get_arguments().filter_map(clap::Arg::get_long) {
            assert_ne!(
                is_key(&flag.replace('-', "_")),
                NOT_OF_THE_LOAD.contains(&flag),
                "--{flag}"
            );
        }
    }
}

//! `loadgen run`: loads one server, prints its table, writes its histograms.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

use clap::{ArgGroup, Args};

use super::launcher::{self, Which, parse_shard};
use super::load::{LoadArgs, ServerArgs};
use super::values::{
    Percentiles, at_least_one, parse_listener, parse_percentiles, parse_rate, parse_start,
};
use super::{EXIT_INTERRUPTED, EXIT_INVALID, EXIT_MISSED, Usage};
use crate::console;
use crate::live;
use crate::measure::run::{self, Ended, Options, Place};
use crate::measure::setup::Conditions;
use crate::results::directory::ensure_no_trials;
use crate::workload::course::{Course, parse_stages, read_recording};
use crate::workload::load::{Arrivals, Load, Shard, Workload};
use crate::workload::requirement::Requirement;

/// The flags of `loadgen run`.
#[derive(Debug, Args)]
#[group(skip)]
#[command(group = ArgGroup::new("open").args(["rate", "stages", "replay"]))]
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
4 a --goal was missed, 130 interrupted. With --shard \
0 whatever was measured: the verdict is in the result, and a launcher lets the other shards go on.")]
pub struct RunArgs {
    /// Requests a second (open loop); without it each client waits for its answer before it sends again (closed loop)
    #[arg(short, long, short_alias = 'R', value_name = "R", value_parser = parse_rate)]
    rate: Option<f64>,

    /// A rate that changes (open loop): RATE/TIME or FROM-TO/TIME, separated by commas, such as 0-2000/30s,2000/1m.
    /// The warm-up has the first rate; the stages are the measured time
    #[arg(long, value_name = "STAGES", value_parser = parse_stages, conflicts_with_all = ["rate", "duration"])]
    stages: Option<Course>,

    /// Arrivals as they were recorded (open loop): a file with the time of each in seconds, one a line
    #[arg(long, value_name = "FILE", conflicts_with_all = ["rate", "duration", "stages", "arrivals"])]
    replay: Option<PathBuf>,

    /// How many times as fast as they were recorded
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, requires = "replay", value_parser = parse_rate)]
    speed: f64,

    /// How the open loop spaces its requests
    #[arg(long, value_name = "HOW", default_value = "poisson", requires = "open")]
    arrivals: Arrivals,

    /// What each trial must meet, such as p99<5ms, p99.9<=20ms or failed<0.1%; may be repeated. Exit code 4 if one misses
    #[arg(long = "goal", value_name = "GOAL")]
    goals: Vec<Requirement>,

    /// Trials, one after the other
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = at_least_one)]
    trials: usize,

    /// Spin for the last 200 us before a request is due, instead of sleeping
    #[arg(long, requires = "open")]
    spin: bool,

    /// The percentiles of the table: of 50, 75, 90, 95, 99, 99.9 and 99.99
    #[arg(long, value_name = "LIST", default_value = "50,75,90,99,99.9,99.99", value_parser = parse_percentiles)]
    percentiles: Percentiles,

    /// Print a JSON object for each trial instead of a table
    #[arg(long)]
    json: bool,

    /// While it runs, print a JSON object a second on standard error
    #[arg(long, value_name = "FORMAT")]
    live: Option<LiveFormat>,

    /// Write that to a file instead, apart from messages
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

    /// When the warm-up begins, for generators that start together: RFC 3339 or seconds since 1970; +10s: at least 10 s
    /// from now, at the next multiple of 10 s
    #[arg(long, value_name = "TIME", value_parser = parse_start)]
    start_at: Option<SystemTime>,

    /// This generator's part of a load that N generators share: 1/N to N/N; auto or auto/N: as mpirun, srun, a
    /// Kubernetes job or GNU parallel has set the environment
    #[arg(long, value_name = "I/N", value_parser = parse_shard)]
    shard: Option<Which>,

    #[command(flatten)]
    server: ServerArgs,

    #[command(flatten)]
    load: LoadArgs,
}

/// How it is told what happens.
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
            trials: self.trials,
            conditions: Conditions {
                keeps_a_part: is_shard,
                ..self.server.conditions()
            },
            goals: self.goals.clone(),
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
            // A launcher kills the others when one of them fails.
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
        if self.start_at.is_some() && self.trials > 1 {
            return Err(Usage("--start-at is the start of one trial".into()));
        }
        if let Some(at) = self.start_at
            && shard.is_none()
            && at < SystemTime::now()
        {
            return Err(Usage("--start-at: the time has passed already".into()));
        }
        let course = self.course()?;
        let duration = course.length().unwrap_or(self.load.duration);
        let rate = match &course {
            Course::Steady => self.rate,
            course => Some(course.requests() / duration.as_secs_f64()),
        };
        let load = match rate {
            None => Load::Closed,
            Some(rate) => Load::Open {
                rate,
                arrivals: self.arrivals,
            },
        };
        Ok(Workload {
            course,
            duration,
            spin: self.spin,
            start_at: self.start_at,
            ..self
                .load
                .workload(&self.server.address, load, shard.unwrap_or_default())?
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

    fn course(&self) -> Result<Course, Usage> {
        if let Some(stages) = &self.stages {
            return Ok(stages.clone());
        }
        let Some(file) = &self.replay else {
            return Ok(Course::Steady);
        };
        read_recording(file, self.speed)
            .map(Course::Recorded)
            .map_err(|error| Usage(format!("--replay: {error:#}")))
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

//! `loadgen search`: the highest open-loop rate that meets a goal such as `p99<1ms`.

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::str::FromStr;

use clap::Args;

use super::load::{GeneratorArgs, ServerArgs};
use super::values::parse_percent;
use super::{EXIT_INTERRUPTED, EXIT_INVALID};
use crate::measure::search::{Ended, Options};
use crate::workload::flags::load::LoadArgs;
use crate::workload::flags::values::parse_rate;
use crate::workload::goal::Goal;
use crate::workload::load::{Arrivals, Load, Shard, Workload};

/// The flags of `loadgen search`.
#[derive(Debug, Args)]
#[command(after_help = "\
A rate meets the goal if the server reached it (it answered 99 % of the requests that became due in time) and \
the response time is below the limit; a failed request counts as slower than any answer. The response time begins when a request is due. Two trials must agree; \
one with wrong answers misses the goal. If no rate meets the goal, that is an answer too, not an error.

Examples:
  loadgen search 127.0.0.1:7000 --goal 'p99<1ms'
  loadgen search 127.0.0.1:7000 --goal 'p99.9<20ms' -c 1000 -d 2s --precision 2%
  loadgen search localhost:8080 --mode http --path / --goal 'p50<500us'

Exit codes: 0 there is an answer, 1 the server cannot be reached or answered wrongly, 2 bad usage, \
3 it could not be measured, 130 interrupted.")]
pub struct SearchArgs {
    /// The limit of the response time: p50, p75, p90, p95, p99, p99.9, p99.99, max or mean, then < and a time
    #[arg(long, value_name = "GOAL", value_parser = Goal::from_str)]
    goal: Goal,

    /// The rate of the first trial, requests a second: the search goes up or down from there
    #[arg(long, value_name = "R", default_value = "1000", value_parser = parse_rate)]
    from: f64,

    /// Stop when the highest rate that meets the goal and the lowest that misses it are this close
    #[arg(long, value_name = "PERCENT", default_value = "5%", value_parser = parse_percent)]
    precision: f64,

    /// How requests are spaced
    #[arg(long, value_name = "HOW", default_value = "poisson")]
    arrivals: Arrivals,

    /// Spin for the last 200 us before a request is due, instead of sleeping
    #[arg(long)]
    spin: bool,

    /// Print a JSON object with all steps when it is done
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    server: ServerArgs,

    #[command(flatten)]
    generator: GeneratorArgs,

    #[command(flatten)]
    load: LoadArgs,
}

impl SearchArgs {
    /// Searches, and shows each trial in a line and the answer in the last.
    ///
    /// # Errors
    /// [`super::Usage`] when the flags do not fit together, and those of [`Options::run`].
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        let load = Load::Open {
            rate: self.from,
            arrivals: self.arrivals,
        };
        let files = &|path: &Path| fs::read(path);
        let server = &self.server.address;
        let load = self.load.workload(server, load, Shard::default(), files)?;
        let options = Options {
            workload: Workload {
                spin: self.spin,
                ..self.generator.with(load)?
            },
            conditions: self.server.conditions(),
            goal: self.goal,
            from: self.from,
            arrivals: self.arrivals,
            precision: self.precision,
            json: self.json,
        };
        Ok(match options.run()? {
            Ended::Answered | Ended::Unread => ExitCode::SUCCESS,
            Ended::Failed => ExitCode::FAILURE,
            Ended::Invalid => ExitCode::from(EXIT_INVALID),
            Ended::Interrupted => ExitCode::from(EXIT_INTERRUPTED),
        })
    }
}

//! `loadgen versus`: two servers in turns.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::load::GeneratorArgs;
use super::values::{CpuList, parse_cpus, parse_percent};
use super::{EXIT_INTERRUPTED, EXIT_INVALID, Usage};
use crate::bench::plan::share_cores;
use crate::measure::run::Place;
use crate::observe::cores::allowed_cpus;
use crate::versus::answer::Outcome;
use crate::versus::figure::Figure;
use crate::versus::plan::Plan;
use crate::versus::run;
use crate::workload::address::parse_address;
use crate::workload::flags::keys::WithKeys;
use crate::workload::flags::load::LoadArgs;
use crate::workload::flags::values::{parse_positive_duration, parse_rate};
use crate::workload::load::{Arrivals, Load, Shard, Workload};

/// The blocks that the budget must have room for.
const LEAST_BLOCKS: u32 = 3;

/// The flags of `loadgen versus`.
#[derive(Debug, Args)]
#[command(
    mut_arg("duration", |flag| flag.default_value("1s")),
    mut_arg("warmup", |flag| flag.default_value("200ms")),
    mut_arg("seed", |flag| flag.help("Seed of the schedules and the payloads")),
    mut_arg("cpu", |flag| flag.help(
        "Cores of the generator threads in turn, such as 1 or 0,2-3 [default: the first, for all of them]"
    )),
    after_help = "\
Each server is a command in quotes. {port} or {addr} in the command says where to listen; without them the first line that the server prints must be `listening on ADDR`. Trials go A B B A, each with a fresh process, until the interval of the ratio is narrow \
enough, or no further block of four trials ends within the budget.

B is worse when a figure (requests/s, p50, p99, CPU per request) is worse by the threshold or more and its interval \
excludes 1. All four intervals together hold at 99 %, although they are computed anew after each block.

Examples:
  loadgen versus './old --listen {addr}' './new --listen {addr}'
  loadgen versus -c 10 --within 1% --budget 10m -- 'main/epoll-server --listen {addr}' 'epoll-server --listen {addr}'
  loadgen versus --rate 20000 --mode http -- 'nginx-a -p {port}' 'nginx-b -p {port}'

Exit codes: 0 B is not shown to be worse, 1 B is worse by the threshold or a server failed, 2 bad usage, 3 it could \
not be measured, 130 interrupted."
)]
pub struct VersusArgs {
    /// The server to compare with: its command in quotes
    #[arg(value_name = "A")]
    a: String,

    /// The server that is judged: its command in quotes
    #[arg(value_name = "B")]
    b: String,

    /// Stop when the interval of the ratio reaches no further than this to either side
    #[arg(long, value_name = "PERCENT", default_value = "2%", value_parser = parse_percent)]
    within: f64,

    /// The figure whose ratio --within is about [default: rate, or p99 with --rate]
    #[arg(long, value_name = "FIGURE")]
    figure: Option<Figure>,

    /// The longest time that all trials together may take
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = parse_positive_duration)]
    budget: Duration,

    /// B is worse when a figure is worse by at least this much
    #[arg(long, value_name = "PERCENT", default_value = "3%", value_parser = parse_percent)]
    threshold: f64,

    /// Requests a second (open loop); without it each client waits for its answer before it sends again (closed loop)
    #[arg(short, long, value_name = "R", value_parser = parse_rate)]
    rate: Option<f64>,

    /// How the open loop spaces its requests
    #[arg(long, value_name = "HOW", default_value = "poisson", requires = "rate")]
    arrivals: Arrivals,

    /// Spin for the last 200 us before a request is due, instead of sleeping
    #[arg(long, requires = "rate")]
    spin: bool,

    /// Cores of the servers, such as 1 or 2-3 [default: all but the generator's]
    #[arg(long, value_name = "LIST", value_parser = parse_cpus)]
    server_cpus: Option<CpuList>,

    /// Let idle cores sleep: latencies then include the time to wake them
    #[arg(long)]
    no_keep_awake: bool,

    #[command(flatten)]
    output: OutputArgs,

    #[command(flatten)]
    generator: GeneratorArgs,

    #[command(flatten)]
    load: WithKeys<LoadArgs>,
}

/// What is printed, and where the results go.
#[derive(Debug, Args)]
struct OutputArgs {
    /// Print a JSON object when it is done
    #[arg(long)]
    json: bool,

    /// Where the results are written [default: results/<UTC time>]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Write no results
    #[arg(long, conflicts_with = "out")]
    no_save: bool,
}

impl VersusArgs {
    /// Measures both, and prints the result.
    ///
    /// # Errors
    /// [`Usage`] when the flags do not fit together, and those of [`crate::versus::run`].
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        let plan = self.plan()?;
        Ok(match run(&plan)? {
            Outcome::NotWorse => ExitCode::SUCCESS,
            Outcome::Worse => ExitCode::FAILURE,
            Outcome::NotMeasured => ExitCode::from(EXIT_INVALID),
            Outcome::Interrupted => ExitCode::from(EXIT_INTERRUPTED),
        })
    }

    /// The load as keys of a scenario.
    fn keys(&self) -> toml::Table {
        let mut keys = self.load.keys.clone();
        if let Some(rate) = self.rate {
            keys.insert("rate".to_owned(), rate.into());
            let arrivals = self.arrivals.to_possible_value();
            let arrivals = arrivals.map(|value| value.get_name().into());
            keys.extend(arrivals.map(|value: toml::Value| ("arrivals".to_owned(), value)));
        }
        if self.spin {
            keys.insert("spin".to_owned(), true.into());
        }
        keys
    }

    fn plan(&self) -> Result<Plan, Usage> {
        let load = match self.rate {
            None => Load::Closed,
            Some(rate) => Load::Open {
                rate,
                arrivals: self.arrivals,
            },
        };
        let decides = match load {
            Load::Closed => Figure::Rate,
            Load::Open { .. } => Figure::P99,
        };
        // Each server has a port of its own.
        let nowhere = parse_address("127.0.0.1:1").map_err(Usage)?;
        let files = &|path: &Path| fs::read(path);
        let load = self
            .load
            .flags
            .workload(&nowhere, load, Shard::default(), files)?;
        let workload = Workload {
            spin: self.spin,
            ..self.generator.with(load)?
        };
        let servers = self.server_cpus.clone().unwrap_or_default().0;
        let allowed = allowed_cpus();
        if let Some(unknown) = servers.iter().find(|cpu| !allowed.contains(cpu)) {
            return Err(Usage(format!(
                "--server-cpus: core {unknown} is not among those that may be used here: {allowed:?}"
            )));
        }
        let (cpus, server_cpus) = share_cores(&allowed, &workload.cpus, &servers);
        let commands = [self.a.clone(), self.b.clone()];
        let words = [words("A", &self.a)?, words("B", &self.b)?];
        let plan = Plan {
            commands,
            words,
            workload: Workload { cpus, ..workload },
            keys: self.keys(),
            server_cpus,
            keep_awake: !self.no_keep_awake,
            figure: self.figure.unwrap_or(decides),
            within: self.within,
            threshold: self.threshold,
            budget: self.budget,
            json: self.output.json,
            place: match &self.output.out {
                _ if self.output.no_save => Place::Nowhere,
                None => Place::New,
                Some(directory) => Place::Directory(directory.clone()),
            },
        };
        let least = LEAST_BLOCKS * plan.least_block();
        if plan.budget < least {
            return Err(Usage(format!(
                "--budget: must be at least {} for {LEAST_BLOCKS} blocks of four trials; a shorter --duration needs less",
                humantime::format_duration(least)
            )));
        }
        Ok(plan)
    }
}

/// The words of a command.
fn words(side: &str, command: &str) -> Result<Vec<String>, Usage> {
    match shlex::split(command) {
        None => Err(Usage(format!("{side}: a quote is not closed: {command}"))),
        Some(words) if words.is_empty() => Err(Usage(format!("{side}: the command is empty"))),
        Some(words) => Ok(words),
    }
}

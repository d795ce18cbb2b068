//! `loadgen bench`: every server of a line-up under every load of a profile.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use super::values::{Percentiles, parse_percentiles};
use super::{EXIT_INTERRUPTED, EXIT_INVALID, EXIT_MISSED, Usage};
use crate::bench::plan::{Plan, Start, share_cores};
use crate::bench::{Ended, run};
use crate::observe::cores::allowed_cpus;
use crate::results::run::Settings;
use crate::workload::flags::values::parse_positive_duration;
use crate::workload::profile::Profile;

/// The flags of `loadgen bench`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  loadgen bench                                    two minutes, a rough idea
  loadgen bench --profile standard                 several trials, with spread
  loadgen bench --servers epoll,poll --scenarios idle
  loadgen bench --scenario-file mine.toml --out results/mine
  loadgen bench --resume results/latest            goes on after an interruption

Exit codes: 0 done, 1 a server FAILED (wrong answers, no answer, did not start, died) or the bench could not be done, \
2 bad usage, 3 a result is INVALID and --strict was given, or no server can be started here, \
4 a server missed the goal of a scenario (not where the scenario varies its rate: it asks which rates meet the goal), \
130 interrupted.")]
pub struct BenchArgs {
    /// Which scenarios, how often and how long: quick, standard or full
    #[arg(long, value_name = "NAME", default_value = "quick", value_parser = ["quick", "standard", "full"])]
    profile: String,
    /// A profile of your own (TOML; the built-in ones are in loadgen/scenarios). The keys of a scenario are the flags of
    /// `loadgen run`, with _ for -
    #[arg(long, value_name = "FILE", conflicts_with = "profile")]
    scenario_file: Option<PathBuf>,
    /// Only these rows of the line-up, such as epoll,poll
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    servers: Vec<String>,
    /// Only these scenarios, such as ping,idle
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    scenarios: Vec<String>,
    /// Trials of each point, in place of the profile's number
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    trials: Option<u32>,
    /// The measured time of each trial, such as 5s, in place of the profile's; scenarios with stages keep theirs
    #[arg(long, value_name = "DURATION", value_parser = parse_positive_duration)]
    duration: Option<Duration>,
    /// The percentiles of the tables: any of 50, 75, 90, 95, 99, 99.9 and 99.99
    #[arg(long, value_name = "LIST", default_value = "50,90,99,99.9", value_parser = parse_percentiles)]
    percentiles: Percentiles,
    /// Seed of the order of the trials, their schedules and payloads
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Where the results go [default: results/<UTC time>]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Go on with the interrupted bench in DIR, with the flags that it was started with
    #[arg(long, value_name = "DIR", conflicts_with_all = [
        "profile", "scenario_file", "servers", "scenarios", "trials", "duration", "percentiles", "seed", "out",
        "servers_dir", "server_cpus", "generator_cpus", "no_keep_awake",
    ])]
    resume: Option<PathBuf>,
    /// Where to look for servers that are not beside loadgen
    #[arg(long, value_name = "DIR")]
    servers_dir: Option<PathBuf>,
    /// The cores of the servers, such as 1,2 [default: all but the generator's]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    server_cpus: Vec<usize>,
    /// The cores of the generator, a thread on each [default: the first]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    generator_cpus: Vec<usize>,
    /// Let idle cores sleep: latencies then include the time to wake them
    #[arg(long)]
    no_keep_awake: bool,
    /// Exit with 3 when a result stays INVALID
    #[arg(long)]
    strict: bool,
}

impl BenchArgs {
    /// Runs the bench to its end, or until it is interrupted.
    ///
    /// # Errors
    /// [`Usage`] when the flags contradict the profile or this machine, and those of [`crate::bench::run`].
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        let start = match &self.resume {
            Some(directory) => Start::Resume(directory.clone()),
            None => Start::New(Box::new(
                self.plan().map_err(|error| Usage(format!("{error:#}")))?,
            )),
        };
        Ok(match run(&start)? {
            Ended::Interrupted => ExitCode::from(EXIT_INTERRUPTED),
            Ended::Failed => ExitCode::FAILURE,
            Ended::Invalid if self.strict => ExitCode::from(EXIT_INVALID),
            Ended::Missed => ExitCode::from(EXIT_MISSED),
            Ended::Valid | Ended::Invalid => ExitCode::SUCCESS,
        })
    }

    fn plan(&self) -> anyhow::Result<Plan> {
        let mut profile = match &self.scenario_file {
            Some(path) => Profile::read(path),
            None => Profile::built_in(&self.profile),
        }?;
        // `--servers ""` asks for all, as `make bench` does with an unset variable.
        let named = |names: &[String]| -> Vec<String> {
            names
                .iter()
                .map(|name| name.trim().to_owned())
                .filter(|name| !name.is_empty())
                .collect()
        };
        let (servers, scenarios) = (named(&self.servers), named(&self.scenarios));
        profile.keep_servers(&servers)?;
        profile.keep_scenarios(&scenarios)?;
        let (generator_cpus, server_cpus) = divide(&self.generator_cpus, &self.server_cpus)?;
        let settings = Settings {
            servers,
            scenarios,
            trials: self.trials.map_or(profile.trials, |trials| trials as usize),
            duration_s: self.duration.map(|duration| duration.as_secs_f64()),
            percentiles: self.percentiles.0.clone(),
            seed: self.seed,
            keep_awake: !self.no_keep_awake,
            server_cpus,
            generator_cpus,
            merged: false,
            servers_dir: match &self.servers_dir {
                Some(path) => Some(std::path::absolute(path)?),
                None => None,
            },
        };
        Ok(Plan {
            profile,
            settings,
            out: self.out.clone(),
        })
    }
}

/// The cores of the generator and of the servers, from those that were asked for.
pub(super) fn divide(
    generator: &[usize],
    server: &[usize],
) -> Result<(Vec<usize>, Vec<usize>), Usage> {
    let allowed = allowed_cpus();
    for (flag, cpus) in [("generator-cpus", generator), ("server-cpus", server)] {
        if let Some(unknown) = cpus.iter().find(|cpu| !allowed.contains(cpu)) {
            return Err(Usage(format!(
                "--{flag}: core {unknown} is not among those that may be used here: {allowed:?}"
            )));
        }
    }
    Ok(share_cores(&allowed, generator, server))
}

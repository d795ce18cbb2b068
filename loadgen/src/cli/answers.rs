//! `loadgen answers`: published claims, each measured and judged by a rule that was written before the measuring.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::ensure;

use super::bench::divide;
use super::{EXIT_INTERRUPTED, Usage};
use crate::answers::file::Experiment;
use crate::answers::{Answers, run};
use crate::results::run::Settings;
use crate::workload::flags::values::parse_positive_duration;
use crate::workload::percentile::Percentile;

/// The flags of `loadgen answers`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  loadgen answers                                  all experiments, about half an hour
  loadgen answers --only idle,herd                 two of them
  loadgen answers --only idle --trials 3 --duration 200ms   a quick look
  loadgen answers --file mine.toml --out results/mine

A claim `holds here`, `does not hold here` or is `undecided`: all three are results, and the exit code is 0. Other exit \
codes: 1 it could not be done, 2 bad usage, 130 interrupted.")]
pub struct AnswersArgs {
    /// Only these experiments, such as idle,herd
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    only: Vec<String>,
    /// An experiment of your own: a scenario file with a table [answer] (the built-in ones are in
    /// loadgen/scenarios/answers)
    #[arg(long, value_name = "FILE", conflicts_with = "only")]
    file: Option<PathBuf>,
    /// Trials of each point, in place of those of the experiment
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    trials: Option<u32>,
    /// The measured time of each trial, such as 1s, in place of that of the experiment
    #[arg(long, value_name = "DURATION", value_parser = parse_positive_duration)]
    duration: Option<Duration>,
    /// Seed of the order of the trials, their schedules and payloads
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Where the results go, a directory for each experiment
    #[arg(long, value_name = "DIR", default_value = "results/answers")]
    out: PathBuf,
    /// Write a Markdown document of all results in --out to this file
    #[arg(long, value_name = "FILE")]
    docs: Option<PathBuf>,
    /// Measure nothing: judge again what is in --out, and write charts, page and document
    #[arg(long)]
    again: bool,
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
}

impl AnswersArgs {
    /// Measures, judges and writes.
    ///
    /// # Errors
    /// [`Usage`] when the flags contradict the experiments or this machine, and those of [`crate::answers::run`].
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        let answers = self
            .answers()
            .map_err(|error| Usage(format!("{error:#}")))?;
        Ok(if run(&answers)? {
            ExitCode::from(EXIT_INTERRUPTED)
        } else {
            ExitCode::SUCCESS
        })
    }

    fn answers(&self) -> anyhow::Result<Answers> {
        let experiments = match &self.file {
            Some(path) => vec![Experiment::read(path)?],
            None => Experiment::built_in()?,
        };
        let known: Vec<&str> = experiments.iter().map(|one| one.name.as_str()).collect();
        let only = self.only.iter().map(|name| name.trim());
        let only: Vec<&str> = only.filter(|name| !name.is_empty()).collect();
        for name in &only {
            ensure!(
                known.contains(name),
                "there is no experiment `{name}`; there are {}",
                known.join(", ")
            );
        }
        let measure = known
            .iter()
            .filter(|name| only.is_empty() || only.contains(name));
        let measure = measure
            .filter(|_| !self.again)
            .map(|name| (*name).to_owned());
        let measure = measure.collect();
        let (generator_cpus, server_cpus) = divide(&self.generator_cpus, &self.server_cpus)?;
        Ok(Answers {
            measure,
            trials: self.trials.map(|trials| trials as usize),
            settings: Settings {
                servers: Vec::new(),
                scenarios: Vec::new(),
                trials: 1,
                duration_s: self.duration.map(|duration| duration.as_secs_f64()),
                percentiles: Percentile::OF_A_BENCH.to_vec(),
                seed: self.seed,
                keep_awake: !self.no_keep_awake,
                server_cpus,
                generator_cpus,
                merged: false,
                servers_dir: match &self.servers_dir {
                    Some(path) => Some(std::path::absolute(path)?),
                    None => None,
                },
            },
            out: self.out.clone(),
            document: self.docs.clone(),
            experiments,
        })
    }
}

//! What an experiment measured: the figures of each trial, as `summary.jsonl` keeps them.
//!
//! Its first line says how it was measured; each further line has the trials of a server at a point. The name of the machine
//! and its paths are not in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};

use super::figure::Figure;
use super::file::Experiment;
use super::rule::Rule;
use crate::report::numbers::words;
use crate::report::text::conditions;
use crate::results::directory::RunDir;
use crate::results::run::Run;
use crate::results::trial::{SCHEMA_VERSION, Trial};
use crate::stats::bootstrap::LEAST_TRIALS;
use crate::verdict::cause::Verdict;
use crate::verdict::note;

/// The file's name.
pub const SUMMARY: &str = "summary.jsonl";

/// What an experiment measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// How.
    pub head: Head,
    /// The trials.
    pub cells: Vec<Cell>,
}

/// How it was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// The version of the format.
    pub schema_version: u32,
    /// The experiment.
    pub name: String,
    /// The digest of its loads and rules.
    pub fingerprint: String,
    /// When it began, UTC.
    pub started: String,
    /// The version of loadgen.
    pub loadgen: String,
    /// The processor, its cores, memory and kernel.
    pub machine: String,
    /// The cores of the machine.
    pub cores: usize,
    /// Which cores the server and the generator had, and whether they were kept awake.
    pub conditions: String,
    /// Trials of each server at each point.
    pub trials: usize,
    /// The measured time of a trial, seconds: the shortest and the longest.
    pub duration_s: (f64, f64),
    /// The seed.
    pub seed: u64,
}

/// A server at a point.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// The scenario.
    pub scenario: String,
    /// The row.
    pub server: String,
    /// The point.
    pub point: String,
    /// Requests a second that were due; null in a closed loop.
    pub offered_rate: Option<f64>,
    /// Why the trials say nothing: there are none, or the server failed in one.
    pub blocked: Option<String>,
    /// The causes of each trial that was INVALID and is left out.
    pub invalid: Vec<String>,
    /// The generator was the limit in a trial, so the rate is a lower bound.
    pub bound: bool,
    /// The trials that are not INVALID, by their number.
    pub trials: BTreeMap<usize, BTreeMap<Figure, f64>>,
}

impl Cell {
    /// The place in words.
    pub fn title(&self) -> String {
        format!("{} at {}", self.server, self.point)
    }

    /// The values of a figure, a trial each.
    pub fn values(&self, figure: Figure) -> Vec<f64> {
        let trials = self.trials.values();
        trials
            .filter_map(|trial| trial.get(&figure).copied())
            .collect()
    }

    /// The mean of a figure over the trials.
    pub fn mean(&self, figure: Figure) -> Option<f64> {
        let values = self.values(figure);
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    }
}

impl Measured {
    /// Reads the trials of a run.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn of_run(experiment: &Experiment, directory: &RunDir, run: &Run) -> anyhow::Result<Self> {
        let profile = run.profile()?;
        let figures = experiment.figures();
        let (mut cells, mut durations) = (Vec::new(), Vec::new());
        for scenario in &profile.scenarios {
            for point in &scenario.points {
                durations.push(point.workload.duration.as_secs_f64());
                for server in &profile.servers {
                    let place = directory.point(&scenario.name, &server.name, &point.name);
                    let mut cell = Cell {
                        scenario: scenario.name.clone(),
                        server: server.name.clone(),
                        point: point.name.clone(),
                        offered_rate: point.workload.offered_rate(),
                        blocked: place.no_result()?.map(|no| no.reason),
                        invalid: Vec::new(),
                        bound: false,
                        trials: BTreeMap::new(),
                    };
                    for (number, trial) in place.trials()? {
                        cell.add(number, &trial, &figures);
                    }
                    cells.push(cell);
                }
            }
        }
        let shortest = durations.iter().copied().fold(f64::INFINITY, f64::min);
        let longest = durations.iter().copied().fold(0.0, f64::max);
        Ok(Self {
            head: Head {
                schema_version: SCHEMA_VERSION,
                name: experiment.name.clone(),
                fingerprint: experiment.fingerprint.clone(),
                started: run.started.clone(),
                loadgen: run.loadgen.clone(),
                machine: run.machine.to_string(),
                cores: run.machine.cores,
                conditions: conditions(&run.settings),
                trials: run.settings.trials,
                duration_s: (shortest, longest),
                seed: run.settings.seed,
            },
            cells,
        })
    }

    /// Reads a summary; `None`: there is none.
    ///
    /// # Errors
    /// When it cannot be read, or was measured with other loads or rules than the experiment has now.
    pub fn read(experiment: &Experiment, directory: &Path) -> anyhow::Result<Option<Self>> {
        let path = directory.join(SUMMARY);
        if !path.exists() {
            return Ok(None);
        }
        let read = || -> anyhow::Result<Self> {
            let text = fs::read_to_string(&path)?;
            let mut lines = text.lines();
            let head: Head = serde_json::from_str(lines.next().context("it is empty")?)?;
            ensure!(
                head.schema_version == SCHEMA_VERSION && head.fingerprint == experiment.fingerprint,
                "it was measured with other loads or rules: measure again with `loadgen answers --only {}`",
                experiment.name
            );
            let cells = lines.map(serde_json::from_str).collect::<Result<_, _>>()?;
            Ok(Self { head, cells })
        };
        read().map(Some).with_context(|| path.display().to_string())
    }

    /// The text of `summary.jsonl`.
    ///
    /// # Errors None in practice: all of it can be written as JSON.
    pub fn json_lines(&self) -> anyhow::Result<String> {
        let mut text = serde_json::to_string(&self.head)? + "\n";
        for cell in &self.cells {
            text += &(serde_json::to_string(cell)? + "\n");
        }
        Ok(text)
    }

    /// A server at a point.
    pub fn cell(&self, scenario: &str, server: &str, point: &str) -> Result<&Cell, String> {
        let mut cells = self.cells.iter();
        cells
            .find(|cell| cell.scenario == scenario && cell.server == server && cell.point == point)
            .ok_or_else(|| format!("{server} at {point} was not measured"))
    }
}

impl Cell {
    fn add(&mut self, number: usize, trial: &Trial, figures: &[Figure]) {
        match trial.verdict {
            Verdict::Valid => {}
            Verdict::Failed => {
                self.blocked = Some(format!("FAILED: {}", words(&trial.causes)));
            }
            Verdict::Invalid => {
                self.invalid.push(words(&trial.causes));
                return;
            }
        }
        self.bound |= note::generator_bound(&trial.notes);
        let values = figures.iter().filter_map(|figure| {
            let value = figure.of(trial)?;
            Some((*figure, five_digits(value)))
        });
        self.trials.insert(number, values.collect());
    }
}

/// The values of several cells, one list for each trial that all of them have.
///
/// # Errors
/// Why they say nothing.
pub fn rounds(cells: &[&Cell], figure: Figure) -> Result<Vec<Vec<f64>>, String> {
    for cell in cells {
        if let Some(reason) = &cell.blocked {
            return Err(format!("{}: {reason}", cell.title()));
        }
        if figure == Figure::Rate && cell.bound {
            return Err(format!("the generator was the limit, not {}", cell.title()));
        }
    }
    let numbers: BTreeSet<usize> = cells
        .iter()
        .flat_map(|cell| cell.trials.keys())
        .copied()
        .collect();
    let of_all = |number: usize| {
        let value = |cell: &&Cell| cell.trials.get(&number)?.get(&figure).copied();
        cells.iter().map(value).collect::<Option<Vec<f64>>>()
    };
    let rounds: Vec<Vec<f64>> = numbers.into_iter().filter_map(of_all).collect();
    if rounds.len() >= LEAST_TRIALS {
        return Ok(rounds);
    }
    let invalid = cells.iter().find_map(|cell| {
        let causes = cell.invalid.last()?;
        Some(format!("; INVALID: {} ({causes})", cell.title()))
    });
    Err(format!(
        "too few VALID trials, {} where {LEAST_TRIALS} are needed{}",
        rounds.len(),
        invalid.unwrap_or_default()
    ))
}

/// A trial is not exact to more digits, and they would make the file longer.
fn five_digits(x: f64) -> f64 {
    format!("{x:.4e}").parse().unwrap_or(x)
}

impl Experiment {
    /// All figures that its table, its chart and its rules look at.
    pub fn figures(&self) -> Vec<Figure> {
        let of_rule = |rule: &Rule| match rule {
            Rule::Ratio(rule) | Rule::Difference(rule) => vec![rule.figure],
            Rule::Line(rule) => vec![rule.figure],
            Rule::Value(rule) => vec![rule.figure],
            Rule::Growth(rule) => vec![rule.figure],
            Rule::HalfInterval(_) | Rule::Queue(_) => vec![Figure::Mean],
            Rule::ClosedNetwork(_) => vec![Figure::Rate],
            Rule::Omission(_) => vec![Figure::P95, Figure::P99],
        };
        let claims = self.answer.claim.iter();
        let rules = claims.flat_map(|claim| of_rule(&claim.rule));
        let mut all = self.answer.figures.clone();
        all.push(self.answer.chart.figure);
        all.extend(rules);
        all.sort_unstable();
        all.dedup();
        all
    }
}

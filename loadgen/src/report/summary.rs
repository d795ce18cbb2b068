//! A bench in figures: what its trials come to, read from the run's directory and from nothing else.
//!
//! Percentiles come from the merged histograms of the trials and are never averaged; rates and costs
//! are the median of the trials. INVALID trials are left out where there are VALID ones.

use std::fmt::Write as _;
use std::fs;
use std::iter;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use hdrhistogram::Histogram;

use crate::recording::hlog::{self, Interval};
use crate::recording::record::histogram;
use crate::report::table::{self, GENERATOR_BOUND, Style, figure, words};
use crate::results::directory::{NoResult, PointDir, Run, RunDir, damaged};
use crate::results::trial::{Cause, Quantiles, ServerCosts, Trial, Verdict};
use crate::stats::bootstrap::{Estimate, Pool};
use crate::verdict::judge;
use crate::workload::goal::Goal;
use crate::workload::load::Load;
use crate::workload::scenario::{Point, Rank, Scenario, ServerEntry};

/// With one trial there is no spread; rows that differ by less than this share either way are then
/// not told apart: rates of the same server differ by 10 to 30 % from run to run on a virtual machine.
const ASSUMED_SPREAD: f64 = 0.15;

/// With fewer VALID trials the range of them is shown: Student's t would make an interval of three or four
/// so wide that it says little.
const INTERVAL_TRIALS: usize = 5;
/// The chance that a figure is outside of its interval.
const INTERVAL_ALPHA: f64 = 0.05;

/// A run and what its trials come to.
#[derive(Debug, Clone)]
pub struct Summary {
    /// What was asked.
    pub run: Run,
    /// The rows' servers, in the order of the line-up.
    pub servers: Vec<ServerEntry>,
    /// A table for each point of each scenario, in the order of the profile.
    pub sections: Vec<Section>,
    /// Trials that are still to be run, and of how many.
    pub missing: (usize, usize),
}

/// One point of a scenario: a table.
#[derive(Debug, Clone)]
pub struct Section {
    /// The scenario's name.
    pub scenario: String,
    /// What it asks.
    pub question: String,
    /// What decides.
    pub rank: Rank,
    /// What the rates of its scenario are asked to keep.
    pub goal: Option<Goal>,
    /// Whether it is the only point of its scenario.
    pub alone: bool,
    /// The load.
    pub point: Point,
    /// The servers that have results, best first, those with an INVALID result after the others; then
    /// those without, in the order of the line-up.
    pub rows: Vec<Row>,
}

/// A server in a section.
#[derive(Debug, Clone)]
pub struct Row {
    /// The row's name.
    pub server: String,
    /// Its figures, or why there are none.
    pub outcome: Result<Box<Figures>, NoResult>,
}

/// What the trials of a server at a point come to.
#[derive(Debug, Clone)]
pub struct Figures {
    /// Trials that count.
    pub trials: usize,
    /// Trials that were INVALID and are left out, unless all were.
    pub left_out: usize,
    /// INVALID only when no trial is VALID.
    pub verdict: Verdict,
    /// Why, if INVALID.
    pub causes: Vec<Cause>,
    /// The notes of all trials that count.
    pub notes: Vec<String>,
    /// Answers a second.
    pub rate: Spread,
    /// The response time over all trials that count, microseconds; of several trials whose logs are
    /// not there, nulls.
    pub response_us: Quantiles,
    /// The median response time, microseconds, and how it differs between the trials.
    pub p50_us: Option<Spread>,
    /// The 99th percentile likewise.
    pub p99_us: Option<Spread>,
    /// The 99.9th percentile likewise.
    pub p99_9_us: Option<Spread>,
    /// What the server spent.
    pub costs: Costs,
    /// Connections with an answer, in the trial with the fewest.
    pub connections_answered: usize,
    /// Of so many.
    pub connections: usize,
    /// Requests of all trials that ended in an error.
    pub failed: u64,
}

/// A figure of several trials, and how it differs between them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// A percentile of all trials together; of another figure, or where the histograms are not there, the
    /// median of the trials.
    pub value: f64,
    /// The least of a trial.
    pub least: f64,
    /// The greatest of a trial.
    pub most: f64,
    /// The 95 % confidence interval of the value, where five or more VALID trials make one: see
    /// [`crate::stats::bootstrap`].
    pub interval: Option<(f64, f64)>,
}

/// The medians of a server's costs.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Costs {
    /// Microseconds of CPU time a request.
    pub cpu_us: Option<f64>,
    /// Context switches a request.
    pub context_switches: Option<f64>,
    /// System calls a request.
    pub syscalls: Option<f64>,
    /// Proportional set size, MiB.
    pub memory_mib: Option<f64>,
    /// Threads.
    pub threads: Option<f64>,
    /// Processes.
    pub processes: Option<f64>,
}

impl Spread {
    /// The median of these values and their extremes; `None` of none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            *values.get(middle)?
        } else {
            f64::midpoint(*values.get(middle.checked_sub(1)?)?, *values.get(middle)?)
        };
        Some(Self {
            value: median,
            least: *values.first()?,
            most: *values.last()?,
            interval: None,
        })
    }

    /// Half of the interval, or where there is none of the range, as a share of the value.
    pub fn relative(&self) -> f64 {
        let (low, high) = self.range();
        if self.value > 0.0 {
            (high - low) / 2.0 / self.value
        } else {
            0.0
        }
    }

    /// The interval, or where there is none the extremes.
    fn range(&self) -> (f64, f64) {
        self.interval.unwrap_or((self.least, self.most))
    }
}

impl Summary {
    /// Reads a run's directory.
    pub fn read(directory: &RunDir, run: &Run) -> anyhow::Result<Self> {
        let profile = run.profile()?;
        let mut sections = Vec::new();
        let (mut missing, mut all) = (0, 0);
        for scenario in &profile.scenarios {
            for point in &scenario.points {
                for server in &profile.servers {
                    let place = directory.point(&scenario.name, &server.name, &point.name);
                    if place.no_result()?.is_none() {
                        all += run.settings.trials;
                        missing += run.settings.trials.saturating_sub(place.trials()?.len());
                    }
                }
                let section = Section::read(directory, &profile.servers, scenario, point)?;
                if !section.rows.is_empty() {
                    sections.push(section);
                }
            }
        }
        Ok(Self {
            run: run.clone(),
            servers: profile.servers,
            sections,
            missing: (missing, all),
        })
    }

    /// Any result whose verdict is INVALID.
    pub fn any_invalid(&self) -> bool {
        self.sections
            .iter()
            .flat_map(|section| &section.rows)
            .any(|row| {
                row.outcome
                    .as_ref()
                    .is_ok_and(|figures| figures.verdict == Verdict::Invalid)
            })
    }

    /// The tables and the closing sentences for a terminal or a pipe.
    pub fn to_text(&self, style: Style) -> String {
        let mut text = String::new();
        for section in &self.sections {
            let _ = writeln!(text, "{}", table::for_section(section, style));
        }
        for sentence in self.sentences() {
            let _ = writeln!(text, "{sentence}");
        }
        text
    }

    /// `summary.md`.
    pub fn to_markdown(&self) -> String {
        let mut text = format!("# Bench of {}\n\n", self.run.started);
        for line in head(&self.run) {
            let _ = writeln!(text, "* {line}");
        }
        text.push_str("\nThe rows:\n\n");
        for server in &self.servers {
            let _ = writeln!(text, "* `{}`: {}", server.name, server.about);
        }
        for section in &self.sections {
            let _ = writeln!(text, "\n{}", table::for_section(section, Style::Markdown));
        }
        text.push_str("## In short\n\n");
        for sentence in self.sentences() {
            let _ = writeln!(text, "* {sentence}");
        }
        let _ = writeln!(text, "\n{}", table::legend(Style::Markdown));
        text
    }

    /// `summary.csv`: one line of names, then a line for each server at each point; no units in cells.
    pub fn to_csv(&self) -> anyhow::Result<String> {
        let mut csv = csv::Writer::from_writer(Vec::new());
        csv.write_record(CSV_COLUMNS)?;
        for section in &self.sections {
            for row in &section.rows {
                csv.write_record(csv_record(section, row))?;
            }
        }
        Ok(String::from_utf8(csv.into_inner()?)?)
    }

    /// What the tables say, one sentence for each, and only what the spread supports.
    pub fn sentences(&self) -> Vec<String> {
        let mut sentences = Vec::new();
        for sections in self.sections.chunk_by(|a, b| a.scenario == b.scenario) {
            sentences.extend(sections.iter().filter_map(Section::sentence));
            sentences.extend(self.goal_sentence(sections));
        }
        if self.run.settings.trials == 1 && !sentences.is_empty() {
            sentences.push(format!(
                "With one trial each there is no spread: rows that differ by less than {:.0} % are not told apart.",
                2.0 * ASSUMED_SPREAD * 100.0
            ));
        }
        if let (missing @ 1.., all) = self.missing {
            sentences.push(format!(
                "Incomplete: {missing} of {all} trials are still to be run (loadgen bench --resume DIR)."
            ));
        }
        sentences
    }
}

impl Summary {
    /// Up to which of a scenario's rates each server meets its goal.
    fn goal_sentence(&self, sections: &[Section]) -> Option<String> {
        let goal = sections.first()?.goal?;
        let mut rates: Vec<(f64, &Section)> = sections
            .iter()
            .filter_map(|section| match section.point.load {
                Load::Open { rate, .. } => Some((rate, section)),
                Load::Closed => None,
            })
            .collect();
        rates.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        // The highest rate before the first that misses it, with the servers that get so far.
        let mut reached: Vec<(Option<f64>, Vec<&str>)> = Vec::new();
        for ServerEntry { name, .. } in &self.servers {
            let tried: Vec<(f64, bool)> = rates
                .iter()
                .filter_map(|(rate, section)| {
                    let (_, figures) = section
                        .ranked()
                        .into_iter()
                        .find(|(other, _)| other == name)?;
                    Some((
                        *rate,
                        figures.kept_up() && goal.is_met_by(&figures.response_us),
                    ))
                })
                .collect();
            if tried.is_empty() {
                continue;
            }
            let met = tried.iter().take_while(|(_, met)| *met).last();
            let met = met.map(|(rate, _)| *rate);
            match reached.iter_mut().find(|(other, _)| *other == met) {
                Some((_, names)) => names.push(name),
                None => reached.push((met, vec![name])),
            }
        }
        reached.sort_by(|(a, _), (b, _)| b.partial_cmp(a).expect("rates are numbers"));
        let parts: Vec<String> = reached
            .iter()
            .map(|(rate, names)| {
                let names = names.join(", ");
                match rate {
                    Some(rate) => format!("up to {} requests/s by {names}", figure(*rate)),
                    None => format!("at none of these rates by {names}"),
                }
            })
            .collect();
        let scenario = &sections.first()?.scenario;
        (!parts.is_empty()).then(|| format!("{scenario}: {goal} is met {}.", parts.join("; ")))
    }
}

/// What stands above the tables: the machine, the way of measuring, the rows.
pub fn head(run: &Run) -> Vec<String> {
    let settings = &run.settings;
    let cores = |cpus: &[usize]| match cpus {
        [] => "any core".to_owned(),
        [cpu] => format!("core {cpu}"),
        cpus => format!(
            "cores {}",
            cpus.iter()
                .map(usize::to_string)
                .collect::<Vec<_>>()
                .join(",")
        ),
    };
    let trials = match settings.trials {
        1 => "one trial each".to_owned(),
        n => format!("{n} trials each, in turns"),
    };
    let awake = if settings.keep_awake {
        "kept awake"
    } else {
        "left to sleep"
    };
    let mut lines = vec![
        format!("machine: {}", run.machine),
        format!(
            "server on {}, generator on {}, cores {awake}; {trials}, a fresh process for each trial",
            cores(&settings.server_cpus),
            cores(&settings.generator_cpus)
        ),
        format!(
            "command: {} ({}, seed {})",
            shell_line(&run.command),
            run.started,
            settings.seed
        ),
    ];
    lines.extend(run.shortcomings.iter().map(|lack| format!("note: {lack}")));
    lines
}

/// As one would type it.
fn shell_line(command: &[String]) -> String {
    let words = command.iter().map(String::as_str);
    // Only a file that somebody edited has a zero byte in it.
    shlex::try_join(words).unwrap_or_else(|_| command.join(" "))
}

/// The lines above the tables, for a terminal.
pub fn head_text(run: &Run, servers: &[ServerEntry]) -> String {
    let mut text = head(run).join("\n");
    text.push('\n');
    for server in servers {
        let _ = writeln!(text, "  {:<18} {}", server.name, server.about);
    }
    text
}

impl Section {
    /// Reads what there is of a point.
    pub fn read(
        directory: &RunDir,
        servers: &[ServerEntry],
        scenario: &Scenario,
        point: &Point,
    ) -> anyhow::Result<Self> {
        let mut rows = Vec::new();
        for server in servers {
            let place = directory.point(&scenario.name, &server.name, &point.name);
            // A server that failed once is not ranked by the trials before that.
            let outcome = match (place.no_result()?, Figures::read(&place)?) {
                (Some(no_result), _) => Err(no_result),
                (None, Some(figures)) => Ok(Box::new(figures)),
                (None, None) => continue,
            };
            rows.push(Row {
                server: server.name.clone(),
                outcome,
            });
        }
        let rank = scenario.rank;
        rows.sort_by(|a, b| match (&a.outcome, &b.outcome) {
            (Ok(a), Ok(b)) => a.order(b, rank),
            (a, b) => a.is_err().cmp(&b.is_err()),
        });
        Ok(Self {
            scenario: scenario.name.clone(),
            question: scenario.question.clone(),
            rank,
            goal: scenario.goal,
            alone: scenario.points.len() == 1,
            point: point.clone(),
            rows,
        })
    }

    /// `idle`, or `idle, idle-1000` where the scenario has several points.
    pub fn title(&self) -> String {
        if self.alone {
            self.scenario.clone()
        } else {
            format!("{}, {}", self.scenario, self.point.name)
        }
    }

    /// The rows that may be ranked, best first.
    fn ranked(&self) -> Vec<(&str, &Figures)> {
        let rows = self.rows.iter();
        rows.filter_map(|row| {
            let figures = row.outcome.as_deref().ok()?;
            let valid = figures.verdict == Verdict::Valid && figures.ranked_by(self.rank).is_some();
            valid.then_some((row.server.as_str(), figures))
        })
        .collect()
    }

    /// How many times worse than the best a server is, by the figure that decides; `None` where it
    /// is not ranked.
    pub fn times_worse(&self, server: &str) -> Option<f64> {
        let ranked = self.ranked();
        let value = |figures: &Figures| figures.ranked_by(self.rank).map(|spread| spread.value);
        let (_, best) = ranked.first()?;
        let (_, own) = ranked.iter().find(|(name, _)| *name == server)?;
        let (best, own) = (value(best)?, value(own)?);
        Some(if own > best { own / best } else { best / own })
    }

    /// Whether the trials tell a row from the leader.
    fn apart(&self, leader: &Figures, other: &Figures) -> bool {
        // A server that the generator could not fill may be as good as the leader.
        let unknown = self.rank == Rank::Rate && other.generator_bound();
        let spreads = (leader.ranked_by(self.rank), other.ranked_by(self.rank));
        !unknown && matches!(spreads, (Some(leader), Some(other)) if leader.apart_from(other))
    }

    /// Whether a server is ranked, and its trials do not tell it from the leader.
    pub fn level_with_best(&self, server: &str) -> bool {
        let ranked = self.ranked();
        let own = ranked.iter().find(|(name, _)| *name == server);
        matches!((ranked.first(), own), (Some((_, leader)), Some((_, own))) if !self.apart(leader, own))
    }

    /// Why a table has no row that is ranked, if rows were measured.
    fn without_valid(&self) -> Option<String> {
        let measured = self.rows.iter();
        let measured = measured.filter_map(|row| row.outcome.as_deref().ok());
        let causes = distinct(measured.flat_map(|figures| &figures.causes));
        (!causes.is_empty())
            .then(|| format!("{}: no VALID result ({}).", self.title(), words(&causes)))
    }

    /// Who leads, by how much, and who is last.
    fn sentence(&self) -> Option<String> {
        let ranked = self.ranked();
        let Some((&(winner, first), others)) = ranked.split_first() else {
            return self.without_valid();
        };
        let best = first.ranked_by(self.rank)?;
        let apart: Vec<&(&str, &Figures)> = others
            .iter()
            .filter(|(_, other)| self.apart(first, other))
            .collect();
        let level: Vec<&str> = others
            .iter()
            .filter(|(_, other)| !self.apart(first, other))
            .map(|(name, _)| *name)
            .collect();
        let value = |spread: Spread| match self.rank {
            Rank::Rate => format!("{} requests/s", figure(spread.value)),
            rank => format!("{} {}", rank.name(), time(spread.value)),
        };
        let cost = |figures: &Figures| {
            figures.costs.cpu_us.map_or_else(String::new, |cpu| {
                format!(", {} us of CPU a request", figure(cpu))
            })
        };
        let ratio = |other: &Figures| {
            let other = other
                .ranked_by(self.rank)
                .map_or(best.value, |other| other.value);
            let (more, less) = if other > best.value {
                (other, best.value)
            } else {
                (best.value, other)
            };
            let ratio = more / less.max(f64::MIN_POSITIVE);
            let digits = if ratio < 1.1 { 2 } else { 1 };
            format!("{ratio:.digits$}")
        };
        let times = match self.rank {
            Rank::Rate => "times fewer",
            _ => "times as much",
        };
        let mut text = format!("{}: {winner} ", self.title());
        let of_winner = format!("{}{}", value(best), cost(first));
        let _ = match level[..] {
            _ if others.is_empty() => {
                write!(text, "has {of_winner}, and nobody to be held against")
            }
            [] => write!(text, "leads with {of_winner}"),
            [_, _, _, _, ..] => write!(
                text,
                "({of_winner}) and {} others are not told apart by the trials",
                level.len()
            ),
            _ => write!(
                text,
                "({of_winner}) is not told apart by the trials from {}",
                level.join(", ")
            ),
        };
        if let [(next, second), .., _] = apart[..] {
            let _ = if level.is_empty() {
                write!(text, "; {next} follows with {} {times}", ratio(second))
            } else {
                write!(
                    text,
                    "; the first behind them is {next} with {} {times}",
                    ratio(second)
                )
            };
        }
        if let Some((last, worst)) = apart.last() {
            let spread = worst.ranked_by(self.rank)?;
            let _ = write!(
                text,
                "; at the other end {last}: {}{}, {} {times}",
                value(spread),
                cost(worst),
                ratio(worst)
            );
        }
        text.push('.');
        Some(text)
    }
}

/// Microseconds in the unit that reads best.
fn time(us: f64) -> String {
    if us < 1e3 {
        format!("{} us", figure(us))
    } else if us < 1e6 {
        format!("{} ms", figure(us / 1e3))
    } else {
        format!("{} s", figure(us / 1e6))
    }
}

impl Rank {
    /// As a heading says it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rate => "requests/s",
            Self::P50 => "p50",
            Self::P99 => "p99",
            Self::P999 => "p99.9",
        }
    }
}

impl Spread {
    /// Whether two rows differ by more than their trials do among themselves.
    fn apart_from(&self, other: Self) -> bool {
        let range = |spread: &Self| {
            let (low, high) = spread.range();
            if low < high {
                (low, high)
            } else {
                (
                    spread.value * (1.0 - ASSUMED_SPREAD),
                    spread.value * (1.0 + ASSUMED_SPREAD),
                )
            }
        };
        let ((low, high), (other_low, other_high)) = (range(self), range(&other));
        high < other_low || other_high < low
    }
}

impl Figures {
    /// What a server's trials at a point come to; `None` without a trial.
    fn read(place: &PointDir) -> anyhow::Result<Option<Self>> {
        let all = place.trials()?;
        let any_valid = all.iter().any(|(_, trial)| trial.verdict == Verdict::Valid);
        let counts = |trial: &Trial| !any_valid || trial.verdict == Verdict::Valid;
        let counting: Vec<&(usize, Trial)> =
            all.iter().filter(|(_, trial)| counts(trial)).collect();
        let Some(connections_answered) = counting
            .iter()
            .map(|(_, trial)| trial.connections_answered)
            .min()
        else {
            return Ok(None);
        };
        let logs: Vec<PathBuf> = counting
            .iter()
            .map(|(number, _)| place.log(*number))
            .collect();
        let mut histograms = Vec::new();
        // A histogram of one trial need not be merged: its figures are in the JSON.
        if logs.len() > 1 && logs.iter().all(|log| log.exists()) {
            for (log, (_, trial)) in logs.iter().zip(&counting) {
                histograms.push(response_times(log, trial)?.1);
            }
        }
        let response_us = match counting.as_slice() {
            [(_, trial)] => trial.response_us,
            _ if histograms.is_empty() => Quantiles::default(),
            _ => Quantiles::of(&merged(&histograms)),
        };
        let trials = || counting.iter().map(|(_, trial)| trial);
        let interval = |estimate: Option<Estimate>| {
            estimate
                .filter(|estimate| any_valid && estimate.trials >= INTERVAL_TRIALS)
                .map(|estimate| estimate.interval(INTERVAL_ALPHA))
        };
        let pool = Pool::new(&histograms);
        let percentile = |quantile: f64, of: fn(&Quantiles) -> Option<f64>| {
            let of_trials = Spread::of(trials().filter_map(|trial| of(&trial.response_us)))?;
            let micros = |(low, high): (f64, f64)| (low / 1e3, high / 1e3);
            Some(Spread {
                value: of(&response_us).unwrap_or(of_trials.value),
                interval: interval(pool.estimate(quantile)).map(micros),
                ..of_trials
            })
        };
        let median = |cost: fn(&ServerCosts) -> Option<f64>| {
            let costs = trials().filter_map(|trial| cost(trial.server.as_ref()?));
            Spread::of(costs).map(|spread| spread.value)
        };
        let causes = distinct(trials().flat_map(|trial| &trial.causes));
        let notes = distinct(trials().flat_map(|trial| &trial.notes));
        let rates: Vec<f64> = trials().map(|trial| trial.rate).collect();
        let rate = Spread::of(rates.iter().copied()).context("there is a trial")?;
        Ok(Some(Self {
            trials: counting.len(),
            left_out: all.len() - counting.len(),
            verdict: if any_valid {
                Verdict::Valid
            } else {
                Verdict::Invalid
            },
            causes,
            notes,
            rate: Spread {
                interval: interval(median_of(&rates)),
                ..rate
            },
            response_us,
            p50_us: percentile(0.5, |times| times.p50),
            p99_us: percentile(0.99, |times| times.p99),
            p99_9_us: percentile(0.999, |times| times.p99_9),
            costs: Costs {
                cpu_us: median(|costs| costs.cpu_us_per_request),
                context_switches: median(|costs| costs.context_switches_per_request),
                syscalls: median(|costs| costs.syscalls_per_request),
                memory_mib: median(|costs| costs.pss_kib.map(|kib| kib as f64 / 1024.0)),
                threads: median(|costs| costs.threads.map(|n| n as f64)),
                processes: median(|costs| costs.processes.map(|n| n as f64)),
            },
            connections_answered,
            connections: trials().map(|trial| trial.connections).max().unwrap_or(0),
            failed: trials().map(|trial| trial.failed).sum(),
        }))
    }

    /// The generator was at its limit in a trial: the server does at least so much.
    pub fn generator_bound(&self) -> bool {
        self.notes.iter().any(|note| note == GENERATOR_BOUND)
    }

    /// The server kept up with the schedule in all trials that count.
    fn kept_up(&self) -> bool {
        judge::kept_up(&self.notes)
    }

    /// The figure that decides.
    fn ranked_by(&self, rank: Rank) -> Option<Spread> {
        match rank {
            Rank::Rate => Some(self.rate),
            Rank::P50 => self.p50_us,
            Rank::P99 => self.p99_us,
            Rank::P999 => self.p99_9_us,
        }
    }

    /// VALID before INVALID, then the better before the worse.
    fn order(&self, other: &Self, rank: Rank) -> std::cmp::Ordering {
        let valid = |figures: &Self| figures.verdict == Verdict::Valid;
        let value = |figures: &Self| match (rank, figures.ranked_by(rank)) {
            (Rank::Rate, Some(rate)) => -rate.value,
            (_, Some(time)) => time.value,
            (_, None) => f64::INFINITY,
        };
        valid(other)
            .cmp(&valid(self))
            .then(value(self).total_cmp(&value(other)))
    }
}

/// Each of these once, in the order in which they come first.
pub(crate) fn distinct<'a, T: Clone + PartialEq + 'a>(
    items: impl Iterator<Item = &'a T>,
) -> Vec<T> {
    items.fold(Vec::new(), |mut seen, item| {
        if !seen.contains(item) {
            seen.push(item.clone());
        }
        seen
    })
}

/// The median of these values, a trial each, and how sure it is.
fn median_of(values: &[f64]) -> Option<Estimate> {
    Estimate::of(values.len(), |weights| {
        let drawn = values.iter().zip(weights);
        let drawn = drawn.flat_map(|(value, times)| iter::repeat_n(*value, *times as usize));
        Spread::of(drawn).map(|spread| spread.value)
    })
}

/// The response times of a trial, nanoseconds, from its interval log: by the second and all together.
pub(crate) fn response_times(
    log: &Path,
    trial: &Trial,
) -> anyhow::Result<(Vec<Interval>, Histogram<u64>)> {
    let read = || {
        let mut intervals = hlog::read(&fs::read_to_string(log)?)?.intervals;
        intervals.retain(|interval| interval.tag == "response");
        let mut all = histogram();
        for interval in &intervals {
            all.add(&interval.histogram)?;
        }
        ensure!(
            all.len() == trial.response_us.count,
            "it has {} response times, the trial {}",
            all.len(),
            trial.response_us.count
        );
        anyhow::Ok((intervals, all))
    };
    read().with_context(|| damaged(log))
}

/// The samples of several trials in one histogram.
fn merged(trials: &[Histogram<u64>]) -> Histogram<u64> {
    let mut all = histogram();
    for trial in trials {
        all += trial;
    }
    all
}

/// The columns of `summary.csv`.
const CSV_COLUMNS: [&str; 56] = [
    "scenario",
    "point",
    "server",
    "status",
    "reason",
    "mode",
    "load",
    "offered_rate",
    "connections",
    "pipeline",
    "size",
    "idle",
    "slow_readers",
    "half_senders",
    "floods",
    "churn",
    "verdict",
    "causes",
    "notes",
    "trials",
    "trials_left_out",
    "rate",
    "rate_least",
    "rate_most",
    "rate_low",
    "rate_high",
    "response_count",
    "response_min_us",
    "response_mean_us",
    "response_p50_us",
    "response_p75_us",
    "response_p90_us",
    "response_p95_us",
    "response_p99_us",
    "response_p99_9_us",
    "response_p99_99_us",
    "response_max_us",
    "p50_least_us",
    "p50_most_us",
    "p50_low_us",
    "p50_high_us",
    "p99_least_us",
    "p99_most_us",
    "p99_low_us",
    "p99_high_us",
    "p99_9_least_us",
    "p99_9_most_us",
    "p99_9_low_us",
    "p99_9_high_us",
    "cpu_us_per_request",
    "context_switches_per_request",
    "syscalls_per_request",
    "memory_mib",
    "threads",
    "processes",
    "connections_answered",
];

fn csv_record(section: &Section, row: &Row) -> Vec<String> {
    let point = &section.point;
    let text = |value: serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let number = |value: Option<f64>| value.map_or_else(String::new, |value| value.to_string());
    let (load, offered) = match point.load {
        Load::Closed => ("closed", None),
        Load::Open { rate, .. } => ("open", Some(rate)),
    };
    let (status, reason) = match &row.outcome {
        Ok(_) => ("measured".to_owned(), String::new()),
        Err(without) => (
            // Readers of CSV take "n/a" for a value that is missing.
            words(&[without.status]).replace("n/a", "not-applicable"),
            without.reason.clone(),
        ),
    };
    let neighbours = point.neighbours;
    let mut record = vec![
        section.scenario.clone(),
        point.name.clone(),
        row.server.clone(),
        status,
        reason,
        text(serde_json::to_value(point.mode).unwrap_or_default()),
        load.to_owned(),
        number(offered),
        point.connections.to_string(),
        point.pipeline.to_string(),
        point.size.to_string(),
        neighbours.idle.to_string(),
        neighbours.slow_readers.to_string(),
        neighbours.half_senders.to_string(),
        neighbours.floods.to_string(),
        neighbours.churn.to_string(),
    ];
    if let Ok(figures) = &row.outcome {
        let times = &figures.response_us;
        let spread = |spread: Option<Spread>| {
            let interval = spread.and_then(|spread| spread.interval);
            [
                spread.map(|spread| spread.least),
                spread.map(|spread| spread.most),
                interval.map(|(low, _)| low),
                interval.map(|(_, high)| high),
            ]
            .map(number)
        };
        record.extend([
            words(&[figures.verdict]),
            words(&figures.causes),
            figures.notes.join("; "),
            figures.trials.to_string(),
            figures.left_out.to_string(),
            figures.rate.value.to_string(),
        ]);
        record.extend(spread(Some(figures.rate)));
        record.push(times.count.to_string());
        record.extend(
            [
                times.min,
                times.mean,
                times.p50,
                times.p75,
                times.p90,
                times.p95,
                times.p99,
                times.p99_9,
                times.p99_99,
                times.max,
            ]
            .map(number),
        );
        record.extend(spread(figures.p50_us));
        record.extend(spread(figures.p99_us));
        record.extend(spread(figures.p99_9_us));
        let costs = figures.costs;
        record.extend(
            [
                costs.cpu_us,
                costs.context_switches,
                costs.syscalls,
                costs.memory_mib,
                costs.threads,
                costs.processes,
            ]
            .map(number),
        );
        record.push(figures.connections_answered.to_string());
    } else {
        // Counts stay counts to a reader that makes a float of what is missing.
        record.extend(["", "", "", "0", "0"].map(str::to_owned));
    }
    record.resize(CSV_COLUMNS.len(), String::new());
    record
}

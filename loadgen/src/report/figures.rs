//! The figures of the trials of a server at a point.
//!
//! Percentiles come from the merged histograms of the trials and are never averaged; rates and costs
//! are the median of the trials. INVALID trials are left out where there are others. One FAILED trial makes the row
//! FAILED.

use std::cmp::Ordering;
use std::fs::File;
use std::io::BufReader;
use std::iter;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;

use super::spread::Spread;
use crate::observe::observed::ServerCosts;
use crate::recording::histogram::{Quantiles, histogram};
use crate::recording::hlog::{Interval, Reader};
use crate::results::directory::{PointDir, damaged};
use crate::results::trial::Trial;
use crate::stats::bootstrap::Estimate;
use crate::stats::moderated::Logs;
use crate::stats::pool::Pool;
use crate::verdict::cause::{Cause, Verdict};
use crate::verdict::note::{self, Note};
use crate::workload::percentile::Percentile;
use crate::workload::scenario::Rank;

/// With fewer VALID trials their range is shown: of three or four trials Student's t gives an interval that is too
/// wide to be useful.
const INTERVAL_TRIALS: usize = 5;
/// The chance that a figure is outside of its interval.
const INTERVAL_ALPHA: f64 = 0.05;

/// The figures of the trials of a server at a point.
#[derive(Debug, Clone)]
pub struct Figures {
    /// Trials that count.
    pub trials: usize,
    /// Trials that were INVALID and are left out, unless all were.
    pub left_out: usize,
    /// Of those that count, FAILED ones.
    pub trials_failed: usize,
    /// FAILED when a trial is, INVALID when all are.
    pub verdict: Verdict,
    /// Why, if it is not VALID.
    pub causes: Vec<Cause>,
    /// The notes of all trials that count.
    pub notes: Vec<Note>,
    /// Answers a second.
    pub rate: Spread,
    /// The response time over all trials that count, microseconds; nulls if there are several trials and a log is
    /// missing.
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
    /// Connections that wanted an answer and had none, in the trial with the most.
    pub connections_unanswered: usize,
    /// Of this many connections.
    pub connections: usize,
    /// Requests of all trials that ended in an error.
    pub failed: u64,
    /// Of these, wrong answers.
    pub wrong_answers: u64,
    /// The trials that count.
    pub each: Vec<Trial>,
    /// The response times of each of them where failed requests are slower than any other: what a goal judges. Nulls
    /// where a log is missing that is needed for it.
    pub with_failed_us: Vec<Quantiles>,
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

impl Figures {
    /// The figures of a server's trials at a point; `None` without a trial.
    pub fn read(place: &PointDir) -> anyhow::Result<Option<Self>> {
        let all = place.trials()?;
        let verdicts = || all.iter().map(|(_, trial)| trial.verdict);
        let verdict = if verdicts().any(|verdict| verdict == Verdict::Failed) {
            Verdict::Failed
        } else {
            verdicts().min().unwrap_or(Verdict::Invalid)
        };
        let counting: Vec<&(usize, Trial)> = all
            .iter()
            .filter(|(_, trial)| counts(verdict, trial))
            .collect();
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
        let trials = || counting.iter().map(|(_, trial)| trial);
        let failed: u64 = trials().map(|trial| trial.failed).sum();
        // One trial needs no merging: its figures are in the JSON, but for those that its failed requests change.
        if (logs.len() > 1 || failed > 0) && logs.iter().all(|log| log.exists()) {
            for (log, (_, trial)) in logs.iter().zip(&counting) {
                histograms.push(response_times(log, trial, &mut |_| {})?);
            }
        }
        let response_us = match counting.as_slice() {
            [(_, trial)] => trial.response_us,
            _ => Quantiles::of(&merged(&histograms)),
        };
        let with_failed =
            |(at, trial): (usize, &Trial)| match (trial.failed_or_starved(), histograms.get(at)) {
                (0, _) => trial.response_us,
                (failed, Some(times)) => Quantiles::with_failed(times, failed, trial.timed_out),
                (_, None) => Quantiles::default(),
            };
        let with_failed_us = trials().enumerate().map(with_failed).collect();
        let interval = |estimate: Option<Estimate>| {
            estimate
                .filter(|estimate| verdict == Verdict::Valid && estimate.trials >= INTERVAL_TRIALS)
                .map(|estimate| estimate.interval(INTERVAL_ALPHA))
        };
        let pool = Pool::new(&histograms);
        let percentile = |percentile: Percentile| {
            let of_trial = |trial: &Trial| trial.response_us.percentile(percentile);
            // The spread is shown only if all trials have the percentile.
            let of_trials: Option<Vec<f64>> = trials().map(of_trial).collect();
            let of_trials = of_trials.and_then(Spread::of);
            let micros = |(low, high): (f64, f64)| (low / 1e3, high / 1e3);
            let value = match (response_us.percentile(percentile), of_trials) {
                (Some(value), _) => value,
                (None, Some(of_trials)) => of_trials.value,
                (None, None) => return None,
            };
            // Trials with few samples are enough to show how much they differ.
            let of_each = histograms
                .iter()
                .map(|times| times.value_at_quantile(percentile.quantile()) as f64 / 1e3);
            Some(Spread {
                value,
                range: of_trials.and_then(|spread| spread.range),
                interval: interval(pool.estimate(percentile.quantile())).map(micros),
                logs: if histograms.is_empty() {
                    of_trials.and_then(|spread| spread.logs)
                } else {
                    Logs::of(of_each)
                },
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
            trials_failed: trials()
                .filter(|trial| trial.verdict == Verdict::Failed)
                .count(),
            verdict,
            causes,
            notes,
            rate: Spread {
                interval: interval(median_of(&rates)),
                ..rate
            },
            response_us,
            p50_us: percentile(Percentile::P50),
            p99_us: percentile(Percentile::P99),
            p99_9_us: percentile(Percentile::P999),
            costs: Costs {
                cpu_us: median(|costs| costs.cpu_us_per_request),
                context_switches: median(|costs| costs.context_switches_per_request),
                syscalls: median(|costs| costs.syscalls_per_request),
                memory_mib: median(|costs| costs.pss_kib.map(|kib| kib as f64 / 1024.0)),
                threads: median(|costs| costs.threads.map(|n| n as f64)),
                processes: median(|costs| costs.processes.map(|n| n as f64)),
            },
            connections_answered,
            connections_unanswered: trials()
                .map(|trial| trial.connections_unanswered)
                .max()
                .unwrap_or(0),
            connections: trials().map(|trial| trial.connections).max().unwrap_or(0),
            failed,
            wrong_answers: trials().map(|trial| trial.mismatches).sum(),
            each: trials().cloned().collect(),
            with_failed_us,
        }))
    }

    /// Whether a trial counts in these figures.
    pub fn counts(&self, trial: &Trial) -> bool {
        counts(self.verdict, trial)
    }

    /// The generator was at its limit in a trial: its figures are a lower bound.
    pub fn generator_bound(&self) -> bool {
        note::generator_bound(&self.notes)
    }

    /// The generator read its answers late in a trial: a good part of the response time is its own.
    pub fn read_late(&self) -> bool {
        note::read_late(&self.notes)
    }

    /// The server kept up with the schedule in all trials that count.
    pub fn kept_up(&self) -> bool {
        note::kept_up(&self.notes)
    }

    /// Some clients were never answered: however good the figures of the others are, they lead no ranking.
    pub fn starves(&self) -> bool {
        self.connections_unanswered > 0
    }

    /// A percentile with its spread, where that is known.
    pub fn percentile(&self, percentile: Percentile) -> Option<Spread> {
        match percentile {
            Percentile::P50 => self.p50_us,
            Percentile::P99 => self.p99_us,
            Percentile::P999 => self.p99_9_us,
            Percentile::P75 | Percentile::P90 | Percentile::P95 | Percentile::P9999 => None,
        }
    }

    /// The figure that decides.
    pub fn ranked_by(&self, rank: Rank) -> Option<Spread> {
        match rank.percentile() {
            None => Some(self.rate),
            Some(percentile) => self.percentile(percentile),
        }
    }

    /// VALID before FAILED before INVALID, then those that answered all clients, then the better before the worse.
    pub fn order(&self, other: &Self, rank: Rank) -> Ordering {
        let value = |figures: &Self| match (rank, figures.ranked_by(rank)) {
            (Rank::Rate, Some(rate)) => -rate.value,
            (_, Some(time)) => time.value,
            (_, None) => f64::INFINITY,
        };
        self.verdict
            .cmp(&other.verdict)
            .then(self.starves().cmp(&other.starves()))
            .then(value(self).total_cmp(&value(other)))
    }
}

/// Whether a trial counts in a row of this verdict: an INVALID one does only where all are.
fn counts(row: Verdict, trial: &Trial) -> bool {
    row == Verdict::Invalid || trial.verdict != Verdict::Invalid
}

/// The items without repetitions, in their order.
pub fn distinct<'a, T: Clone + PartialEq + 'a>(items: impl Iterator<Item = &'a T>) -> Vec<T> {
    items.fold(Vec::new(), |mut seen, item| {
        if !seen.contains(item) {
            seen.push(item.clone());
        }
        seen
    })
}

/// The median of these values, one for each trial, and how sure it is.
fn median_of(values: &[f64]) -> Option<Estimate> {
    Estimate::of(values.len(), |weights| {
        let drawn = values.iter().zip(weights);
        let drawn = drawn.flat_map(|(value, times)| iter::repeat_n(*value, *times as usize));
        Spread::of(drawn).map(|spread| spread.value)
    })
}

/// The response times of a trial, nanoseconds, from its interval log: `each` second, and all together. One second is in
/// memory at a time, so that a trial may last a day.
pub fn response_times(
    log: &Path,
    trial: &Trial,
    each: &mut dyn FnMut(&Interval),
) -> anyhow::Result<Histogram<u64>> {
    let mut read = || {
        let mut all = histogram();
        let mut deserializer = Deserializer::new();
        for packed in Reader::new(BufReader::new(File::open(log)?)) {
            let packed = packed?;
            if packed.tag == "response" {
                let interval = packed.unpack(&mut deserializer)?;
                all.add(&interval.histogram)?;
                each(&interval);
            }
        }
        ensure!(
            all.len() == trial.response_us.count,
            "it has {} response times, the trial {}",
            all.len(),
            trial.response_us.count
        );
        anyhow::Ok(all)
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

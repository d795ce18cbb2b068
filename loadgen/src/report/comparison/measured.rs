//! The figures of one side of a row.

use anyhow::Context;
use hdrhistogram::Histogram;

use crate::report::failure;
use crate::report::figures::{Figures, distinct, response_times};
use crate::report::numbers::words;
use crate::results::directory::PointDir;
use crate::results::run::Status;
use crate::results::trial::Trial;
use crate::stats::bootstrap::{Estimate, LEAST_TRIALS};
use crate::stats::pool::Pool;
use crate::verdict::cause::Verdict;
use crate::verdict::note;
use crate::workload::scenario::Rank;

/// The figures of the VALID trials of a server at a point.
pub struct Measured {
    /// The figures, without percentiles of too few requests and rates of zero; first the one that ranks the scenario.
    pub figures: Vec<(Rank, Estimate)>,
    /// The generator was the limit in one of them.
    pub generator_bound: bool,
    /// Who was left without an answer, as a line.
    pub starvation: Option<String>,
}

/// Why a side has no figures to compare, as a line.
pub enum Without {
    /// The server failed.
    Failed(String),
    /// It did not fail, but too few of its trials are VALID.
    TooFew(String),
    /// It was not tried, or could not be.
    NotTried(String),
}

impl Without {
    /// The line.
    pub fn reason(self) -> String {
        match self {
            Self::Failed(reason) | Self::TooFew(reason) | Self::NotTried(reason) => reason,
        }
    }
}

impl Measured {
    /// Reads the figure that ranks and these others of the trials. The inner error says why there are no figures.
    pub fn read(
        place: &PointDir,
        rank: Rank,
        others: &[Rank],
    ) -> anyhow::Result<Result<Self, Without>> {
        if let Some(no_result) = place.no_result()? {
            let reason = format!("{}: {}", words(&[no_result.status]), no_result.reason);
            return Ok(Err(match no_result.status {
                Status::Failed => Without::Failed(reason),
                Status::NotApplicable | Status::Unavailable => Without::NotTried(reason),
            }));
        }
        let all = place.trials()?;
        if all
            .iter()
            .any(|(_, trial)| trial.verdict == Verdict::Failed)
        {
            let row = Figures::read(place)?.context("there is a trial")?;
            return Ok(Err(Without::Failed(failure::of_row(&row))));
        }
        let (valid, invalid): (Vec<_>, Vec<_>) = all
            .into_iter()
            .partition(|(_, trial)| trial.verdict == Verdict::Valid);
        if valid.len() < LEAST_TRIALS {
            let reason = too_few(valid.len(), &invalid);
            return Ok(Err(if valid.is_empty() && invalid.is_empty() {
                Without::NotTried(reason)
            } else {
                Without::TooFew(reason)
            }));
        }
        let mut histograms = Vec::with_capacity(valid.len());
        for (number, trial) in &valid {
            histograms.push(response_times(&place.log(*number), trial, &mut |_| {})?);
        }
        let pool = Pool::new(&histograms);
        let samples: u64 = histograms.iter().map(Histogram::len).sum();
        let mut figures = Vec::new();
        let others = others.iter().copied().filter(|other| *other != rank);
        for rank in std::iter::once(rank).chain(others) {
            let estimate = match rank.percentile() {
                None => rate(&valid),
                // Too few answers for this percentile: it is left out.
                Some(percentile) if samples < percentile.least_samples() => continue,
                Some(percentile) => pool.estimate(percentile.quantile()),
            };
            // A ratio needs a figure above zero: where all answers of a trial came late it has no rate.
            if let Some(estimate) = estimate {
                figures.push((rank, estimate));
            }
        }
        let trials = || valid.iter().map(|(_, trial)| trial);
        let unanswered = trials().max_by_key(|trial| trial.connections_unanswered);
        Ok(Ok(Self {
            figures,
            starvation: unanswered.and_then(|trial| {
                failure::starvation(trial.connections_unanswered, trial.connections)
            }),
            generator_bound: trials().any(|trial| note::generator_bound(&trial.notes)),
        }))
    }
}

fn too_few(valid: usize, invalid: &[(usize, Trial)]) -> String {
    let causes = distinct(invalid.iter().flat_map(|(_, trial)| &trial.causes));
    let wrong = if causes.is_empty() {
        String::new()
    } else {
        format!(", {} INVALID ({})", invalid.len(), words(&causes))
    };
    format!("too few trials: {valid} VALID of at least {LEAST_TRIALS}{wrong}")
}

/// Answers a second over the time of all trials.
fn rate(trials: &[(usize, Trial)]) -> Option<Estimate> {
    Estimate::of(trials.len(), |weights| {
        let weighted = |figure: fn(&Trial) -> f64| -> f64 {
            let trials = trials.iter().zip(weights);
            trials
                .map(|((_, trial), weight)| figure(trial) * *weight as f64)
                .sum()
        };
        Some(weighted(|trial| trial.rate * trial.duration_s) / weighted(|trial| trial.duration_s))
    })
}

//! The highest open-loop rate that meets a goal such as `p99<1ms`.
//!
//! The rate is doubled until the goal is missed, or halved until it is met. Then the gap is bisected. Two trials
//! that agree decide on a rate, so that one lucky trial does not. INVALID trials do not count. One trial with
//! wrong answers decides against a rate.

use anyhow::bail;
use serde::Serialize;

use super::setup::{Conditions, Setup};
use crate::console::{self, Reader};
use crate::engine::observer::Interrupted;
use crate::recording::histogram::Quantiles;
use crate::recording::record::Recording;
use crate::report::failure;
use crate::report::numbers::{count, counted, figure};
use crate::results::trial::{SCHEMA_VERSION, Trial};
use crate::verdict::cause::{Cause, Verdict, with_remedies};
use crate::workload::goal::Goal;
use crate::workload::load::{Arrivals, Load, Workload};

/// After this many INVALID trials in a row a rate cannot be measured here.
const ATTEMPTS: usize = 3;
/// The highest rate of a schedule, requests a second.
const MOST: f64 = 1e9;

/// What is to be found, and how.
#[derive(Debug)]
pub struct Options {
    /// The load; its rate does not matter.
    pub workload: Workload,
    /// The machine and the server.
    pub conditions: Conditions,
    /// What a rate must meet.
    pub goal: Goal,
    /// The first rate, requests a second.
    pub from: f64,
    /// How requests are spaced.
    pub arrivals: Arrivals,
    /// How close the rates that meet and miss the goal must be at the end, as a share.
    pub precision: f64,
    /// Show a JSON object with all steps when it is done.
    pub json: bool,
}

/// How the search ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// With an answer.
    Answered,
    /// With one, but the server answered wrongly in a trial.
    Failed,
    /// With none: the trials were INVALID.
    Invalid,
    /// The user ended it.
    Interrupted,
    /// Nobody reads what it finds.
    Unread,
}

/// Nobody reads standard output.
#[derive(Debug, thiserror::Error)]
#[error("nobody reads what is found")]
struct Unread;

/// What a search found: what `--json` prints.
#[derive(Debug, Serialize)]
struct Answer {
    schema_version: u32,
    goal: String,
    /// The search came to its end. If it did not, only the steps are known.
    complete: bool,
    /// The highest rate that met the goal, requests a second; null: none did.
    rate: Option<f64>,
    /// The lowest rate that did not; null: every rate met it.
    above: Option<f64>,
    /// Why it did not.
    limit: Option<Limit>,
    /// Each trial, in order.
    steps: Vec<Step>,
}

/// What the limit was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Limit {
    /// The server missed the goal.
    Server,
    /// The trials were INVALID: the server may do more than could be measured.
    Measuring,
}

/// One trial.
#[derive(Debug, Serialize)]
struct Step {
    /// Requests a second that were asked for.
    rate: f64,
    verdict: Verdict,
    causes: Vec<Cause>,
    /// Answered a second in the measured time.
    answered: f64,
    /// Requests that failed, each of them slower than any limit.
    failed: u64,
    /// The figure of the goal, microseconds; null: it lies among the failed requests, or there is none.
    value_us: Option<f64>,
    /// Clients that were never answered.
    connections_unanswered: usize,
    met: bool,
    /// The verdict and why.
    #[serde(skip)]
    judged: String,
}

/// What a trial shows of a rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Vote {
    /// The server met the goal.
    Met,
    /// It missed the goal.
    Missed,
    /// It answered wrongly: the rate is missed, whatever another trial says.
    Wrong,
    /// Nothing: it could not be measured.
    Nothing,
}

impl Step {
    fn of(goal: &Goal, rate: f64, trial: &Trial, recording: &Recording) -> Self {
        let response = &recording.times.response;
        let times = Quantiles::with_failed(response, trial.failed_or_starved(), trial.timed_out);
        let value_us = times.figure(goal.figure);
        Self {
            rate,
            verdict: trial.verdict,
            causes: trial.causes.clone(),
            answered: trial.rate,
            failed: trial.failed,
            value_us,
            connections_unanswered: trial.connections_unanswered,
            met: trial.verdict != Verdict::Failed && trial.kept_up() && goal.is_met_by(value_us),
            judged: failure::of_trial(trial),
        }
    }

    /// `, 31 clients never answered`, if there are any.
    fn starved(&self) -> String {
        match self.connections_unanswered {
            0 => String::new(),
            clients => format!(", {} never answered", counted(clients as u64, "client")),
        }
    }

    /// What the trial shows of its rate. No answer counts against the server only if the generator kept up: at a
    /// rate that it cannot send, a good server may answer nothing in time.
    fn vote(&self) -> Vote {
        if self.causes.contains(&Cause::WrongAnswers) {
            Vote::Wrong
        } else if !self.causes.iter().all(|cause| cause.is_the_servers()) {
            Vote::Nothing
        } else if self.met {
            Vote::Met
        } else {
            Vote::Missed
        }
    }

    fn line(&self, goal: &Goal) -> String {
        let value = self
            .value_us
            .map_or_else(|| "n/a".to_owned(), |us| format!("{} us", figure(us)));
        let verdict = match self.verdict {
            Verdict::Valid if self.met => "met".to_owned(),
            Verdict::Valid if goal.is_met_by(self.value_us) => "missed: it fell behind".to_owned(),
            Verdict::Valid => "missed".to_owned(),
            _ => self.judged.clone(),
        };
        let failed = match self.failed {
            0 => String::new(),
            failed => format!(", {} failed", count(failed)),
        };
        format!(
            "{:>11} requests/s: {} answered{failed}, {} {value}: {verdict}{}",
            figure(self.rate),
            figure(self.answered),
            goal.figure.name(),
            self.starved()
        )
    }
}

/// What the trials of a rate decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decision {
    Met,
    Missed(Limit),
}

impl Options {
    /// Searches, and shows each trial in a line and the answer in the last.
    ///
    /// # Errors
    /// When the server cannot be reached, answers nothing at all or answers wrongly; when standard output cannot be
    /// written.
    pub fn run(&self) -> anyhow::Result<Ended> {
        match self.search() {
            Err(error) if error.is::<Unread>() => Ok(Ended::Unread),
            ended => ended,
        }
    }

    fn search(&self) -> anyhow::Result<Ended> {
        let mut workload = self.workload.clone();
        let mut setup = Setup::new(self.conditions, &mut workload)?;
        let mut steps = Vec::new();
        let mut trial = |rate: f64| -> anyhow::Result<Step> {
            workload.load = self.open(rate);
            workload.seed = workload.seed.wrapping_add(1);
            let (trial, recording) = setup.trial(&workload, &mut |_| {})?;
            Ok(Step::of(&self.goal, rate, &trial, &recording))
        };
        let mut decide = |rate: f64| {
            decide(|| {
                let step = trial(rate)?;
                if !self.json {
                    say(&step.line(&self.goal))?;
                }
                let vote = step.vote();
                let nothing_right = step.answered == 0.0;
                steps.push(step);
                if vote == Vote::Wrong && nothing_right {
                    bail!(
                        "{} gave no right answer: is --mode right?",
                        self.workload.target
                    );
                }
                Ok(vote)
            })
        };
        let least = self.least_rate();
        let found = search(self.from.max(least), least, self.precision, &mut decide);
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                if self.json {
                    say(&serde_json::to_string_pretty(&self.answer(None, steps))?)?;
                }
                if error.is::<Interrupted>() {
                    return Ok(Ended::Interrupted);
                }
                return Err(error);
            }
        };
        let is_mute = |step: &Step| step.causes.contains(&Cause::NoAnswer);
        if steps.iter().all(|step| step.answered == 0.0) && steps.iter().any(is_mute) {
            bail!("{} answered nothing", workload.target);
        }
        let answer = self.answer(Some(&found), steps);
        if self.json {
            say(&serde_json::to_string_pretty(&answer)?)?;
        } else if answer.limit != Some(Limit::Measuring) || answer.rate.is_some() {
            say(&self.conclusion(&answer, &workload))?;
        }
        let wrong = wrong(&answer.steps);
        if wrong > 0 && !self.json {
            say(&format!(
                "{} answered wrongly in {} of {}",
                workload.target,
                count(wrong),
                counted(answer.steps.len() as u64, "trial")
            ))?;
        }
        if answer.limit == Some(Limit::Measuring) && answer.rate.is_none() {
            let causes = answer.steps.iter().flat_map(|step| &step.causes);
            console::say(&format!(
                "loadgen: it could not be measured whether {} meets {}: {}",
                workload.target,
                answer.goal,
                with_remedies(causes)
            ));
            return Ok(Ended::Invalid);
        }
        Ok(if wrong > 0 {
            Ended::Failed
        } else {
            Ended::Answered
        })
    }

    /// What `--json` prints.
    fn answer(&self, found: Option<&Found>, steps: Vec<Step>) -> Answer {
        let missed = found.and_then(|found| found.missed);
        Answer {
            schema_version: SCHEMA_VERSION,
            goal: self.goal.to_string(),
            complete: found.is_some(),
            rate: found.and_then(|found| found.met),
            above: missed.map(|(rate, _)| rate),
            limit: missed.map(|(_, limit)| limit),
            steps,
        }
    }

    fn open(&self, rate: f64) -> Load {
        Load::Open {
            rate,
            arrivals: self.arrivals,
        }
    }

    /// The lowest rate at which a trial has enough requests for the goal's figure: five standard deviations of Poisson
    /// arrivals more than it needs.
    fn least_rate(&self) -> f64 {
        let needed = self.goal.figure.least_requests() as f64;
        (needed + 5.0 * needed.sqrt()) / self.workload.duration.as_secs_f64()
    }

    fn conclusion(&self, answer: &Answer, workload: &Workload) -> String {
        let (target, goal) = (&workload.target, &answer.goal);
        let found = match answer.rate {
            Some(rate) => format!("{target} meets {goal} at {} requests/s", figure(rate)),
            None => format!(
                "{target} does not meet {goal}, not even at {} requests/s; for lower rates give a --duration longer than \
                 {}: a trial has too few requests",
                figure(self.least_rate()),
                humantime::format_duration(workload.duration)
            ),
        };
        let met = answer
            .steps
            .iter()
            .filter(|step| Some(step.rate) == answer.rate);
        let met = met.max_by_key(|step| step.connections_unanswered);
        let found = found + &met.map(Step::starved).unwrap_or_default();
        match (answer.above, answer.limit) {
            (Some(above), Some(Limit::Server)) if answer.rate.is_some() => {
                format!("{found}, not at {}", figure(above))
            }
            (Some(above), Some(Limit::Measuring)) => {
                let steps = answer
                    .steps
                    .iter()
                    .filter(|step| Some(step.rate) == answer.above);
                format!(
                    "{found}; at {} the trials were INVALID, so the server may do more: {}",
                    figure(above),
                    with_remedies(steps.flat_map(|step| &step.causes))
                )
            }
            _ => found,
        }
    }
}

/// Prints a line. A search writes nothing to the disk, so it ends when nobody reads it.
fn say(line: &str) -> anyhow::Result<()> {
    match console::print(&format!("{line}\n"))? {
        Reader::Present => Ok(()),
        Reader::Gone => Err(Unread.into()),
    }
}

/// The trials in which the server answered wrongly.
fn wrong(steps: &[Step]) -> u64 {
    let wrong = steps.iter().filter(|step| step.vote() == Vote::Wrong);
    wrong.count() as u64
}

/// Runs trials until two agree, one has wrong answers, or [`ATTEMPTS`] in a row are INVALID.
fn decide(mut trial: impl FnMut() -> anyhow::Result<Vote>) -> anyhow::Result<Decision> {
    let (mut met, mut missed, mut in_vain) = (0, 0, 0);
    while in_vain < ATTEMPTS {
        let vote = trial()?;
        match vote {
            Vote::Met => met += 1,
            Vote::Missed => missed += 1,
            Vote::Wrong => missed = 2,
            Vote::Nothing => {}
        }
        in_vain = if vote == Vote::Nothing {
            in_vain + 1
        } else {
            0
        };
        if met == 2 {
            return Ok(Decision::Met);
        }
        if missed >= 2 {
            return Ok(Decision::Missed(Limit::Server));
        }
    }
    Ok(Decision::Missed(Limit::Measuring))
}

/// The ends of the gap in which the highest rate lies.
#[derive(Debug, PartialEq)]
struct Found {
    met: Option<f64>,
    missed: Option<(f64, Limit)>,
}

/// Doubles or halves the first rate until one rate meets the goal and one misses it. Then bisects the gap, on a
/// logarithmic scale, until it is no wider than `precision`.
fn search(
    from: f64,
    least: f64,
    precision: f64,
    decide: &mut impl FnMut(f64) -> anyhow::Result<Decision>,
) -> anyhow::Result<Found> {
    let mut found = Found {
        met: None,
        missed: None,
    };
    let mut rate = from;
    loop {
        match decide(rate)? {
            Decision::Met => found.met = Some(rate),
            Decision::Missed(limit) => found.missed = Some((rate, limit)),
        }
        rate = match (found.met, found.missed) {
            (Some(met), Some((missed, _))) if missed / met <= 1.0 + precision => break,
            (Some(met), Some((missed, _))) => (met * missed).sqrt(),
            (Some(met), None) if met >= MOST => break,
            (Some(met), None) => (met * 2.0).min(MOST),
            (None, _) if rate <= least => break,
            (None, _) => (rate / 2.0).max(least),
        };
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A search at a server of this capacity; the rates that were asked for.
    fn at(capacity: f64, from: f64, limit: Limit) -> (Found, usize) {
        let mut steps = 0;
        let found = search(from, 10.0, 0.05, &mut |rate| {
            steps += 1;
            Ok(if rate <= capacity {
                Decision::Met
            } else {
                Decision::Missed(limit)
            })
        });
        (found.unwrap(), steps)
    }

    #[test]
    fn the_gap_closes_on_the_capacity() {
        for capacity in [11.0, 100.0, 12_345.0, 9e8] {
            for from in [10.0, 1_000.0, 5e6] {
                let (found, steps) = at(capacity, from, Limit::Server);
                let (met, (missed, _)) = (found.met.unwrap(), found.missed.unwrap());
                assert!(met <= capacity && capacity < missed, "{found:?}");
                assert!(missed / met <= 1.05);
                assert!(steps < 40, "{steps}");
            }
        }
    }

    #[test]
    fn nothing_met_and_everything_met_end() {
        let (found, _) = at(1.0, 1_000.0, Limit::Measuring);
        assert_eq!(
            (found.met, found.missed),
            (None, Some((10.0, Limit::Measuring)))
        );
        let (found, _) = at(f64::INFINITY, 1_000.0, Limit::Server);
        assert_eq!((found.met, found.missed), (Some(MOST), None));
    }

    #[test]
    fn two_trials_decide() {
        let of = |trials: &[Vote]| {
            let mut trials = trials.iter();
            let decision = decide(|| Ok(*trials.next().expect("it is decided by now"))).unwrap();
            assert_eq!(trials.len(), 0);
            decision
        };
        let (met, missed, nothing) = (Vote::Met, Vote::Missed, Vote::Nothing);
        assert_eq!(of(&[met, met]), Decision::Met);
        assert_eq!(of(&[missed, met, nothing, nothing, met]), Decision::Met);
        assert_eq!(of(&[missed, met, missed]), Decision::Missed(Limit::Server));
        assert_eq!(of(&[met, Vote::Wrong]), Decision::Missed(Limit::Server));
        assert_eq!(of(&[nothing; 3]), Decision::Missed(Limit::Measuring));
    }
}

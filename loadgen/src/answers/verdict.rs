//! From trials to *holds here*, *does not hold here* or *undecided*. One rule for all claims.
//!
//! Each check has limits, which were fixed before the run, and the trials give it an interval. The check holds if
//! the whole interval lies within the limits. It does not hold if the whole interval lies outside. Otherwise it is
//! undecided. All intervals of a claim hold together with [`CONFIDENCE`] (Bonferroni). A claim holds if all of its
//! checks hold. It does not hold if one of them does not.

use std::fmt;

use serde::Serialize;

use super::checks::Check;
use super::file::{Claim, Experiment};
use super::measured::Measured;
use super::numbers::{found_text, shown};
use crate::stats::trials::Mean;

/// How sure all intervals of a claim are together.
const CONFIDENCE: f64 = 0.95;

/// What the trials say of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// All trials agree with it.
    Holds,
    /// They cannot tell.
    Undecided,
    /// They contradict it.
    Fails,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Holds => "holds here",
            Self::Undecided => "undecided",
            Self::Fails => "does not hold here",
        })
    }
}

/// A check and its result.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// What was looked at.
    pub check: Check,
    /// What was found; `None`: the trials do not say.
    pub found: Option<Mean>,
    /// Whether that is within the limits.
    pub verdict: Verdict,
    /// Why it is undecided.
    pub why: Option<String>,
}

/// A claim and its result.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The statement.
    pub claim: String,
    /// Its checks.
    pub checks: Vec<Judged>,
    /// The verdict that follows from them.
    pub verdict: Verdict,
    /// Why, with the figures.
    pub sentence: String,
}

/// Judges all claims of an experiment.
pub fn judge(experiment: &Experiment, measured: &Measured) -> Vec<Outcome> {
    let claims = experiment.answer.claim.iter();
    claims
        .map(|claim| outcome(claim, experiment, measured))
        .collect()
}

fn outcome(claim: &Claim, experiment: &Experiment, measured: &Measured) -> Outcome {
    let checks = claim.rule.checks(experiment, measured);
    let alpha = (1.0 - CONFIDENCE) / checks.len().max(1) as f64;
    let checks: Vec<Judged> = checks
        .into_iter()
        .map(|check| judged(check, alpha))
        .collect();
    let verdicts = checks.iter().map(|check| check.verdict);
    let mut verdict = verdicts.max().unwrap_or(Verdict::Undecided);
    let (least, cores) = (experiment.answer.least_cores, measured.head.cores);
    let sentence = if cores < least {
        verdict = Verdict::Undecided;
        format!("Undecided: this needs {least} cores, and this machine has {cores}.")
    } else {
        sentence(verdict, &checks)
    };
    Outcome {
        claim: claim.text.clone(),
        checks,
        verdict,
        sentence,
    }
}

fn judged(check: Check, alpha: f64) -> Judged {
    let (found, verdict, why) = match &check.values {
        Err(reason) => (None, Verdict::Undecided, Some(reason.clone())),
        Ok(values) => {
            let mean = if check.is_ratio {
                Mean::of_logs(values, alpha)
            } else {
                Mean::of(values, alpha)
            };
            match mean {
                None => {
                    let why = "the trials have no interval".to_owned();
                    (None, Verdict::Undecided, Some(why))
                }
                Some(mean) => {
                    let verdict = within(&check, &mean);
                    let why = (verdict == Verdict::Undecided)
                        .then(|| "the interval reaches across a limit".to_owned());
                    (Some(mean), verdict, why)
                }
            }
        }
    };
    Judged {
        check,
        found,
        verdict,
        why,
    }
}

fn within(check: &Check, mean: &Mean) -> Verdict {
    let low = check.at_least.unwrap_or(f64::NEG_INFINITY);
    let high = check.at_most.unwrap_or(f64::INFINITY);
    if mean.low >= low && mean.high <= high {
        Verdict::Holds
    } else if mean.high < low || mean.low > high {
        Verdict::Fails
    } else {
        Verdict::Undecided
    }
}

/// The verdict with the check that decided it.
fn sentence(verdict: Verdict, checks: &[Judged]) -> String {
    let mut same = checks.iter().filter(|check| check.verdict == verdict);
    let Some(first) = same.next() else {
        return "Undecided: nothing was measured.".to_owned();
    };
    let what = &first.check.what;
    let figures = match first.found {
        None => String::new(),
        Some(found) => format!(
            " is {}; the claim needs {}",
            found_text(&found),
            limits(&first.check)
        ),
    };
    let others = match (verdict, same.count()) {
        (_, 0) => String::new(),
        (Verdict::Holds, _) => format!(". All {} checks are within their limits", checks.len()),
        (_, more) => format!(". The same in {} of {} checks", more + 1, checks.len()),
    };
    let why = first
        .why
        .as_ref()
        .map_or(String::new(), |why| format!(": {why}"));
    let remark = checks.iter().find_map(|check| check.check.remark.as_ref());
    let remark = remark.map_or(String::new(), |remark| format!(" {remark}."));
    match verdict {
        Verdict::Holds => format!("Holds here: {what}{figures}{others}.{remark}"),
        Verdict::Fails => format!("Does not hold here: {what}{figures}{others}.{remark}"),
        Verdict::Undecided => format!("Undecided: {what}{figures}{why}{others}.{remark}"),
    }
}

/// The limits of a check, in words.
pub fn limits(check: &Check) -> String {
    match (check.at_least, check.at_most) {
        (Some(low), Some(high)) => format!("{} to {}", shown(low), shown(high)),
        (Some(low), None) => format!("at least {}", shown(low)),
        (None, Some(high)) => format!("at most {}", shown(high)),
        (None, None) => "any value".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge_values(values: Result<&[f64], &str>, limits: (f64, f64)) -> Judged {
        let check = Check {
            what: "a / b".to_owned(),
            values: values.map(<[f64]>::to_vec).map_err(str::to_owned),
            is_ratio: true,
            at_least: Some(limits.0),
            at_most: Some(limits.1),
            predicts: None,
            remark: None,
        };
        judged(check, 0.05)
    }

    const TRIALS: [f64; 5] = [0.98, 1.0, 1.02, 0.99, 1.01];

    #[test]
    fn the_interval_decides() {
        for (limits, verdict) in [
            ((0.9, 1.1), Verdict::Holds),
            ((1.2, 1.5), Verdict::Fails),
            ((0.5, 0.9), Verdict::Fails),
            // It reaches from 0.98 to 1.02.
            ((1.0, 1.5), Verdict::Undecided),
        ] {
            let judged = judge_values(Ok(&TRIALS), limits);
            assert_eq!(judged.verdict, verdict, "{limits:?}: {judged:?}");
        }
    }

    #[test]
    fn what_cannot_be_said_is_undecided_and_why() {
        for values in [Ok(&TRIALS[..2]), Ok(&[0.0; 5][..]), Err("INVALID")] {
            let judged = judge_values(values, (0.0, 9.0));
            assert_eq!(judged.verdict, Verdict::Undecided);
            assert!(judged.why.is_some(), "{judged:?}");
        }
        let said = sentence(
            Verdict::Undecided,
            &[judge_values(Err("two trials are INVALID"), (0.0, 9.0))],
        );
        assert_eq!(said, "Undecided: a / b: two trials are INVALID.");
    }

    #[test]
    fn a_sentence_has_the_figures_that_decided() {
        let good = judge_values(Ok(&TRIALS), (0.9, 1.1));
        let bad = judge_values(Ok(&TRIALS), (1.2, 1.5));
        let said = sentence(Verdict::Fails, &[good.clone(), bad]);
        assert_eq!(
            said,
            "Does not hold here: a / b is 1.00 (0.980 to 1.02); the claim needs 1.20 to 1.50."
        );
        let said = sentence(Verdict::Holds, &[good.clone(), good]);
        assert!(
            said.ends_with("All 2 checks are within their limits."),
            "{said}"
        );
    }
}

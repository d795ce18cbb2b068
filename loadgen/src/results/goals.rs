//! Whether a trial meets the goals of its run.

use hdrhistogram::Histogram;

use crate::recording::histogram::Quantiles;
use crate::results::trial::{GoalResult, Trial};
use crate::workload::requirement::Requirement;

/// What the trial, with these response times, says of each requirement. A failed request is slower than any limit, so a
/// reset makes no percentile better. So is the request of a client that was never answered.
pub fn judge(
    requirements: &[Requirement],
    trial: &Trial,
    response: &Histogram<u64>,
) -> Vec<GoalResult> {
    let failed = trial.failed_or_starved();
    let scheduled = trial.scheduled + (failed - trial.failed);
    let times = Quantiles::with_failed(response, failed, trial.timed_out);
    let of = |requirement: &Requirement| match requirement {
        Requirement::Time(goal) => {
            let value = times.figure(goal.figure);
            let enough = times.count >= goal.figure.least_requests();
            GoalResult {
                goal: goal.to_string(),
                value_us: value,
                failed_share: None,
                met: enough.then(|| goal.is_met_by(value)),
            }
        }
        Requirement::Failed { share, bound } => {
            let failed = (scheduled > 0).then(|| failed as f64 / scheduled as f64);
            GoalResult {
                goal: requirement.to_string(),
                value_us: None,
                failed_share: failed,
                met: failed.map(|failed| bound.allows(failed, *share)),
            }
        }
    };
    requirements.iter().map(of).collect()
}

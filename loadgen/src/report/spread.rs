//! A figure of several trials, and how far apart they are.

/// The spread, either way, that is assumed where there is one trial. Rates of the same server differ by 10 to 30 %
/// from run to run on a virtual machine.
pub const ASSUMED_SPREAD: f64 = 0.15;

/// A figure of several trials, and how it differs between them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// A percentile: of all trials together. Another figure, or a percentile without histograms: the median of the
    /// trials.
    pub value: f64,
    /// The smallest value of a trial.
    pub least: f64,
    /// The greatest value of a trial.
    pub most: f64,
    /// The 95 % confidence interval, from five VALID trials on: see [`crate::stats::bootstrap`].
    pub interval: Option<(f64, f64)>,
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

    /// Half of the interval as a share of the value; without an interval, half of the range.
    pub fn relative(&self) -> f64 {
        let (low, high) = self.range();
        if self.value > 0.0 {
            (high - low) / 2.0 / self.value
        } else {
            0.0
        }
    }

    /// The interval; without one, the range.
    fn range(&self) -> (f64, f64) {
        self.interval.unwrap_or((self.least, self.most))
    }

    /// Whether the intervals of two rows do not overlap.
    pub fn apart_from(&self, other: Self) -> bool {
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

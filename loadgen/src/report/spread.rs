//! A figure of several trials, and how far apart they are.

/// With one trial there is no spread; rows that differ by less than this share either way are then
/// not told apart: rates of the same server differ by 10 to 30 % from run to run on a virtual machine.
pub const ASSUMED_SPREAD: f64 = 0.15;

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

    /// Whether two rows differ by more than their trials do among themselves.
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

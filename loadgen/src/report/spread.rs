//! A figure of several trials, and how far apart they are.

use crate::stats::moderated::Logs;

/// A figure of several trials, and how it differs between them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// A percentile: of all trials together. Another figure, or a percentile without histograms: the median of the
    /// trials.
    pub value: f64,
    /// The smallest and the greatest value of a trial; `None` where a trial has too few samples for a percentile.
    pub range: Option<(f64, f64)>,
    /// The 95 % confidence interval, from five VALID trials on: see [`crate::stats::bootstrap`].
    pub interval: Option<(f64, f64)>,
    /// The trials, for [`crate::stats::moderated`]; `None` if one is not above zero.
    pub logs: Option<Logs>,
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
            range: Some((*values.first()?, *values.last()?)),
            interval: None,
            logs: Logs::of(values),
        })
    }

    /// Half of the interval as a share of the value; without an interval, half of the range, if there is one.
    pub fn relative(&self) -> Option<f64> {
        let (low, high) = self.interval.or(self.range)?;
        Some(if self.value > 0.0 {
            (high - low) / 2.0 / self.value
        } else {
            0.0
        })
    }
}

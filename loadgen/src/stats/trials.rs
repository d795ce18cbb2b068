//! The mean of a figure over trials, with Student's interval.
//!
//! One trial gives one value, whatever the figure is: a ratio, a slope, a share of what a formula says. So nothing is
//! assumed about the samples within a trial.

use super::bootstrap::LEAST_TRIALS;
use super::students_t::quantile;

/// A mean over trials.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mean {
    /// The mean.
    pub value: f64,
    /// The lower end of its interval.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl Mean {
    /// The mean of these values, and the interval that holds it with a confidence of `1 - alpha`. `None` with fewer than
    /// [`LEAST_TRIALS`].
    pub fn of(values: &[f64], alpha: f64) -> Option<Self> {
        if values.len() < LEAST_TRIALS {
            return None;
        }
        let n = values.len() as f64;
        let value = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|x| (x - value).powi(2)).sum();
        let reach = quantile(alpha, values.len() - 1) * (squares / (n - 1.0) / n).sqrt();
        Some(Self {
            value,
            low: value - reach,
            high: value + reach,
        })
    }

    /// The same on logarithms, as it is right for ratios. `None` also when a value is not above zero.
    pub fn of_logs(values: &[f64], alpha: f64) -> Option<Self> {
        let logs: Vec<f64> = values.iter().map(|x| x.ln()).collect();
        let mean = Self::of(&logs, alpha).filter(|mean| mean.value.is_finite())?;
        Some(Self {
            value: mean.value.exp(),
            low: mean.low.exp(),
            high: mean.high.exp(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_that_of_the_textbook() {
        // Five values, t(4; 0.975) = 2.776, standard error sqrt(2.5 / 5).
        let mean = Mean::of(&[1.0, 2.0, 3.0, 4.0, 5.0], 0.05).unwrap();
        let reach = 2.776_445 * 0.5_f64.sqrt();
        assert!((mean.value - 3.0).abs() < 1e-12);
        assert!((mean.high - mean.low - 2.0 * reach).abs() < 1e-5);
        let logs = Mean::of_logs(&[1.0, 10.0, 100.0], 0.05).unwrap();
        assert!((logs.value - 10.0).abs() < 1e-9);
        assert!((logs.low * logs.high - 100.0).abs() < 1e-6);
    }

    #[test]
    fn two_trials_and_zeros_say_nothing() {
        assert_eq!(Mean::of(&[1.0, 2.0], 0.05), None);
        assert_eq!(Mean::of_logs(&[1.0, 2.0, 0.0], 0.05), None);
    }
}

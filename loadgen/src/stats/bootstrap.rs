//! How sure a figure of several trials is.
//!
//! Whole trials are resampled. The samples within a trial are correlated, and so are its seconds: they share a
//! process, its memory layout and what else the machine did. One trial shows nothing about the next process. So
//! with fewer than [`LEAST_TRIALS`] there is no interval, since it would be too narrow. (A. C. Davison, D. V.
//! Hinkley, *Bootstrap Methods and their Application*, 1997, section 3.8, find the same for nested data: resample
//! the outer level, keep the inner one whole. T. Kalibera, R. Jones, *Quantifying Performance Changes with Effect
//! Size Confidence Intervals*, 2012, apply it to the ratio of two benchmarks.)
//!
//! With so few trials an interval from the percentiles of a bootstrap is too narrow, and cannot have 99 %. So the
//! bootstrap only gives the standard error, corrected by `sqrt(n / (n - 1))`, and Student's t widens the interval for
//! the small number (T. C. Hesterberg, *What Teachers Should Know about the Bootstrap*, The American Statistician
//! 69(4), 2015, sections 3.2 and 5). All is computed on logarithms: a ratio becomes a difference, and its interval
//! cannot reach below zero.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::students_t::interval;
use crate::recording::histogram::DIGITS;

/// With fewer trials there is no interval.
pub const LEAST_TRIALS: usize = 3;
/// The number of resamples. It gives the standard error to about 1 / sqrt(2 * 2000) = 1.6 %.
const RESAMPLES: usize = 2000;
/// A fixed seed: the same trials give the same interval.
const SEED: u64 = 1;

/// A figure of several trials together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The figure.
    pub value: f64,
    /// The standard error of its logarithm.
    pub error: f64,
    /// The trials.
    pub trials: usize,
}

impl Estimate {
    /// Estimates a figure of all trials together. `figure` computes it, given how many times each trial counts.
    ///
    /// `None` with fewer than [`LEAST_TRIALS`], or when a figure is not above zero.
    pub fn of(trials: usize, figure: impl Fn(&[u64]) -> Option<f64>) -> Option<Self> {
        if trials < LEAST_TRIALS {
            return None;
        }
        let log = |weights: &[u64]| figure(weights).map(f64::ln).filter(|log| log.is_finite());
        let value = log(&vec![1; trials])?;
        let mut rng = StdRng::seed_from_u64(SEED);
        let (mut sum, mut squares) = (0.0, 0.0);
        for _ in 0..RESAMPLES {
            let mut weights = vec![0; trials];
            for _ in 0..trials {
                weights[rng.random_range(0..trials)] += 1;
            }
            let distance = log(&weights)? - value;
            sum += distance;
            squares += distance * distance;
        }
        let resamples = RESAMPLES as f64;
        let variance = (squares - sum * sum / resamples) / (resamples - 1.0);
        let n = trials as f64;
        // All trials may fall in the same bucket of a histogram. Then the figure is as uncertain as the bucket is
        // wide.
        let bucket = 10_f64.powi(-i32::from(DIGITS));
        let error = (variance.max(0.0) * n / (n - 1.0) + bucket * bucket / 12.0).sqrt();
        Some(Self {
            value: value.exp(),
            error,
            trials,
        })
    }

    /// The interval that holds the figure with a confidence of `1 - alpha`.
    pub fn interval(&self, alpha: f64) -> (f64, f64) {
        interval(self.value, self.error, self.trials - 1, alpha)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The mean of the trials that count.
    fn mean(values: &[f64]) -> Option<Estimate> {
        Estimate::of(values.len(), |weights| {
            let sum: f64 = values.iter().zip(weights).map(|(x, w)| x * *w as f64).sum();
            Some(sum / values.len() as f64)
        })
    }

    #[test]
    fn the_error_of_a_mean_is_the_closed_form() {
        // Close to each other, so that the error of the logarithm is the relative error of the mean.
        let values = [100.0, 101.0, 99.0, 100.5, 99.2, 100.9];
        let n = values.len() as f64;
        let centre = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|x| (x - centre).powi(2)).sum();
        let error = (squares / (n - 1.0) / n).sqrt() / centre;
        let estimate = mean(&values).unwrap();
        assert!((estimate.value - centre).abs() < 1e-9);
        assert!(
            (estimate.error / error - 1.0).abs() < 0.05,
            "{estimate:?} {error}"
        );
    }

    #[test]
    fn equal_trials_are_as_sure_as_a_bucket_is_narrow() {
        let estimate = mean(&[7.0; 3]).unwrap();
        assert!((estimate.error - 1e-3 / 12_f64.sqrt()).abs() < 1e-9);
    }

    #[test]
    fn two_trials_are_too_few() {
        assert_eq!(mean(&[1.0, 2.0]), None);
    }

    #[test]
    fn zero_has_no_ratio() {
        assert_eq!(mean(&[1.0, 2.0, -3.0]), None);
    }
}

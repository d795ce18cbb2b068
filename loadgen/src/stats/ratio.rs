//! Whether two figures of several trials differ, and by how much.

use super::bootstrap::Estimate;
use super::students_t::{interval, outside};

/// One figure divided by another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ratio {
    /// The ratio.
    pub value: f64,
    error: f64,
    freedom: usize,
}

impl Ratio {
    /// `b / a`, from trials that are independent of each other.
    pub fn of(b: &Estimate, a: &Estimate) -> Self {
        let part = |estimate: &Estimate| {
            let variance = estimate.error.powi(2);
            (variance, variance.powi(2) / (estimate.trials as f64 - 1.0))
        };
        let ((variance_b, share_b), (variance_a, share_a)) = (part(b), part(a));
        let variance = variance_a + variance_b;
        // By Welch and Satterthwaite. Rounding down widens the interval.
        let freedom = variance.powi(2) / (share_a + share_b);
        Self {
            value: b.value / a.value,
            error: variance.sqrt(),
            freedom: (freedom as usize).max(1),
        }
    }

    /// The chance that the ratio is at least this far from 1 if there is no difference.
    pub fn p_value(&self) -> f64 {
        outside(self.value.ln().abs() / self.error, self.freedom)
    }

    /// The interval that holds the ratio with a confidence of `1 - alpha`.
    pub fn interval(&self, alpha: f64) -> (f64, f64) {
        interval(self.value, self.error, self.freedom, alpha)
    }
}

#[cfg(test)]
mod tests {
    use hdrhistogram::Histogram;
    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use rand_distr::{Distribution, LogNormal};

    use super::*;
    use crate::stats::holm::holm;
    use crate::stats::pool::Pool;

    /// The mean of the trials that count.
    fn mean(values: &[f64]) -> Option<Estimate> {
        Estimate::of(values.len(), |weights| {
            let sum: f64 = values.iter().zip(weights).map(|(x, w)| x * *w as f64).sum();
            Some(sum / values.len() as f64)
        })
    }

    #[test]
    fn an_interval_excludes_one_exactly_when_holm_rejects() {
        let a = mean(&[100.0, 101.0, 99.0]).unwrap();
        let ratios: Vec<Ratio> = (0..40)
            .map(|step| {
                let by = 1.0 + f64::from(step) * 0.01;
                Ratio::of(&mean(&[100.0 * by, 102.0 * by, 99.5 * by]).unwrap(), &a)
            })
            .collect();
        let p_values: Vec<f64> = ratios.iter().map(Ratio::p_value).collect();
        let chances = holm(&p_values, 0.01);
        let mut shown = 0;
        for ((ratio, p), chance) in ratios.iter().zip(&p_values).zip(chances) {
            let (low, high) = ratio.interval(chance);
            assert_eq!(*p <= chance, low > 1.0 || high < 1.0, "{ratio:?}");
            shown += usize::from(*p <= chance);
        }
        assert!((1..40).contains(&shown), "{shown}");
    }

    /// Of 200 pairs of `n` trials whose times spread by `spread` from trial to trial, the share whose 99th
    /// percentiles are told apart at `alpha`.
    fn told_apart(n: usize, spread: f64, ratio: f64, alpha: f64) -> f64 {
        const PAIRS: usize = 200;
        let mut rng = StdRng::seed_from_u64(11);
        let between = LogNormal::new(0.0, spread).unwrap();
        let within = LogNormal::new(0.0, 0.2).unwrap();
        let mut side = |centre: f64| {
            let mut trial = || {
                let centre = centre * between.sample(&mut rng);
                let mut trial = Histogram::new_with_bounds(1, 1 << 20, 2).unwrap();
                for _ in 0..200 {
                    let time = centre * within.sample(&mut rng);
                    trial.record(time as u64).unwrap();
                }
                trial
            };
            let trials: Vec<Histogram<u64>> = (0..n).map(|_| trial()).collect();
            Pool::new(&trials).estimate(0.99).unwrap()
        };
        let apart =
            (0..PAIRS).filter(|_| Ratio::of(&side(1e4 * ratio), &side(1e4)).p_value() <= alpha);
        apart.count() as f64 / PAIRS as f64
    }

    #[test]
    fn chance_tells_equals_apart_as_seldom_as_it_says() {
        // 5 %, and three standard errors of a share of 200.
        let share = told_apart(3, 0.05, 1.0, 0.05);
        assert!(share < 0.05 + 0.047, "{share}");
    }

    #[test]
    fn a_difference_is_found() {
        let share = told_apart(5, 0.02, 1.5, 0.01);
        assert!(share > 0.95, "{share}");
    }
}

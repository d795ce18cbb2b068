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
    use crate::stats::pool::Pool;

    /// The mean of the trials that count.
    fn mean(values: &[f64]) -> Option<Estimate> {
        Estimate::of(values.len(), |weights| {
            let sum: f64 = values.iter().zip(weights).map(|(x, w)| x * *w as f64).sum();
            Some(sum / values.len() as f64)
        })
    }

    #[test]
    fn an_interval_excludes_one_exactly_when_its_p_value_is_below_its_chance() {
        const CHANCE: f64 = 0.01 / 40.0;
        let a = mean(&[100.0, 101.0, 99.0]).unwrap();
        let mut shown = 0;
        for step in 0..40 {
            let by = 1.0 + f64::from(step) * 0.05;
            let ratio = Ratio::of(&mean(&[100.0 * by, 102.0 * by, 99.5 * by]).unwrap(), &a);
            let (low, high) = ratio.interval(CHANCE);
            let p = ratio.p_value();
            assert_eq!(p <= CHANCE, low > 1.0 || high < 1.0, "{ratio:?}");
            shown += usize::from(p <= CHANCE);
        }
        assert!((1..40).contains(&shown), "{shown}");
    }

    /// Of 500 comparisons of `figures` ratios: the share in which any interval misses its ratio. The two sides have
    /// `n` trials each, whose spread differs by `uneven` between the sides.
    fn any_missed(figures: usize, n: usize, uneven: f64, chance: f64) -> f64 {
        const COMPARISONS: usize = 500;
        const RATIO: f64 = 1.2;
        let mut rng = StdRng::seed_from_u64(13);
        // The error of a mean in closed form. That the bootstrap finds it has a test of its own.
        let mut side = |centre: f64, spread: f64| {
            let trial = LogNormal::new(centre.ln(), spread).unwrap();
            let logs: Vec<f64> = (0..n).map(|_| trial.sample(&mut rng).ln()).collect();
            let mean = logs.iter().sum::<f64>() / n as f64;
            let squares: f64 = logs.iter().map(|log| (log - mean).powi(2)).sum();
            Estimate {
                value: mean.exp(),
                error: (squares / (n as f64 - 1.0) / n as f64).sqrt(),
                trials: n,
            }
        };
        let missed = (0..COMPARISONS).filter(|_| {
            (0..figures).any(|_| {
                let ratio = Ratio::of(&side(RATIO, 0.05 * uneven), &side(1.0, 0.05));
                let (low, high) = ratio.interval(chance);
                low > RATIO || high < RATIO
            })
        });
        missed.count() as f64 / COMPARISONS as f64
    }

    #[test]
    fn all_intervals_hold_together() {
        // 1 %, and three standard errors of a share of 500.
        for (figures, n, uneven) in [
            (1, 5, 1.0),
            (60, 3, 1.0),
            (60, 5, 1.0),
            (60, 10, 1.0),
            (60, 5, 2.0),
        ] {
            let share = any_missed(figures, n, uneven, 0.01 / figures as f64);
            assert!(share < 0.01 + 0.0134, "{figures} {n} {uneven}: {share}");
        }
        // Each at 99 % alone, they do not.
        assert!(any_missed(60, 10, 1.0, 0.01) > 0.2);
    }

    /// Of 200 pairs of `n` trials whose times spread by `spread` from trial to trial, the share whose 99th
    /// percentiles show a difference at `alpha`.
    fn share_apart(n: usize, spread: f64, ratio: f64, alpha: f64) -> f64 {
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
    fn equals_differ_as_seldom_as_it_says() {
        // 5 %, and three standard errors of a share of 200.
        let share = share_apart(3, 0.05, 1.0, 0.05);
        assert!(share < 0.05 + 0.047, "{share}");
    }

    #[test]
    fn a_difference_is_found() {
        let share = share_apart(5, 0.02, 1.5, 0.01);
        assert!(share > 0.95, "{share}");
    }
}

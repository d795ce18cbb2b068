//! How sure a figure of several trials is, and whether two such figures differ.
//!
//! What is resampled is the trial, whole: the samples within one are correlated, and so are its
//! seconds, as they share a process, its memory layout and what else the machine did. All blocks of
//! a single trial together say nothing about how the next process would fare, so with fewer than
//! [`LEAST_TRIALS`] there is no interval rather than one that is too narrow. (A. C. Davison,
//! D. V. Hinkley, *Bootstrap Methods and their Application*, 1997, section 3.8, find the same for
//! nested data: resample the outer level, keep the inner one whole. T. Kalibera, R. Jones,
//! *Quantifying Performance Changes with Effect Size Confidence Intervals*, 2012, apply it to the
//! ratio of two benchmarks.)
//!
//! With so few trials the percentiles of a bootstrap are too narrow, and reach 99 % not at all. So the
//! bootstrap gives the standard error, corrected by `sqrt(n / (n - 1))`, and Student's t what the small
//! number costs (T. C. Hesterberg, *What Teachers Should Know about the Bootstrap*, The American
//! Statistician 69(4), 2015, sections 3.2 and 5). All is done on logarithms: a ratio becomes a difference,
//! and its interval cannot reach below zero.

use hdrhistogram::Histogram;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::recording::record::DIGITS;

/// With fewer trials there is no interval.
pub const LEAST_TRIALS: usize = 3;
/// Resamples: the standard error is known to about 1 / sqrt(2 * 2000) = 1.6 % of itself.
const RESAMPLES: usize = 2000;
/// The same trials give the same interval.
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
    /// Estimates what `figure` says of all trials together. It is given the number of times that each
    /// trial counts.
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
        // Three trials may fall in the same bucket of a histogram: the figure is then known as well as
        // the bucket is narrow, not exactly.
        let bucket = 10_f64.powi(-i32::from(DIGITS));
        let error = (variance.max(0.0) * n / (n - 1.0) + bucket * bucket / 12.0).sqrt();
        Some(Self {
            value: value.exp(),
            error,
            trials,
        })
    }

    /// The bounds between which the figure lies, but for a chance of `alpha`.
    pub fn interval(&self, alpha: f64) -> (f64, f64) {
        interval(self.value, self.error, self.trials - 1, alpha)
    }
}

/// How many times the one figure the other is.
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
        // Welch and Satterthwaite; rounded down, which widens the interval.
        let freedom = variance.powi(2) / (share_a + share_b);
        Self {
            value: b.value / a.value,
            error: variance.sqrt(),
            freedom: (freedom as usize).max(1),
        }
    }

    /// The chance that the ratio is as far from 1 as this when there is no difference.
    pub fn p_value(&self) -> f64 {
        outside(self.value.ln().abs() / self.error, self.freedom)
    }

    /// The bounds between which the ratio lies, but for a chance of `alpha`.
    pub fn interval(&self, alpha: f64) -> (f64, f64) {
        interval(self.value, self.error, self.freedom, alpha)
    }
}

fn interval(value: f64, error: f64, freedom: usize, alpha: f64) -> (f64, f64) {
    let reach = (quantile(alpha, freedom) * error).exp();
    (value / reach, value * reach)
}

/// The chance that each of several comparisons is given, so that all of them together are wrong with a
/// chance of at most `alpha`: a comparison shows a difference where its p-value is at most that, and
/// its interval at that chance then excludes 1.
///
/// S. Holm, *A Simple Sequentially Rejective Multiple Test Procedure*, Scandinavian Journal of Statistics
/// 6(2), 1979.
pub fn holm(p_values: &[f64], alpha: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|&i, &j| p_values[i].total_cmp(&p_values[j]));
    let mut chances = vec![0.0; p_values.len()];
    let mut left = p_values.len();
    for at in order {
        chances[at] = alpha / left as f64;
        // From the first that shows nothing on, none does.
        if p_values[at] <= chances[at] {
            left -= 1;
        }
    }
    chances
}

/// The chance that Student's t is beyond `t` on either side. M. Abramowitz, I. A. Stegun, *Handbook of
/// Mathematical Functions*, 1964, 26.7.3 and 26.7.4.
fn outside(t: f64, freedom: usize) -> f64 {
    let (sin, cos) = (t / (freedom as f64).sqrt()).atan().sin_cos();
    let odd = freedom % 2;
    let (mut term, mut sum) = (1.0, 0.0);
    for k in 0..freedom / 2 {
        sum += term;
        let k = (2 * k + odd) as f64;
        term *= (k + 1.0) / (k + 2.0) * cos * cos;
    }
    let inside = if odd == 1 {
        let angle = sin.atan2(cos);
        (angle + sin * cos * sum) * std::f64::consts::FRAC_2_PI
    } else {
        sin * sum
    };
    (1.0 - inside).max(0.0)
}

/// The t beyond which Student's t is on either side with a chance of `alpha`.
fn quantile(alpha: f64, freedom: usize) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    while outside(high, freedom) > alpha {
        high *= 2.0;
    }
    // As many halvings as a float has digits.
    for _ in 0..f64::MANTISSA_DIGITS {
        let middle = f64::midpoint(low, high);
        if outside(middle, freedom) > alpha {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

/// The histograms of several trials, to be merged again and again, each counting any number of times.
#[derive(Debug, Clone)]
pub struct Pool {
    /// The values that occur, ascending.
    values: Vec<u64>,
    /// For each trial, its samples up to and with each of the values.
    cumulative: Vec<Vec<u64>>,
}

impl Pool {
    /// Of these histograms, a trial each, which have the same bounds.
    pub fn new(trials: &[Histogram<u64>]) -> Self {
        let recorded = trials.iter().flat_map(Histogram::iter_recorded);
        let mut values: Vec<u64> = recorded.map(|step| step.value_iterated_to()).collect();
        values.sort_unstable();
        values.dedup();
        let cumulative = |trial: &Histogram<u64>| {
            let mut steps = trial.iter_recorded().peekable();
            let mut sum = 0;
            let up_to = values.iter().map(|&value| {
                if let Some(step) = steps.next_if(|step| step.value_iterated_to() == value) {
                    sum += step.count_at_value();
                }
                sum
            });
            up_to.collect()
        };
        Self {
            cumulative: trials.iter().map(cumulative).collect(),
            values,
        }
    }

    /// The trials.
    pub fn trials(&self) -> usize {
        self.cumulative.len()
    }

    /// What [`Histogram::value_at_quantile`] says of all trials merged, each as often as its weight says.
    pub fn value_at_quantile(&self, quantile: f64, weights: &[u64]) -> Option<u64> {
        let up_to = |at: usize| -> u64 {
            let trials = self.cumulative.iter().zip(weights);
            trials.map(|(trial, weight)| trial[at] * weight).sum()
        };
        let all = up_to(self.values.len().checked_sub(1)?);
        let wanted = ((quantile * all as f64).ceil() as u64).max(1);
        // The first value with so many samples up to it.
        let (mut low, mut high) = (0, self.values.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            if up_to(middle) < wanted {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        self.values.get(low).copied()
    }

    /// The quantile of all trials together, nanoseconds, and how sure it is.
    pub fn estimate(&self, quantile: f64) -> Option<Estimate> {
        Estimate::of(self.trials(), |weights| {
            Some(self.value_at_quantile(quantile, weights)? as f64)
        })
    }
}

#[cfg(test)]
mod tests {
    use rand_distr::{Distribution, LogNormal};

    use super::*;
    use crate::recording::record::histogram;

    /// The mean of the trials that count.
    fn mean(values: &[f64]) -> Option<Estimate> {
        Estimate::of(values.len(), |weights| {
            let sum: f64 = values.iter().zip(weights).map(|(x, w)| x * *w as f64).sum();
            Some(sum / values.len() as f64)
        })
    }

    #[test]
    fn students_t_is_that_of_the_tables() {
        for (freedom, alpha, t) in [
            (1, 0.05, 12.706_205),
            (2, 0.05, 4.302_653),
            (4, 0.01, 4.604_095),
            (5, 0.01, 4.032_143),
            (8, 0.01, 3.355_387),
            (30, 0.001, 3.645_959),
            (101, 0.05, 1.983_731),
        ] {
            assert!((quantile(alpha, freedom) - t).abs() < 2e-6, "{freedom}");
            assert!((outside(t, freedom) - alpha).abs() < 1e-6, "{freedom}");
        }
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

    #[test]
    fn holm_is_that_of_a_worked_example() {
        // Four hypotheses at 5 %: 0.005 <= 0.05/4 and 0.01 <= 0.05/3, but 0.03 > 0.05/2.
        let chances = holm(&[0.01, 0.04, 0.03, 0.005], 0.05);
        let expected = [0.05 / 3.0, 0.05 / 2.0, 0.05 / 2.0, 0.05 / 4.0];
        for (chance, expected) in chances.iter().zip(expected) {
            assert!((chance - expected).abs() < 1e-12, "{chances:?}");
        }
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

    #[test]
    fn a_pool_says_what_the_merged_histogram_says() {
        let mut rng = StdRng::seed_from_u64(5);
        let times = LogNormal::new(10.0, 1.0).unwrap();
        let trials: Vec<Histogram<u64>> = [1000, 1, 300]
            .map(|samples| {
                let mut trial = histogram();
                for _ in 0..samples {
                    trial.record(times.sample(&mut rng) as u64 + 1).unwrap();
                }
                trial
            })
            .into();
        let pool = Pool::new(&trials);
        for weights in [[1, 1, 1], [0, 3, 0], [2, 0, 1]] {
            let mut merged = histogram();
            for (trial, weight) in trials.iter().zip(weights) {
                for _ in 0..weight {
                    merged.add(trial).unwrap();
                }
            }
            for quantile in [0.0, 0.001, 0.5, 0.99, 0.999, 1.0] {
                let expected = merged.value_at_quantile(quantile);
                let found = pool.value_at_quantile(quantile, &weights).unwrap();
                assert!(merged.equivalent(found, expected), "{weights:?} {quantile}");
            }
        }
        assert_eq!(
            Pool::new(&[histogram(), histogram()]).value_at_quantile(0.5, &[1, 1]),
            None
        );
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

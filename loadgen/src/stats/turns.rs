//! The ratio of two figures that were measured in turns, A B B A, until it is known closely enough.
//!
//! A block A B B A gives one difference of logarithms, in which a machine that gets faster or slower at a steady pace
//! cancels out. The blocks are independent, so Student's t gives an interval of their mean.
//!
//! If one stops as soon as the interval is narrow enough, an ordinary interval is too optimistic: when it is
//! narrow by chance, it is more often wrong. So the interval is that of C. Stein, *A Two-Sample Test for a Linear
//! Hypothesis Whose Power is Independent of the Variance*, Annals of Mathematical Statistics 16(3), 1945: the
//! first blocks alone give the degrees of freedom, and the spread is theirs, or that of all blocks if it is
//! larger. When to stop depends on the spread alone and never on the mean, so the mean is not biased by it.

use super::bootstrap::LEAST_TRIALS;
use super::students_t::{interval, quantile};
use crate::recording::histogram::DIGITS;

/// The blocks of the first stage, after which it may stop.
const FIRST: usize = 10;

/// The differences of the blocks so far.
#[derive(Debug, Clone, Default)]
pub struct Turns {
    /// `ln B - ln A`, for each block.
    differences: Vec<f64>,
}

impl Turns {
    /// Adds a block: the mean of `ln B` minus that of `ln A`.
    pub fn push(&mut self, difference: f64) {
        self.differences.push(difference);
    }

    /// `B / A`; `None` without a block.
    pub fn ratio(&self) -> Option<f64> {
        let blocks = self.differences.len();
        (blocks > 0).then(|| mean(&self.differences).exp())
    }

    /// The interval that holds the ratio with a confidence of `1 - alpha`, whenever one stops. `None` with fewer than
    /// [`LEAST_TRIALS`] blocks.
    pub fn interval(&self, alpha: f64) -> Option<(f64, f64)> {
        let error = self.error()?;
        Some(interval(self.ratio()?, error, self.freedom(), alpha))
    }

    /// Whether one may stop because the interval reaches no further than the share `within` from the ratio.
    pub fn is_narrow(&self, within: f64, alpha: f64) -> bool {
        let reach = |error| quantile(alpha, self.freedom()) * error;
        self.differences.len() >= FIRST
            && self
                .error()
                .is_some_and(|error| reach(error) <= within.ln_1p())
    }

    /// An estimate of the number of blocks after which the interval will be this narrow; `None` before the first
    /// stage is over.
    pub fn needed(&self, within: f64, alpha: f64) -> Option<usize> {
        let blocks = self.differences.len();
        (blocks >= FIRST).then_some(())?;
        let error = quantile(alpha, self.freedom()) * self.error()?;
        let more = (error / within.ln_1p()).powi(2);
        Some(((blocks as f64 * more).ceil() as usize).max(blocks))
    }

    fn freedom(&self) -> usize {
        self.differences.len().min(FIRST) - 1
    }

    /// The standard error of the mean.
    fn error(&self) -> Option<f64> {
        let all = &self.differences[..];
        if all.len() < LEAST_TRIALS {
            return None;
        }
        let variance = variance(&all[..all.len().min(FIRST)]).max(variance(all));
        // Equal figures are as uncertain as a bucket of a histogram is wide.
        let bucket = 10_f64.powi(-i32::from(DIGITS));
        Some((variance / all.len() as f64 + bucket * bucket / 12.0).sqrt())
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn variance(values: &[f64]) -> f64 {
    let mean = mean(values);
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    squares / (values.len() as f64 - 1.0)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use rand_distr::{Distribution, Normal};

    use super::*;

    const ALPHA: f64 = 0.05;
    const WITHIN: f64 = 0.02;

    /// Of 4,000 sequences whose blocks have this spread and which stop when they are narrow or after `most` blocks:
    /// the share whose interval misses the ratio, and the mean number of blocks.
    fn missed(spread: f64, most: usize) -> (f64, f64) {
        const SEQUENCES: usize = 4000;
        const RATIO: f64 = 1.03;
        let mut rng = StdRng::seed_from_u64(17);
        let difference = Normal::new(RATIO.ln(), spread).unwrap();
        let (mut wrong, mut blocks) = (0, 0);
        for _ in 0..SEQUENCES {
            let mut turns = Turns::default();
            while turns.differences.len() < most && !turns.is_narrow(WITHIN, ALPHA) {
                turns.push(difference.sample(&mut rng));
            }
            blocks += turns.differences.len();
            let (low, high) = turns.interval(ALPHA).unwrap();
            wrong += usize::from(low > RATIO || high < RATIO);
        }
        let all = SEQUENCES as f64;
        (wrong as f64 / all, blocks as f64 / all)
    }

    #[test]
    fn the_interval_holds_although_one_looks_after_each_block() {
        // 5 %, and three standard errors of a share of 4,000. The blocks: at once, after some, when the time is over.
        for (spread, most, least) in [
            (0.01, 1000, 10.0),
            (0.04, 1000, 18.0),
            (0.05, 1000, 30.0),
            (0.08, 1000, 80.0),
            (0.2, 25, 25.0),
            (0.03, 5, 5.0),
        ] {
            let (share, blocks) = missed(spread, most);
            assert!(share < ALPHA + 0.0104, "{spread}: {share}");
            assert!(blocks >= least, "{spread}: {blocks}");
        }
    }

    #[test]
    fn an_interval_that_is_narrow_is_no_wider_than_asked() {
        let mut rng = StdRng::seed_from_u64(19);
        let difference = Normal::new(0.0, 0.03).unwrap();
        let mut turns = Turns::default();
        let mut expected = None;
        while !turns.is_narrow(WITHIN, ALPHA) {
            turns.push(difference.sample(&mut rng));
            expected = expected.or(turns.needed(WITHIN, ALPHA));
        }
        let (ratio, (low, high)) = (turns.ratio().unwrap(), turns.interval(ALPHA).unwrap());
        assert!(high / ratio <= 1.0 + WITHIN + 1e-9 && ratio / low <= 1.0 + WITHIN + 1e-9);
        // The estimate is right if the later blocks spread as the first ones.
        let (expected, blocks) = (expected.unwrap(), turns.differences.len());
        assert!(
            (expected / 2..=2 * expected).contains(&blocks),
            "{expected} {blocks}"
        );
    }

    #[test]
    fn equal_blocks_are_as_sure_as_a_bucket_is_narrow_and_two_are_too_few() {
        let mut turns = Turns::default();
        assert_eq!((turns.ratio(), turns.interval(ALPHA)), (None, None));
        for _ in 0..2 {
            turns.push(0.1);
            assert_eq!(turns.interval(ALPHA), None);
        }
        turns.push(0.1);
        let (low, high) = turns.interval(ALPHA).unwrap();
        let reach = (4.302_653 * 1e-3 / 12_f64.sqrt()).exp();
        assert!((low * reach / 0.1_f64.exp() - 1.0).abs() < 1e-6, "{low}");
        assert!((high / reach / 0.1_f64.exp() - 1.0).abs() < 1e-6, "{high}");
        assert!(!turns.is_narrow(WITHIN, ALPHA), "ten come first");
    }
}

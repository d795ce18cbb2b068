//! How long requests take, by `--work` and `--block`: each the same, an exponential distribution, or a
//! share of them only.

use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_distr::Exp1;
use rand_pcg::Pcg64Mcg;

/// How long requests take.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Demand {
    /// The mean of those requests that demand something.
    pub mean: Duration,
    /// An exponential distribution: not all demand the same.
    pub is_exponential: bool,
    /// How many of the requests demand something: above 0, and 1 for all.
    pub share: f64,
}

/// `--work` and `--block` are drawn independently.
#[derive(Debug, Clone, Copy)]
pub enum Stream {
    /// For `--work`.
    Work = 0,
    /// For `--block`.
    Block = 1,
}

impl Demand {
    /// No request demands anything.
    pub fn is_none(self) -> bool {
        self.mean.is_zero()
    }

    /// All requests demand the same.
    pub fn is_constant(self) -> bool {
        self.is_none() || !self.is_exponential && self.share >= 1.0
    }

    /// What request `number` demands. It depends on nothing but the number and the stream, so the
    /// requests of all models and all runs demand the same, in the order in which they are answered.
    pub fn of(self, stream: Stream, number: u64) -> Duration {
        if self.is_constant() {
            return self.mean;
        }
        let mut random = Pcg64Mcg::seed_from_u64(number | (stream as u64) << 63);
        if !random.random_bool(self.share) {
            Duration::ZERO
        } else if self.is_exponential {
            self.mean.mul_f64(random.sample(Exp1))
        } else {
            self.mean
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNT: u64 = 100_000;

    const MEAN: Duration = Duration::from_micros(50);

    fn demand(is_exponential: bool, share: f64) -> Demand {
        Demand {
            mean: MEAN,
            is_exponential,
            share,
        }
    }

    /// In units of the mean.
    fn draws(demand: Demand) -> Vec<f64> {
        let draw = |number| demand.of(Stream::Work, number).div_duration_f64(MEAN);
        (0..COUNT).map(draw).collect()
    }

    fn mean(values: &[f64]) -> f64 {
        values.iter().sum::<f64>() / values.len() as f64
    }

    /// Within five standard errors: by chance it is further away once in two million times.
    fn assert_mean(values: &[f64], expected: f64, deviation: f64) {
        let error = deviation / (values.len() as f64).sqrt();
        let measured = mean(values);
        assert!(
            (measured - expected).abs() < 5.0 * error,
            "{measured}, expected {expected} +- {error}"
        );
    }

    #[test]
    fn what_is_constant_is_always_the_same() {
        let demand = demand(false, 1.0);
        assert!(demand.is_constant());
        for number in [0, 1, u64::MAX] {
            assert_eq!(demand.of(Stream::Block, number), MEAN);
        }
    }

    #[test]
    fn an_exponential_distribution_has_its_moments_and_its_tail() {
        let draws = draws(demand(true, 1.0));
        assert_mean(&draws, 1.0, 1.0);
        let squares: Vec<f64> = draws.iter().map(|x| x * x).collect();
        assert_mean(&squares, 2.0, 20_f64.sqrt());
        for limit in [0.1_f64, 1.0, 4.0] {
            let beyond = (-limit).exp();
            let above: Vec<f64> = draws.iter().map(|&x| f64::from(x > limit)).collect();
            assert_mean(&above, beyond, (beyond * (1.0 - beyond)).sqrt());
        }
        // Draws do not depend on each other.
        let products: Vec<f64> = draws
            .windows(2)
            .map(|w| (w[0] - 1.0) * (w[1] - 1.0))
            .collect();
        assert_mean(&products, 0.0, 1.0);
    }

    #[test]
    fn a_share_of_the_requests_demands_all_of_it() {
        let draws = draws(demand(false, 0.01));
        assert!(draws.iter().all(|x| [0.0, 1.0].contains(x)));
        assert_mean(&draws, 0.01, 0.0099_f64.sqrt());
    }

    #[test]
    fn work_and_block_are_independent_and_repeatable() {
        let demand = demand(true, 0.5);
        let both = |number| {
            let of = |stream| f64::from(u8::from(!demand.of(stream, number).is_zero()));
            of(Stream::Work) * of(Stream::Block)
        };
        let products: Vec<f64> = (0..COUNT).map(both).collect();
        assert_mean(&products, 0.25, 0.1875_f64.sqrt());
        let again = (0..COUNT).map(both);
        assert!(again.eq(products));
    }
}

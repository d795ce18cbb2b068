//! How long requests take, by `--work` and `--block`: each the same, an exponential distribution, or a
//! share of them only.

use std::str::FromStr;
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_distr::Exp1;
use rand_pcg::Pcg64Mcg;

use crate::options;

/// What requests demand: `50us`, `exp:50us`, `10ms@1%` or `exp:10ms@1%`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Demand {
    /// Of those requests that demand something.
    mean: Duration,
    is_exponential: bool,
    /// How many of the requests demand something: above 0, and 1 for all.
    share: f64,
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

impl FromStr for Demand {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (time, share) = match text.split_once('@') {
            Some((time, share)) => (time, percent(share)?),
            None => (text, 1.0),
        };
        let exponential = time.strip_prefix("exp:");
        let mean = options::duration(exponential.unwrap_or(time)).map_err(|error| {
            format!("{error}; or exp:50us for an exponential distribution, 10ms@1% for a share")
        })?;
        Ok(Self {
            mean,
            is_exponential: exponential.is_some(),
            share,
        })
    }
}

fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').and_then(|n| n.trim().parse().ok());
    let right = number.filter(|percent: &f64| *percent > 0.0 && *percent <= 100.0);
    right
        .map(|percent| percent / 100.0)
        .ok_or_else(|| "expected a share above 0% and up to 100% after @, such as 10ms@1%".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNT: u64 = 100_000;

    fn demand(text: &str) -> Demand {
        text.parse()
            .unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    /// In units of `mean`.
    fn draws(text: &str, mean: Duration) -> Vec<f64> {
        let demand = demand(text);
        let draw = |number| demand.of(Stream::Work, number).div_duration_f64(mean);
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
        for (text, time) in [("50us", 50), ("1ms@100%", 1000), ("0", 0)] {
            let demand = demand(text);
            assert!(demand.is_constant());
            for number in [0, 1, u64::MAX] {
                assert_eq!(
                    demand.of(Stream::Block, number),
                    Duration::from_micros(time)
                );
            }
        }
        assert!(demand("0").is_none());
    }

    #[test]
    fn an_exponential_distribution_has_its_moments_and_its_tail() {
        let draws = draws("exp:50us", Duration::from_micros(50));
        assert_mean(&draws, 1.0, 1.0);
        let squares: Vec<f64> = draws.iter().map(|x| x * x).collect();
        assert_mean(&squares, 2.0, 20_f64.sqrt());
        for limit in [0.1_f64, 1.0, 4.0] {
            let beyond = (-limit).exp();
            let above: Vec<f64> = draws.iter().map(|&x| f64::from(x > limit)).collect();
            assert_mean(&above, beyond, (beyond * (1.0 - beyond)).sqrt());
        }
        // One draw says nothing of the next.
        let products: Vec<f64> = draws
            .windows(2)
            .map(|w| (w[0] - 1.0) * (w[1] - 1.0))
            .collect();
        assert_mean(&products, 0.0, 1.0);
    }

    #[test]
    fn a_share_of_the_requests_demands_all_of_it() {
        let draws = draws("10ms@1%", Duration::from_millis(10));
        assert!(draws.iter().all(|x| [0.0, 1.0].contains(x)));
        assert_mean(&draws, 0.01, 0.0099_f64.sqrt());
    }

    #[test]
    fn work_and_block_are_independent_and_repeatable() {
        let demand = demand("exp:50us@50%");
        let both = |number| {
            let of = |stream| f64::from(u8::from(!demand.of(stream, number).is_zero()));
            of(Stream::Work) * of(Stream::Block)
        };
        let products: Vec<f64> = (0..COUNT).map(both).collect();
        assert_mean(&products, 0.25, 0.1875_f64.sqrt());
        let again = (0..COUNT).map(both);
        assert!(again.eq(products));
    }

    #[test]
    fn nonsense_is_refused() {
        for wrong in [
            "",
            "5",
            "exp:",
            "exp",
            "exp:0x",
            "50us@",
            "50us@1",
            "50us@0%",
            "50us@101%",
            "50us@-1%",
            "50us@NaN%",
            "@1%",
            "norm:50us",
            "50us@1%@1%",
            "exp:exp:50us",
            "-1ms",
        ] {
            assert!(wrong.parse::<Demand>().is_err(), "{wrong:?}");
        }
    }
}

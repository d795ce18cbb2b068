//! The percentiles of the response time that are reported.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A percentile has at least this many samples beyond it. With fewer it would show single requests and not the
/// server: the p99.99 of 10,000 requests is their second longest time.
const LEAST_BEYOND: f64 = 10.0;

/// A percentile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names are the field's own")]
pub enum Percentile {
    #[serde(rename = "p50")]
    P50,
    #[serde(rename = "p75")]
    P75,
    #[serde(rename = "p90")]
    P90,
    #[serde(rename = "p95")]
    P95,
    #[serde(rename = "p99")]
    P99,
    #[serde(rename = "p99.9")]
    P999,
    #[serde(rename = "p99.99")]
    P9999,
}

impl Percentile {
    /// All percentiles, in ascending order.
    pub const ALL: [Self; 7] = [
        Self::P50,
        Self::P75,
        Self::P90,
        Self::P95,
        Self::P99,
        Self::P999,
        Self::P9999,
    ];
    /// Those of a bench's table, unless others were asked for.
    pub const OF_A_BENCH: [Self; 4] = [Self::P50, Self::P90, Self::P99, Self::P999];

    /// Such as `p99.9`.
    pub fn name(self) -> &'static str {
        match self {
            Self::P50 => "p50",
            Self::P75 => "p75",
            Self::P90 => "p90",
            Self::P95 => "p95",
            Self::P99 => "p99",
            Self::P999 => "p99.9",
            Self::P9999 => "p99.99",
        }
    }

    /// The share of the samples up to it.
    pub fn quantile(self) -> f64 {
        1.0 - self.share_beyond()
    }

    fn share_beyond(self) -> f64 {
        match self {
            Self::P50 => 0.5,
            Self::P75 => 0.25,
            Self::P90 => 0.1,
            Self::P95 => 0.05,
            Self::P99 => 0.01,
            Self::P999 => 0.001,
            Self::P9999 => 0.0001,
        }
    }

    /// The fewest samples that have ten beyond it.
    pub fn least_samples(self) -> u64 {
        (LEAST_BEYOND / self.share_beyond()).round() as u64
    }
}

impl FromStr for Percentile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let number = text.strip_prefix('p').unwrap_or(text);
        let known = Self::ALL.map(|known| &known.name()[1..]);
        let found = Self::ALL
            .into_iter()
            .zip(known)
            .find(|(_, known)| *known == number);
        found.map(|(found, _)| found).ok_or_else(|| {
            format!(
                "there is no percentile `{text}`; there are {}",
                known.join(", ")
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_samples_are_beyond_it_and_not_with_one_sample_less() {
        for percentile in Percentile::ALL {
            let beyond = |samples: u64| {
                samples - (percentile.quantile() * samples as f64 - 1e-6).ceil() as u64
            };
            let least = percentile.least_samples();
            assert_eq!(
                (beyond(least), beyond(least - 1)),
                (10, 9),
                "{percentile:?}"
            );
        }
    }

    #[test]
    fn names_are_read_with_and_without_the_p() {
        for percentile in Percentile::ALL {
            assert_eq!(percentile.name().parse(), Ok(percentile));
            assert_eq!(percentile.name()[1..].parse(), Ok(percentile));
        }
        assert_eq!(
            "97".parse::<Percentile>().unwrap_err(),
            "there is no percentile `97`; there are 50, 75, 90, 95, 99, 99.9, 99.99"
        );
    }
}

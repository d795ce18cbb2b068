//! What a response time must be below, such as `p99<1ms`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::results::trial::Quantiles;

/// `p99<1ms`
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Goal {
    /// What is to be below it.
    pub of: Of,
    /// The time.
    pub limit: Duration,
}

/// A figure of the response time.
#[derive(Debug, Clone, Copy)]
pub struct Of {
    /// Such as `p99`.
    pub name: &'static str,
    /// Microseconds.
    pub read: fn(&Quantiles) -> Option<f64>,
    /// With fewer requests it would be no more than the slowest of them.
    pub least_requests: u32,
}

const FIGURES: [Of; 9] = [
    of("p50", |times| times.p50, 2),
    of("p75", |times| times.p75, 4),
    of("p90", |times| times.p90, 10),
    of("p95", |times| times.p95, 20),
    of("p99", |times| times.p99, 100),
    of("p99.9", |times| times.p99_9, 1_000),
    of("p99.99", |times| times.p99_99, 10_000),
    of("max", |times| times.max, 1),
    of("mean", |times| times.mean, 1),
];

const fn of(name: &'static str, read: fn(&Quantiles) -> Option<f64>, least_requests: u32) -> Of {
    Of {
        name,
        read,
        least_requests,
    }
}

impl FromStr for Goal {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, limit) = text
            .split_once('<')
            .ok_or("must be FIGURE<TIME, such as p99<1ms")?;
        let known = FIGURES.map(|figure| figure.name).join(", ");
        let of = FIGURES
            .into_iter()
            .find(|figure| figure.name == name.trim())
            .ok_or_else(|| format!("there is no figure `{}`; there are {known}", name.trim()))?;
        match humantime::parse_duration(limit.trim()) {
            Ok(limit) if !limit.is_zero() => Ok(Self { of, limit }),
            Ok(_) => Err("no answer takes less than no time".to_owned()),
            Err(error) => Err(format!("{error}; give a time such as 1ms")),
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}<{}",
            self.of.name,
            humantime::format_duration(self.limit)
        )
    }
}

impl PartialEq for Of {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Goal {
    /// Whether these times meet it; those of no request do not.
    pub fn is_met_by(&self, times: &Quantiles) -> bool {
        (self.of.read)(times).is_some_and(|us| us < self.limit.as_secs_f64() * 1e6)
    }
}

impl<'de> Deserialize<'de> for Goal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse()
            .map_err(|error| D::Error::custom(format!("`{text}`: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_are_read_and_shown() {
        let goal: Goal = "p99.9 < 1500us".parse().unwrap();
        assert_eq!(goal.of.name, "p99.9");
        assert_eq!(goal.limit, Duration::from_micros(1500));
        assert_eq!("p99<1ms".parse::<Goal>().unwrap().to_string(), "p99<1ms");
        for (text, hint) in [
            ("p99", "p99<1ms"),
            ("p98<1ms", "there is no figure `p98`; there are p50"),
            ("p99<1", "such as 1ms"),
            ("p99<0s", "no time"),
        ] {
            let error = text.parse::<Goal>().unwrap_err();
            assert!(error.contains(hint), "{text}: {error}");
        }
    }
}

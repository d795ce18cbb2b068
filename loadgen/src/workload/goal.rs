//! What a response time must be below, such as `p99<1ms`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::percentile::Percentile;

/// A limit for one figure of the response time, such as `p99<1ms`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Goal {
    /// The figure that must be below the limit.
    pub figure: Figure,
    /// Whether the limit itself is allowed.
    pub bound: Bound,
    /// The limit.
    pub limit: Duration,
}

/// Whether a limit itself is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// `<`
    Below,
    /// `<=`
    AtMost,
}

impl Bound {
    /// Splits `p99 <= 5ms` into its parts.
    pub fn split(text: &str) -> Option<(&str, Self, &str)> {
        let (name, limit) = text.split_once('<')?;
        let (bound, limit) = match limit.strip_prefix('=') {
            Some(limit) => (Self::AtMost, limit),
            None => (Self::Below, limit),
        };
        Some((name.trim(), bound, limit.trim()))
    }

    /// Whether a value is within the limit.
    pub fn allows(self, value: f64, limit: f64) -> bool {
        match self {
            Self::Below => value < limit,
            Self::AtMost => value <= limit,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Below => "<",
            Self::AtMost => "<=",
        })
    }
}

/// A figure of the response time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the field's own")]
pub enum Figure {
    Percentile(Percentile),
    Max,
    Mean,
}

impl Figure {
    fn all() -> impl Iterator<Item = Self> {
        let percentiles = Percentile::ALL.into_iter().map(Self::Percentile);
        percentiles.chain([Self::Max, Self::Mean])
    }

    /// Such as `p99`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Percentile(percentile) => percentile.name(),
            Self::Max => "max",
            Self::Mean => "mean",
        }
    }

    /// The fewest requests for which there is such a figure.
    pub fn least_requests(self) -> u64 {
        match self {
            Self::Percentile(percentile) => percentile.least_samples(),
            Self::Max | Self::Mean => 1,
        }
    }
}

impl FromStr for Goal {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, bound, limit) =
            Bound::split(text).ok_or("must be FIGURE<TIME, such as p99<1ms")?;
        let known: Vec<&str> = Figure::all().map(Figure::name).collect();
        let known = known.join(", ");
        let figure = Figure::all()
            .find(|figure| figure.name() == name)
            .ok_or_else(|| format!("there is no figure `{name}`; there are {known}"))?;
        match humantime::parse_duration(limit) {
            Ok(limit) if !limit.is_zero() => Ok(Self {
                figure,
                bound,
                limit,
            }),
            Ok(_) => Err("the time must be above 0".to_owned()),
            Err(error) => Err(format!("{error}; give a time such as 1ms")),
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}{}{}",
            self.figure.name(),
            self.bound,
            humantime::format_duration(self.limit)
        )
    }
}

impl Goal {
    /// Whether a figure of this many microseconds meets it. `None`, the figure of no request, does not.
    pub fn is_met_by(&self, us: Option<f64>) -> bool {
        us.is_some_and(|us| self.bound.allows(us, self.limit.as_secs_f64() * 1e6))
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
        assert_eq!(goal.figure.name(), "p99.9");
        assert_eq!(goal.limit, Duration::from_micros(1500));
        assert_eq!("p99<1ms".parse::<Goal>().unwrap().to_string(), "p99<1ms");
        let at_most: Goal = "p50 <= 1ms".parse().unwrap();
        assert_eq!(at_most.to_string(), "p50<=1ms");
        assert!(at_most.is_met_by(Some(1000.0)) && !goal.is_met_by(Some(1500.0)));
        for (text, hint) in [
            ("p99", "p99<1ms"),
            ("p98<1ms", "there is no figure `p98`; there are p50"),
            ("p99<1", "such as 1ms"),
            ("p99<0s", "above 0"),
        ] {
            let error = text.parse::<Goal>().unwrap_err();
            assert!(error.contains(hint), "{text}: {error}");
        }
    }
}

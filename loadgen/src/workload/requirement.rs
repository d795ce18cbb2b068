//! What a run must meet: a limit for a response time, such as `p99<5ms`, or for the share of failed requests, such as
//! `failed<0.1%`.

use std::fmt;
use std::str::FromStr;

use super::goal::{Bound, Goal};

/// One condition of `--goal`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Requirement {
    /// Of the response time.
    Time(Goal),
    /// The share of requests that may fail.
    Failed {
        /// The limit, 0 to 1.
        share: f64,
        /// Whether the limit itself is allowed.
        bound: Bound,
    },
}

impl FromStr for Requirement {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((name, bound, limit)) = Bound::split(text) else {
            return Err("must be such as p99<5ms or failed<0.1%".to_owned());
        };
        if name != "failed" {
            return text.parse().map(Self::Time);
        }
        let (number, unit) = match limit.strip_suffix('%') {
            Some(percent) => (percent.trim(), 100.0),
            None => (limit, 1.0),
        };
        match number.parse::<f64>().map(|number| number / unit) {
            Ok(0.0) if bound == Bound::Below => {
                Err("no share is below 0: write failed<=0 to allow no failed request".to_owned())
            }
            Ok(share) if (0.0..=1.0).contains(&share) => Ok(Self::Failed { share, bound }),
            _ => Err(format!("`{limit}` is no share: give one such as 0.1%")),
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Time(goal) => goal.fmt(f),
            Self::Failed { share, bound } => write!(f, "failed{bound}{}%", share * 100.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requirements_are_read_and_shown() {
        for (text, shown) in [
            ("p99<5ms", "p99<5ms"),
            (" p99.9 <= 2ms ", "p99.9<=2ms"),
            ("failed<0.1%", "failed<0.1%"),
            ("failed <= 0", "failed<=0%"),
            ("failed<0.5", "failed<50%"),
        ] {
            let requirement: Requirement = text.parse().unwrap();
            assert_eq!(requirement.to_string(), shown);
        }
        for (text, hint) in [
            ("p99", "such as p99<5ms"),
            ("p98<5ms", "there is no figure `p98`"),
            ("failed<0", "failed<=0"),
            ("failed<2", "`2` is no share"),
            ("failed<-1%", "`-1%` is no share"),
            ("failed<nan", "`nan` is no share"),
            ("failed<5ms", "`5ms` is no share"),
            ("p99>5ms", "such as p99<5ms"),
        ] {
            let error = text.parse::<Requirement>().unwrap_err();
            assert!(error.contains(hint), "{text}: {error}");
        }
    }
}

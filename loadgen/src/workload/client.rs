//! How a client behaves: how long it waits, how long it uses a connection, and how long it thinks.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::course::LONGEST;

/// How a client behaves. By default it waits as long as it takes, keeps its connection, and does not think.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Client {
    /// A request that has no answer this long after it was due fails; `None`: it never fails for that.
    pub timeout: Option<Duration>,
    /// A connection that is not made within this time, TLS handshake included, fails; `None`: the kernel decides.
    pub connect_timeout: Option<Duration>,
    /// A connection gets this many requests and is then replaced; at least 1. `None`: any number.
    pub requests_per_connection: Option<u64>,
    /// A connection of this age is replaced as soon as nothing is in flight on it; `None`: it has no such age.
    pub connection_age: Option<Duration>,
    /// The time between an answer and the next request of a closed loop; `None`: there is none.
    pub think: Option<Think>,
}

impl Client {
    /// Which of these settings does not fit to an open or closed loop, and why.
    ///
    /// # Errors
    /// The name of the setting and the reason.
    pub fn check(
        &self,
        is_open: bool,
        pipeline: usize,
        connection_per_request: bool,
    ) -> Result<(), (&'static str, &'static str)> {
        if self.think.is_some() && is_open {
            return Err((
                "think",
                "in an open loop the schedule says when requests are due",
            ));
        }
        if self.think.is_some() && pipeline > 1 {
            return Err((
                "think",
                "a client that thinks has one request in flight: leave out the pipeline",
            ));
        }
        if connection_per_request {
            const REASON: &str = "each request has its own connection already";
            if self.requests_per_connection.is_some() {
                return Err(("requests_per_connection", REASON));
            }
            if self.connection_age.is_some() {
                return Err(("connection_age", REASON));
            }
        }
        Ok(())
    }
}

/// A client's time between an answer and its next request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Think {
    /// Always the same.
    Constant(Duration),
    /// Exponential, with this mean.
    Exponential(Duration),
}

impl Think {
    /// The time that a random number stands for, nanoseconds.
    pub fn time(self, random: u64) -> u64 {
        match self {
            Self::Constant(time) => nanos(time),
            Self::Exponential(mean) => (-unit(random).ln() * mean.as_nanos() as f64) as u64,
        }
    }

    /// What is left of the time of a client that began to think at a random moment, nanoseconds.
    pub fn rest(self, random: u64) -> u64 {
        match self {
            Self::Constant(time) => (unit(random) * time.as_nanos() as f64) as u64,
            // It has no memory.
            Self::Exponential(_) => self.time(random),
        }
    }
}

/// A number above 0, and at most 1.
fn unit(random: u64) -> f64 {
    const STEPS: u32 = f64::MANTISSA_DIGITS;
    ((random >> (u64::BITS - STEPS)) + 1) as f64 / (1_u64 << STEPS) as f64
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl FromStr for Think {
    type Err = String;

    /// `5ms` or `exp:5ms`; a number alone is seconds.
    fn from_str(text: &str) -> Result<Self, String> {
        let (time, is_exponential) = match text.strip_prefix("exp:") {
            Some(mean) => (mean, true),
            None => (text, false),
        };
        let seconds = time.parse::<u32>().map(u64::from).map(Duration::from_secs);
        let time = seconds
            .or_else(|_| humantime::parse_duration(time))
            .map_err(|error| format!("{error}; give a time such as 5ms or exp:5ms"))?;
        if time.is_zero() || time > LONGEST {
            return Err("must be above 0 and a year at most".to_owned());
        }
        Ok(if is_exponential {
            Self::Exponential(time)
        } else {
            Self::Constant(time)
        })
    }
}

impl fmt::Display for Think {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Constant(time) => humantime::format_duration(*time).fmt(f),
            Self::Exponential(mean) => write!(f, "exp:{}", humantime::format_duration(*mean)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEAN: Duration = Duration::from_millis(5);

    #[test]
    fn think_times_are_read_and_shown() {
        for (text, think, shown) in [
            ("5ms", Think::Constant(MEAN), "5ms"),
            ("exp:5ms", Think::Exponential(MEAN), "exp:5ms"),
            ("2", Think::Constant(Duration::from_secs(2)), "2s"),
        ] {
            assert_eq!(text.parse(), Ok(think));
            assert_eq!(think.to_string(), shown);
        }
        for (text, hint) in [
            ("", "such as 5ms"),
            ("exp:", "such as 5ms"),
            ("normal:5ms", "such as 5ms"),
            ("0s", "above 0"),
            ("exp:0", "above 0"),
            ("2years", "a year at most"),
        ] {
            let error = text.parse::<Think>().unwrap_err();
            assert!(error.contains(hint), "{text}: {error}");
        }
    }

    #[test]
    fn the_least_and_the_greatest_number_have_a_time() {
        let think = Think::Exponential(MEAN);
        assert_eq!(think.time(u64::MAX), 0);
        // 53 bits give 53 ln 2 times the mean at most.
        let most = 53.0 * std::f64::consts::LN_2 * MEAN.as_nanos() as f64;
        assert!((think.time(0) as f64 - most).abs() <= 1.0);
        assert!(Think::Constant(MEAN).rest(u64::MAX) <= nanos(MEAN));
    }

    #[test]
    fn settings_that_do_not_fit_are_named() {
        let thinks = Client {
            think: Some(Think::Constant(MEAN)),
            ..Client::default()
        };
        let turns = Client {
            requests_per_connection: Some(10),
            ..Client::default()
        };
        let ages = Client {
            connection_age: Some(MEAN),
            ..Client::default()
        };
        let named = |client: Client, is_open, pipeline, per_request| {
            let checked = client.check(is_open, pipeline, per_request);
            checked.err().map(|(name, _)| name)
        };
        assert_eq!(named(thinks, false, 1, true), None);
        assert_eq!(named(thinks, true, 1, false), Some("think"));
        assert_eq!(named(thinks, false, 2, false), Some("think"));
        assert_eq!(named(turns, true, 2, false), None);
        assert_eq!(named(turns, true, 1, true), Some("requests_per_connection"));
        assert_eq!(named(ages, true, 1, true), Some("connection_age"));
    }
}

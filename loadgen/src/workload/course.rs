//! How the rate of an open loop changes while it runs: stages, such as `0-2000/30s,2000/1m`, or recorded arrivals.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};

/// The longest warm-up, measured time or drain: the instants of a trial must fit in 64 bits of nanoseconds.
pub const LONGEST: Duration = Duration::from_hours(365 * 24);
/// The highest rate, requests a second: the schedule counts whole nanoseconds.
pub const HIGHEST_RATE: f64 = 1e9;

/// How the rate changes.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Course {
    /// Not at all.
    #[default]
    Steady,
    /// In stages; there is at least one.
    Stages(Vec<Stage>),
    /// As it was recorded: the instants, nanoseconds from the first; there is at least one.
    Recorded(Arc<[u64]>),
}

impl Course {
    /// How long it lasts; `None`: it has no end of its own. A recording lasts until its last request was due, in
    /// whole milliseconds.
    pub fn length(&self) -> Option<Duration> {
        match self {
            Self::Steady => None,
            Self::Stages(stages) => Some(stages.iter().map(|stage| stage.length).sum()),
            Self::Recorded(instants) => {
                let last = instants.last().copied().unwrap_or_default();
                Some(Duration::from_millis(last / 1_000_000 + 1))
            }
        }
    }

    /// The requests in it, on average; 0 if it has no end of its own.
    pub fn requests(&self) -> f64 {
        match self {
            Self::Steady => 0.0,
            Self::Stages(stages) => stages.iter().map(Stage::requests).sum(),
            Self::Recorded(instants) => instants.len() as f64,
        }
    }

    /// The stages; none where the rate does not change in stages.
    pub fn stages(&self) -> &[Stage] {
        match self {
            Self::Stages(stages) => stages,
            Self::Steady | Self::Recorded(_) => &[],
        }
    }
}

/// A part of a load whose rate changes evenly.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stage {
    /// The rate at its beginning, requests a second.
    pub from: f64,
    /// The rate at its end, requests a second.
    pub to: f64,
    /// How long it lasts.
    pub length: Duration,
}

impl Stage {
    /// The requests in it, on average.
    pub fn requests(&self) -> f64 {
        f64::midpoint(self.from, self.to) * self.length.as_secs_f64()
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.from)?;
        if self.from.to_bits() != self.to.to_bits() {
            write!(f, "-{}", self.to)?;
        }
        write!(f, "/{}", humantime::format_duration(self.length))
    }
}

impl FromStr for Stage {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (rates, length) = text
            .split_once('/')
            .ok_or("a stage is RATE/TIME or FROM-TO/TIME, such as 0-2000/30s")?;
        let rate = |text: &str| match text.trim().parse::<f64>() {
            Ok(rate) if (0.0..=HIGHEST_RATE).contains(&rate) => Ok(rate),
            _ => Err(format!(
                "`{}` is no rate from 0 to {HIGHEST_RATE:e} a second",
                text.trim()
            )),
        };
        let (from, to) = match rates.split_once('-') {
            Some((from, to)) => (rate(from)?, rate(to)?),
            None => (rate(rates)?, rate(rates)?),
        };
        let length = humantime::parse_duration(length.trim())
            .map_err(|error| format!("`{}`: {error}", length.trim()))?;
        if length.is_zero() {
            return Err(format!("`{text}` lasts no time"));
        }
        Ok(Self { from, to, length })
    }
}

/// Reads stages that are separated by commas.
///
/// # Errors
/// What is wrong with which stage; a load without any request; more than a year.
pub fn parse_stages(text: &str) -> Result<Course, String> {
    let stages = text
        .split(',')
        .map(|stage| stage.trim().parse())
        .collect::<Result<Vec<Stage>, String>>()?;
    let length = stages
        .iter()
        .try_fold(Duration::ZERO, |sum, stage| sum.checked_add(stage.length));
    if length.is_none_or(|length| length > LONGEST) {
        return Err("all stages together last a year at most".to_owned());
    }
    if stages.iter().map(Stage::requests).sum::<f64>() < 1.0 {
        return Err("the stages have no request at all".to_owned());
    }
    Ok(Course::Stages(stages))
}

/// Reads recorded arrival times: seconds, one a line, in ascending order, from any beginning. Empty lines and those
/// that begin with `#` are skipped. The load is `speed` times as fast as the recording.
///
/// # Errors
/// Which line is no time or earlier than the one before.
pub fn parse_recording(text: &str, speed: f64) -> anyhow::Result<Arc<[u64]>> {
    let mut times: Vec<i128> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let time = nanos(line).ok_or_else(|| {
            anyhow!("line {number}: `{line}` is no time in seconds, such as 12.5")
        })?;
        ensure!(
            times.last().is_none_or(|last| *last <= time),
            "line {number}: {line} is earlier than the time before it: sort the file"
        );
        times.push(time);
    }
    let first = *times.first().context("there are no times in it")?;
    let longest = LONGEST.as_nanos() as f64;
    times
        .iter()
        .map(|time| {
            let at = (time - first) as f64 / speed;
            ensure!(at <= longest, "it lasts longer than a year");
            Ok(at as u64)
        })
        .collect()
}

/// A decimal number of seconds as nanoseconds. Seconds since 1970 in an `f64` would be exact to 200 ns only.
fn nanos(text: &str) -> Option<i128> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || whole.len() > 18 || !digits(whole) || !digits(fraction) {
        return None;
    }
    let fraction: String = fraction
        .chars()
        .chain("000000000".chars())
        .take(9)
        .collect();
    Some(whole.parse::<i128>().ok()? * 1_000_000_000 + fraction.parse::<i128>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_are_read_and_shown() {
        let course = parse_stages("0-2000/30s, 2000/1m,2000-20000/2m").unwrap();
        assert_eq!(course.length(), Some(Duration::from_secs(210)));
        let stages = course.stages();
        let shown: Vec<String> = stages.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["0-2000/30s", "2000/1m", "2000-20000/2m"]);
        let requests: Vec<u64> = stages.iter().map(|stage| stage.requests() as u64).collect();
        assert_eq!(requests, [30_000, 120_000, 1_320_000]);
        for (text, hint) in [
            ("2000", "such as 0-2000/30s"),
            ("", "such as 0-2000/30s"),
            ("5/1s,", "such as 0-2000/30s"),
            ("-5/1s", "`` is no rate"),
            ("5-x/1s", "`x` is no rate"),
            ("nan/1s", "`nan` is no rate"),
            ("1e10/1s", "no rate from 0 to 1e9"),
            ("5/0s", "lasts no time"),
            ("5/5", "time unit needed"),
            ("0/5s", "no request at all"),
            ("5/300days,5/300days", "a year at most"),
        ] {
            let error = parse_stages(text).unwrap_err();
            assert!(error.contains(hint), "{text}: {error}");
        }
    }

    #[test]
    fn recordings_begin_with_their_first_time() {
        let text = "# of yesterday\n1700000000.000000001\n\n1700000000.5\n1700000002\n";
        let instants = parse_recording(text, 1.0).unwrap();
        assert_eq!(*instants, [0, 499_999_999, 1_999_999_999]);
        assert_eq!(
            *parse_recording("1\n2\n4\n", 2.0).unwrap(),
            [0, 500_000_000, 1_500_000_000]
        );
        for (text, hint) in [
            ("", "no times in it"),
            ("1\nsoon\n", "line 2: `soon` is no time"),
            ("-1\n", "line 1"),
            ("5\n4\n", "line 2: 4 is earlier"),
            ("0\n40000000\n", "longer than a year"),
        ] {
            let error = format!("{:#}", parse_recording(text, 1.0).unwrap_err());
            assert!(error.contains(hint), "{text}: {error}");
        }
    }
}

//! The values of flags, from text.

use std::fmt::Display;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::SignedDuration;
use jiff::civil::{DateTime, Time};
use nix::sched::CpuSet;

use crate::workload::course::LONGEST;
use crate::workload::flags::values::parse_duration;
use crate::workload::percentile::Percentile;

fn parse<T: FromStr<Err: Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error| format!("{error}"))
}

/// An address to listen at: `HOST:PORT` with a numeric host, `:PORT` or `PORT`.
pub fn parse_listener(text: &str) -> Result<SocketAddr, String> {
    let port = text.strip_prefix(':').unwrap_or(text);
    if let Ok(port) = port.parse() {
        return Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    }
    text.parse()
        .map_err(|_| "must be a port or ADDRESS:PORT, such as 9100 or 0.0.0.0:9100".to_owned())
}

/// Percentiles, such as `50,95,99.9`, in ascending order.
#[derive(Debug, Clone)]
pub struct Percentiles(pub Vec<Percentile>);

/// Those of a trial's table.
pub const OF_RUN: &str = "50,75,90,99,99.9,99.99";

impl Percentiles {
    /// Those of a trial's table.
    pub fn of_run() -> Self {
        parse_percentiles(OF_RUN).expect("it is a list of percentiles")
    }
}

pub fn parse_percentiles(text: &str) -> Result<Percentiles, String> {
    let mut percentiles: Vec<Percentile> =
        text.split(',').map(str::parse).collect::<Result<_, _>>()?;
    percentiles.sort_unstable();
    percentiles.dedup();
    Ok(Percentiles(percentiles))
}

/// A share, in percent.
pub fn parse_percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim();
    match number.parse::<f64>() {
        Ok(percent) if percent > 0.0 && percent.is_finite() => Ok(percent / 100.0),
        _ => Err("must be above 0, such as 5%".to_owned()),
    }
}

/// A time at which several generators start, also one that has passed. `+10s`: see [`next_mark`].
pub fn parse_start(text: &str) -> Result<SystemTime, String> {
    let now = SystemTime::now();
    let time = match text.strip_prefix('+') {
        None => instant(text)?,
        Some(ahead) => match parse_duration(ahead)? {
            ahead if ahead < Duration::from_secs(1) => return Err("must be at least +1s".into()),
            ahead => next_mark(now, ahead),
        },
    };
    if time < UNIX_EPOCH {
        return Err("is before 1970".to_owned());
    }
    match time.duration_since(now) {
        Ok(ahead) if ahead > LONGEST => Err("is more than a year ahead".to_owned()),
        _ => Ok(time),
    }
}

/// The first multiple of `ahead` since 1970 that is at least that far away: processes that ask within a short time
/// get the same one, unless a multiple lies between them.
fn next_mark(now: SystemTime, ahead: Duration) -> SystemTime {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let step = ahead.as_nanos();
    let mark = (since.as_nanos() + step).div_ceil(step) * step;
    UNIX_EPOCH + Duration::from_nanos(u64::try_from(mark).unwrap_or(u64::MAX))
}

/// Seconds since 1970, or RFC 3339.
fn instant(text: &str) -> Result<SystemTime, &'static str> {
    if let Ok(seconds) = text.parse::<f64>() {
        let since = Duration::try_from_secs_f64(seconds).ok();
        let time = since.and_then(|since| UNIX_EPOCH.checked_add(since));
        return time.ok_or("is no time since 1970");
    }
    rfc3339(text).ok_or(
        "must be seconds since 1970, or a date, time and zone: 2030-01-31T12:00:00Z or 2030-01-31T13:00:00.5+01:00",
    )
}

/// A date, time and zone as RFC 3339 writes them. Digits behind the nanoseconds do not count.
fn rfc3339(text: &str) -> Option<SystemTime> {
    let (local, ahead) = if let Some(local) = text.strip_suffix(['Z', 'z']) {
        (local, SignedDuration::ZERO)
    } else {
        let (local, zone) = text.split_at_checked(text.len().checked_sub("+00:00".len())?)?;
        (local, ahead_of_utc(zone)?)
    };
    let (seconds, fraction) = local.split_once('.').unwrap_or((local, "0"));
    let is_number = !fraction.is_empty() && fraction.bytes().all(|byte| byte.is_ascii_digit());
    if !has_form(seconds, "0000-00-00T00:00:00") || !is_number {
        return None;
    }
    let nanoseconds = format!("{fraction:0<9.9}").parse().ok()?;
    let whole: DateTime = seconds.parse().ok()?;
    let since = whole.duration_since(DateTime::constant(1970, 1, 1, 0, 0, 0, 0)) - ahead
        + SignedDuration::from_nanos(nanoseconds);
    if since.is_negative() {
        UNIX_EPOCH.checked_sub(since.unsigned_abs())
    } else {
        UNIX_EPOCH.checked_add(since.unsigned_abs())
    }
}

/// How far the clocks of a zone such as `-04:30` are ahead of UTC.
fn ahead_of_utc(zone: &str) -> Option<SignedDuration> {
    let behind = zone.starts_with('-');
    let time = zone.strip_prefix(['+', '-'])?;
    if !has_form(time, "00:00") {
        return None;
    }
    // It allows hours up to 23 and minutes up to 59, as RFC 3339 does.
    let time: Time = time.parse().ok()?;
    let ahead = time.duration_since(Time::midnight());
    Some(if behind { -ahead } else { ahead })
}

/// Whether a text has a digit for each `0` of a form, and its other characters where they are.
fn has_form(text: &str, form: &str) -> bool {
    let fits = |(found, wanted): (u8, u8)| match wanted {
        b'0' => found.is_ascii_digit(),
        b'T' => matches!(found, b'T' | b't' | b' '),
        _ => found == wanted,
    };
    text.len() == form.len() && text.bytes().zip(form.bytes()).all(fits)
}

/// Cores, in the order given.
#[derive(Debug, Clone, Default)]
pub struct CpuList(pub Vec<usize>);

pub fn parse_cpus(text: &str) -> Result<CpuList, String> {
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (parse(first)?, parse(last)?);
        if first > last || last >= CpuSet::count() {
            return Err(format!("{part} is no range of cores, such as 0 or 0,2-3"));
        }
        cpus.extend(first..=last);
    }
    Ok(CpuList(cpus))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_zone_and_the_fraction_of_a_time_count() {
        // 2030-01-31T12:00:00Z.
        const NOON: f64 = 1_896_091_200.0;
        for (text, seconds) in [
            ("2030-01-31T12:00:00Z", NOON),
            ("2030-01-31t12:00:00z", NOON),
            ("2030-01-31 12:00:00Z", NOON),
            ("2030-01-31T12:00:00.25Z", NOON + 0.25),
            ("2030-01-31T12:00:00-00:00", NOON),
            ("2030-01-31T13:00:00+01:00", NOON),
            ("2030-01-31T13:00:00.25+01:00", NOON + 0.25),
            ("2030-01-31T07:30:00.000000001-04:30", NOON),
            ("2030-02-01T02:00:00.5+14:00", NOON + 0.5),
            ("2030-01-31T12:00:00.123456789999Z", NOON + 0.123_456_789),
            ("2030-01-31T12:00:00.5000000000000000000000Z", NOON + 0.5),
            ("2030-02-01T11:59:00+23:59", NOON),
            ("1896091200.5", NOON + 0.5),
            // A leap second, which clocks of this kind do not have.
            ("2016-12-31T23:59:60Z", 1_483_228_799.0),
        ] {
            let since = instant(text).unwrap().duration_since(UNIX_EPOCH).unwrap();
            let difference = (since.as_secs_f64() - seconds).abs();
            assert!(difference < 1e-6, "{text}: {since:?}");
        }
        for text in [
            "2030-01-31T12:00:00",
            "2030-01-31",
            "2030-01-31T12:00:00+99:00",
            "2030-01-31T12:00:00+24:00",
            "2030-01-31T12:00:00-24:00",
            "2030-01-31T12:00:00+01:60",
            "2030-01-31T12:00:00+1:00",
            "2030-01-31T12:00:00+01:00Z",
            "2030-01-31T12:00+01Z",
            "2030-01-31T12:00:00.Z",
            "2030-01-31T12:00:00.5é+01:00",
            "2030-01-31T12:00:00 01:00",
            "2030-01-31+01:00",
            "2030-02-30T12:00:00Z",
            "10000-01-01T00:00:00Z",
            "-1",
            "inf",
            "now",
        ] {
            assert!(instant(text).is_err(), "{text}");
        }
        for text in [
            "9999-12-31T23:59:59Z",
            "9999-12-31T23:59:59.999999999-23:59",
            "9999-01-01T00:00:00Z",
            "99999999999",
        ] {
            let error = parse_start(text).unwrap_err();
            assert_eq!(error, "is more than a year ahead", "{text}");
        }
        for text in ["1969-12-31T23:59:59Z", "+999ms", "+2years", "+", "+-1s"] {
            assert!(parse_start(text).is_err(), "{text}");
        }
    }

    #[test]
    fn generators_that_ask_one_after_the_other_start_together() {
        let at = |seconds: f64| UNIX_EPOCH + Duration::from_secs_f64(seconds);
        for (now, ahead, mark) in [
            (100.0, 10, 110.0),
            (100.1, 10, 120.0),
            (109.9, 10, 120.0),
            (110.1, 10, 130.0),
            (7.5, 1, 9.0),
        ] {
            let found = next_mark(at(now), Duration::from_secs(ahead));
            assert_eq!(found, at(mark), "{now} +{ahead}s");
        }
    }
}

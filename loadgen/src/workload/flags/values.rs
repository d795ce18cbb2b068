//! The values of flags, from text.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;

use crate::workload::course::{HIGHEST_RATE, LONGEST};

fn parse<T: FromStr<Err: Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error| format!("{error}"))
}

/// The most connections: a process cannot have more descriptors unless `fs.nr_open` was raised.
const MOST_CONNECTIONS: usize = 1 << 20;

pub fn at_least_one(text: &str) -> Result<usize, String> {
    match parse(text)? {
        0 => Err("must be at least 1".into()),
        n => Ok(n),
    }
}

pub fn some_requests(text: &str) -> Result<u64, String> {
    at_least_one(text).map(|n| n as u64)
}

pub fn connections(text: &str) -> Result<usize, String> {
    match parse(text)? {
        n @ 0..=MOST_CONNECTIONS => Ok(n),
        _ => Err(format!("must be at most {MOST_CONNECTIONS}")),
    }
}

pub fn some_connections(text: &str) -> Result<usize, String> {
    at_least_one(text)?;
    connections(text)
}

pub fn parse_sources(text: &str) -> Result<usize, String> {
    // 127.0.0.1 to 127.255.255.254.
    const MOST: usize = (1 << 24) - 2;
    match parse(text)? {
        n @ 1..=MOST => Ok(n),
        _ => Err(format!("must be 1 to {MOST}")),
    }
}

pub fn parse_rate(text: &str) -> Result<f64, String> {
    match parse::<f64>(text)? {
        rate if rate > 0.0 && rate <= HIGHEST_RATE => Ok(rate),
        _ => Err(format!(
            "must be above 0 and at most {HIGHEST_RATE:e} a second"
        )),
    }
}

pub fn parse_churn(text: &str) -> Result<f64, String> {
    match parse::<f64>(text)? {
        0.0 => Ok(0.0),
        _ => parse_rate(text),
    }
}

pub fn parse_duration(text: &str) -> Result<Duration, String> {
    // Other generators mean seconds by a number alone.
    let seconds = text.parse::<u32>().map(u64::from).map(Duration::from_secs);
    match seconds.or_else(|_| humantime::parse_duration(text)) {
        Ok(duration) if duration > LONGEST => Err("must be a year at most".into()),
        result => result.map_err(|error| error.to_string()),
    }
}

pub fn parse_positive_duration(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        Duration::ZERO => Err("must be above 0".into()),
        duration => Ok(duration),
    }
}

pub fn parse_size(text: &str) -> Result<usize, String> {
    match parse::<ByteSize>(text)?.as_u64() {
        0 => Err("must be above 0".into()),
        size => usize::try_from(size).map_err(|error| error.to_string()),
    }
}

pub fn parse_length(text: &str) -> Result<usize, String> {
    let bytes = parse::<ByteSize>(text)?.as_u64();
    usize::try_from(bytes).map_err(|error| error.to_string())
}

pub fn parse_sha256(text: &str) -> Result<[u8; 32], String> {
    let mut hash = [0; 32];
    let digits = text.len() == 2 * hash.len() && text.bytes().all(|b| b.is_ascii_hexdigit());
    if !digits {
        return Err("must be 64 hexadecimal digits, as sha256sum prints them".into());
    }
    for (byte, at) in hash.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(&text[at..at + 2], 16).map_err(|error| error.to_string())?;
    }
    Ok(hash)
}

pub fn parse_path(text: &str) -> Result<String, String> {
    // A fragment is for the reader of an answer (RFC 9110, 4.2.5).
    let text = text.split('#').next().unwrap_or_default();
    if text.starts_with('/') && text.bytes().all(|b| b.is_ascii_graphic()) {
        Ok(text.into())
    } else {
        Err("must begin with / and be percent-encoded".into())
    }
}

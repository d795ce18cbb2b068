//! Whether the shards measured at the same time, and how far their clocks can be trusted for that.
//!
//! Equal stamps show nothing: a host whose clock is 3 s off starts 3 s off and stamps the same times. So each clock is
//! held against another one. Shards on one machine share its monotonic clock. Others need a bound of their clock's error.

use std::time::{Duration, UNIX_EPOCH};

use super::gathered::Part;
use crate::verdict::cause::Cause;

/// The least share of the measured time in which all must have measured, and the greatest error of a clock likewise.
const OVERLAP: f64 = 0.99;

/// A shard's measured time by a clock that all have in common, seconds since 1970.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// When it began.
    pub begin: f64,
    /// When it ended.
    pub end: f64,
    /// How far the shard's own clock was ahead; `None`: nobody knows.
    pub ahead: Option<f64>,
    /// How far `ahead` may be off.
    pub bound: f64,
}

/// What is wrong, in words.
#[derive(Debug, Default)]
pub struct Doubts {
    /// Clocks that are off, or of which nobody knows how far.
    pub clocks: Vec<String>,
    /// Windows that do not overlap.
    pub windows: Vec<String>,
}

fn seconds(time: &str) -> f64 {
    let time = humantime::parse_rfc3339(time).unwrap_or(UNIX_EPOCH);
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs_f64()
}

/// The windows of these shards of one start.
pub fn windows(parts: &[Part]) -> Vec<Window> {
    // The calendar clock against the monotonic one.
    let against: Vec<f64> = parts
        .iter()
        .map(|part| {
            let monotonic = Duration::from_nanos(part.shard.begin_monotonic_ns);
            seconds(&part.shard.begin) - monotonic.as_secs_f64()
        })
        .collect();
    let mut sorted = against.clone();
    sorted.sort_by(f64::total_cmp);
    // The one in the middle is right, so that the odd one is named.
    let middle = sorted.get(sorted.len().saturating_sub(1) / 2).copied();
    let first = parts.first().and_then(|part| part.shard.boot_id.as_ref());
    let one_machine = first.is_some()
        && parts
            .iter()
            .all(|part| part.shard.boot_id.as_ref() == first);
    let window = |(part, against): (&Part, f64)| {
        let (ahead, bound) = if one_machine {
            (middle.map(|middle| against - middle), 0.0)
        } else if let Some(clock) = &part.shard.clock {
            (Some(0.0), clock.error_us / 1e6)
        } else {
            (None, 0.0)
        };
        let off = ahead.unwrap_or_default();
        Window {
            begin: seconds(&part.shard.begin) - off,
            end: seconds(&part.shard.end) - off,
            ahead,
            bound,
        }
    };
    parts.iter().zip(against).map(window).collect()
}

/// What speaks against it that these shards measured together.
pub fn doubts(parts: &[Part], windows: &[Window]) -> Doubts {
    let mut doubts = Doubts::default();
    let Some(first) = parts.first() else {
        return doubts;
    };
    let asked = first.shard.asked.duration_s;
    let most = (1.0 - OVERLAP) * asked;
    let ms = |seconds: f64| format!("{:.3} ms", seconds * 1e3);
    for (part, window) in parts.iter().zip(windows) {
        let name = part.name();
        let moved = part.shard.clock_moved_us / 1e6;
        match window.ahead {
            None => doubts.clocks.push(format!(
                "{name}: nobody knows how far its clock is off (let chrony or ntpd set it)"
            )),
            Some(ahead) if ahead.abs() + window.bound > most => {
                doubts.clocks.push(if window.bound == 0.0 {
                    let direction = if ahead > 0.0 { "ahead of" } else { "behind" };
                    format!(
                        "{name}: its clock is {} {direction} the others",
                        ms(ahead.abs())
                    )
                } else {
                    format!(
                        "{name}: its clock may be {} off, more than 1 % of the measured time",
                        ms(ahead.abs() + window.bound)
                    )
                });
            }
            Some(_) if moved.abs() > most => doubts.clocks.push(format!(
                "{name}: its clock was moved by {} while it measured",
                ms(moved)
            )),
            Some(_) => {}
        }
    }
    let latest = windows.iter().map(|window| window.begin + window.bound);
    let earliest = windows.iter().map(|window| window.end - window.bound);
    let latest = latest.fold(f64::NEG_INFINITY, f64::max);
    let earliest = earliest.fold(f64::INFINITY, f64::min);
    let together = (earliest - latest).max(0.0);
    if together < OVERLAP * asked {
        let mut begins: Vec<f64> = windows.iter().map(|window| window.begin).collect();
        begins.sort_by(f64::total_cmp);
        let middle = begins[(begins.len() - 1) / 2];
        for (part, window) in parts.iter().zip(windows) {
            let late = window.begin - middle;
            let length = window.end - window.begin;
            if part.trial.causes.contains(&Cause::CutShort) {
                let length = Duration::from_millis((length * 1e3) as u64);
                let length = humantime::format_duration(length);
                doubts
                    .windows
                    .push(format!("{} was cut short after {length}", part.name()));
            } else if late.abs() > most {
                let direction = if late > 0.0 { "after" } else { "before" };
                doubts.windows.push(format!(
                    "{} began {:.3} s {direction} the others",
                    part.name(),
                    late.abs()
                ));
            }
        }
        let share = together / asked * 100.0;
        doubts.windows.push(format!(
            "they measured together for {share:.1} % of the time, and 99 % are needed"
        ));
    }
    doubts
}

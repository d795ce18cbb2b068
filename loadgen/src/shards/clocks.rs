//! Whether the shards measured at the same time, and how far their clocks can be trusted for that.
//!
//! Equal times in the results show nothing: a host whose clock is 3 s off starts 3 s too late and writes down the
//! same times. So each clock is compared with another one. Programs on one machine share its monotonic clock. Of
//! other hosts `loadgen clock` measures how far their monotonic clocks are apart: nobody sets these. Without it
//! the bound counts that the kernel or chrony states.

use std::time::{Duration, UNIX_EPOCH};

use crate::observe::clock_error::ClockError;
use crate::observe::clock_offset::HostClock;

/// All must have measured together for at least 99 % of the measured time. A clock may be off by 1 % of it.
const OVERLAP: f64 = 0.99;
/// How fast two clocks may move apart after they were compared. Cheap quartz is 50 ppm off.
const DRIFT: f64 = 100e-6;

/// When a shard measured, by its own clocks.
#[derive(Debug, Clone)]
pub struct Stamp<'a> {
    /// Who.
    pub name: String,
    /// Where.
    pub boot_id: Option<&'a str>,
    /// How far the calendar clock may be off.
    pub clock: Option<&'a ClockError>,
    /// When the measured time began and ended, UTC.
    pub window: [&'a str; 2],
    /// When it began, nanoseconds of the monotonic clock.
    pub monotonic_ns: u64,
    /// How far the calendar clock was moved in between, microseconds.
    pub moved_us: f64,
    /// It was stopped before its end.
    pub cut_short: bool,
}

/// A measured time by a clock that all have in common, seconds since 1970.
#[derive(Debug, Clone)]
pub struct Window {
    /// When it began.
    pub begin: f64,
    /// When it ended.
    pub end: f64,
    /// How far its own clock was ahead; `None`: nobody knows.
    pub ahead: Option<f64>,
    /// How far `ahead` may be off.
    pub bound: f64,
    /// Who says that; `None`: nobody.
    pub source: Option<String>,
}

/// What is wrong, in words.
#[derive(Debug, Default)]
pub struct Doubts {
    /// Clocks that differ, or whose difference is not known.
    pub clocks: Vec<String>,
    /// Windows that do not overlap.
    pub windows: Vec<String>,
}

fn seconds(time: &str) -> f64 {
    let time = humantime::parse_rfc3339(time).unwrap_or(UNIX_EPOCH);
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs_f64()
}

/// The instant at which one began by a monotonic clock that all have in common, and how far that may be off.
#[derive(Debug, Clone, Copy)]
struct Common {
    begin: f64,
    bound: f64,
}

impl Common {
    /// From what `loadgen clock` found, as near to the beginning as it was asked.
    fn measured(stamp: &Stamp, hosts: &[HostClock]) -> Option<Self> {
        let own = stamp.monotonic_ns as f64 / 1e9;
        let of_its_host = hosts
            .iter()
            .filter(|host| Some(host.boot_id.as_str()) == stamp.boot_id);
        let each = of_its_host.map(|host| {
            let begin = own - host.monotonic_ahead_ns as f64 / 1e9;
            let since = (begin - host.asked_monotonic_ns as f64 / 1e9).abs();
            let bound = host.bound_us / 1e6 + DRIFT * since;
            Self { begin, bound }
        });
        each.min_by(|a, b| a.bound.total_cmp(&b.bound))
    }
}

/// The windows of these of one start. `hosts`: what `loadgen clock` found; `None`: nobody asked it.
pub fn windows(stamps: &[Stamp], hosts: Option<&[HostClock]>) -> Vec<Window> {
    let first = stamps.first().and_then(|stamp| stamp.boot_id);
    let one_machine = first.is_some() && stamps.iter().all(|stamp| stamp.boot_id == first);
    let common: Vec<Option<Common>> = stamps
        .iter()
        .map(|stamp| match hosts {
            _ if one_machine => Some(Common {
                begin: stamp.monotonic_ns as f64 / 1e9,
                bound: 0.0,
            }),
            Some(hosts) => Common::measured(stamp, hosts),
            None => None,
        })
        .collect();
    // The calendar clock against the common one. The one in the middle is right, so that the odd one is named.
    let against = |stamp: &Stamp, common: &Common| seconds(stamp.window[0]) - common.begin;
    let mut sorted: Vec<f64> = stamps
        .iter()
        .zip(&common)
        .filter_map(|(stamp, common)| Some(against(stamp, common.as_ref()?)))
        .collect();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.get(sorted.len().saturating_sub(1) / 2);
    let window = |(stamp, common): (&Stamp, &Option<Common>)| {
        let (ahead, bound, source) = match (common, hosts, stamp.clock) {
            (Some(common), ..) => {
                let source = if one_machine {
                    "same machine"
                } else {
                    "measured"
                };
                let ahead = middle.map(|middle| against(stamp, common) - middle);
                (ahead, common.bound, Some(source))
            }
            (None, None, Some(clock)) => {
                (Some(0.0), clock.error_us / 1e6, Some(clock.source.as_str()))
            }
            (None, ..) => (None, 0.0, None),
        };
        let off = ahead.unwrap_or_default();
        Window {
            begin: seconds(stamp.window[0]) - off,
            end: seconds(stamp.window[1]) - off,
            ahead,
            bound,
            source: source.map(str::to_owned),
        }
    };
    stamps.iter().zip(&common).map(window).collect()
}

/// The reasons to doubt that these measured together, for `asked` seconds each.
pub fn doubts(stamps: &[Stamp], windows: &[Window], asked: f64) -> Doubts {
    let mut doubts = Doubts::default();
    if stamps.is_empty() {
        return doubts;
    }
    let most = (1.0 - OVERLAP) * asked;
    let ms = |seconds: f64| format!("{:.3} ms", seconds * 1e3);
    for (stamp, window) in stamps.iter().zip(windows) {
        let name = &stamp.name;
        let moved = stamp.moved_us / 1e6;
        match window.ahead {
            None => doubts.clocks.push(format!(
                "{name}: nobody knows how far its clock is off (ask it with loadgen clock and give --clocks, or let \
                 chrony or ntpd set it)"
            )),
            Some(ahead) if ahead.abs() + window.bound > most => {
                doubts.clocks.push(if ahead.abs() > window.bound {
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
        for (stamp, window) in stamps.iter().zip(windows) {
            let late = window.begin - middle;
            let length = window.end - window.begin;
            if stamp.cut_short {
                let length = Duration::from_millis((length * 1e3) as u64);
                let length = humantime::format_duration(length);
                doubts
                    .windows
                    .push(format!("{} was cut short after {length}", stamp.name));
            } else if late.abs() > most {
                let direction = if late > 0.0 { "after" } else { "before" };
                doubts.windows.push(format!(
                    "{} began {:.3} s {direction} the others",
                    stamp.name,
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

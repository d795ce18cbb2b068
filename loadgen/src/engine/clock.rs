//! `CLOCK_MONOTONIC` in nanoseconds: a number that is cheap to compute with.

use std::time::Duration;

use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};

/// Nanoseconds of `CLOCK_MONOTONIC`.
pub fn now() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("Linux has this clock");
    now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64
}

/// Nanoseconds of `CLOCK_REALTIME` since 1970.
pub fn wall() -> i64 {
    let now = clock_gettime(ClockId::CLOCK_REALTIME).expect("Linux has this clock");
    stamp(now)
}

/// A time of `CLOCK_REALTIME` in nanoseconds since 1970. After the year 2262 it wraps around; differences stay
/// right.
pub fn stamp(time: TimeSpec) -> i64 {
    let nanos = time.tv_sec().wrapping_mul(1_000_000_000);
    nanos.wrapping_add(time.tv_nsec())
}

/// CPU time of the calling thread, user and system.
pub fn thread_cpu() -> Duration {
    let now = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("Linux has this clock");
    now.into()
}

/// An instant as a timerfd takes it.
pub fn timespec(at: u64) -> TimeSpec {
    TimeSpec::from_duration(Duration::from_nanos(at))
}

/// A duration in nanoseconds; 584 years are the longest.
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

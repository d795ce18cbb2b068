//! How well the kernel knows the time.

use std::time::Duration;

use nix::libc;

/// How far the calendar clock may be off, as the kernel has it from the program that sets it. `None`: no program does.
#[allow(unsafe_code, reason = "nix has no adjtimex")]
pub fn clock_error() -> Option<Duration> {
    // SAFETY: all bits zero are a value of this struct of numbers.
    let mut timex: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: it writes to the struct alone, and without modes it changes nothing.
    let state = unsafe { libc::adjtimex(&raw mut timex) };
    let known = state >= 0 && state != libc::TIME_ERROR && timex.status & libc::STA_UNSYNC == 0;
    let micros = u64::try_from(timex.maxerror).ok()?;
    known.then(|| Duration::from_micros(micros))
}

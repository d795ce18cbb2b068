//! How far this machine's calendar clock may be off.

use std::process::{Command, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How far a machine's calendar clock may be off, and who says so.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClockError {
    /// Microseconds, in either direction.
    pub error_us: f64,
    /// `kernel` (adjtimex) or `chrony` (chronyc tracking).
    pub source: String,
}

impl ClockError {
    /// Of this machine; `None`: no program that sets the clock says it.
    pub fn here() -> Option<Self> {
        let of = |source: &str, error: Duration| Self {
            error_us: error.as_secs_f64() * 1e6,
            source: source.to_owned(),
        };
        let chrony = || Some(of("chrony", tracking(&chronyc()?)?));
        supervisor::clock_error().map_or_else(chrony, |error| Some(of("kernel", error)))
    }
}

fn chronyc() -> Option<String> {
    let output = Command::new("chronyc")
        .args(["-c", "tracking"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then_some(text)
}

/// The bound in a line of `chronyc -c tracking`: what is left to correct, half of the way to the reference clock and
/// back, and the errors on that way (the man page of chronyc has this sum).
fn tracking(line: &str) -> Option<Duration> {
    let fields: Vec<&str> = line.trim().split(',').collect();
    let seconds = |at: usize| fields.get(at)?.parse::<f64>().ok();
    let synchronised = fields
        .get(13)
        .is_some_and(|leap| *leap != "Not synchronised");
    let bound = seconds(4)?.abs() + seconds(10)? / 2.0 + seconds(11)?;
    synchronised
        .then(|| Duration::try_from_secs_f64(bound).ok())
        .flatten()
}

/// An identity of the kernel that runs since it was started; `None`: it cannot be read. Programs with the same one have
/// the same clocks.
pub fn boot_id() -> Option<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_chrony_is_a_bound() {
        let line = |leap: &str| {
            format!(
                "C6120064,198.18.0.10,9,1795673432.1,-0.000300,0.000001,0.000002,-1.5,0.0,0.1,\
                 0.000200,0.000500,2.0,{leap}\n"
            )
        };
        assert_eq!(tracking(&line("Normal")), Some(Duration::from_micros(900)));
        assert_eq!(tracking(&line("Not synchronised")), None);
        assert_eq!(tracking("506 Cannot talk to daemon\n"), None);
    }
}

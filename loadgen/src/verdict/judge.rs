//! Whether a trial's figures can be trusted. What the server does is a result; only the measuring can
//! be at fault.

use std::time::Duration;

use crate::engine::neighbours::Census;
use crate::observe::machine::cpus_of;
use crate::recording::record::{Block, Recording};
use crate::results::trial::{Cause, MachineShares, ServerCosts};
use crate::workload::load::{Load, Workload};

/// A request that was sent later than this after it could have been is late, nanoseconds.
pub const LATE_AFTER: u64 = 1_000_000;
/// `generator-late`: more than this share of the requests was late.
pub const LATE_SHARE: f64 = 0.01;
/// `generator-late`: a generator thread was runnable but not running for more than this share of
/// the measured time.
pub const RUN_DELAY_SHARE: f64 = 0.05;
/// `generator-late`: a generator thread stood still for more than this share of the measured time.
pub const STOPPED_SHARE: f64 = 0.01;
/// `generator-late`: a generator thread stood still for longer than this at once, milliseconds.
pub const LONGEST_STOP_MS: u128 = 100;
/// `generator-saturated` (open loop) and the note `generator-bound` (closed loop): a generator
/// thread's CPU time without spinning, as a share of the measured time.
pub const FULL_SHARE: f64 = 0.95;
/// `machine-stolen`: the hypervisor took more than this share of all cores.
pub const STEAL_SHARE: f64 = 0.02;
/// `machine-stolen`: processes other than server and generator took more than this share of all cores.
pub const FOREIGN_SHARE: f64 = 0.10;
/// `rate-not-reached`: less than this share of what became due was answered at all, or in the measured time.
pub const REACHED_SHARE: f64 = 0.99;
/// `rate-not-reached`: in the measured time, by more than so many standard deviations of Poisson arrivals.
pub const REACHED_ERRORS: f64 = 2.0;
/// `drift`: the halves of the measured time differ by at least this share of their mean.
pub const DRIFT_SHARE: f64 = 0.10;
/// `drift`: and by at least so many standard errors of that difference.
pub const DRIFT_ERRORS: f64 = 4.0;

/// How the note of an open loop begins whose server did not keep up.
const RATE_NOT_REACHED: &str = "rate-not-reached";

/// The note of a closed loop whose generator was at its limit while the server was not.
pub use crate::report::table::GENERATOR_BOUND;

/// What is wrong with a trial, and what is remarkable about it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Judgement {
    /// Why its figures cannot be trusted; empty: they can.
    pub causes: Vec<Cause>,
    /// What a reader should know; each begins with its key word.
    pub notes: Vec<String>,
}

/// Judges a trial.
pub fn judge(
    workload: &Workload,
    recording: &Recording,
    server: Option<&ServerCosts>,
    machine: &MachineShares,
) -> Judgement {
    let mut judgement = Judgement::default();
    let Judgement { causes, notes } = &mut judgement;
    let counts = &recording.counts;
    let open = workload.load != Load::Closed;
    let measured = workload.duration.as_secs_f64();

    if is_late(recording, measured) {
        causes.push(Cause::GeneratorLate);
    }
    let full = recording
        .threads
        .iter()
        .any(|t| !t.span.is_zero() && t.cpu.saturating_sub(t.spun) >= t.span.mul_f64(FULL_SHARE));
    if full && open {
        causes.push(Cause::GeneratorSaturated);
    }
    if recording.connections_missing > 0 {
        causes.push(Cause::ConnectionsMissing);
        notes.push(format!(
            "connections-missing: {} could not be opened for want of descriptors, ports or memory",
            recording.connections_missing
        ));
    }
    if counts.mismatches > 0 {
        causes.push(Cause::Mismatch);
    }
    // A server that is far behind still answers what became due in the warm-up.
    if counts.answered == 0 && counts.in_time == 0 {
        causes.push(Cause::NoAnswer);
    }
    // What an unknown server spends cannot be told from what others do.
    let foreign = server.is_some() && machine.foreign_share > FOREIGN_SHARE;
    if machine.steal_share > STEAL_SHARE || foreign {
        causes.push(Cause::MachineStolen);
    }

    if full && !open && !server.is_some_and(|s| is_full(s, counts.in_time as f64 / measured)) {
        notes.push(GENERATOR_BOUND.to_owned());
    }
    if open && !keeps_up(workload, recording) {
        notes.push(format!(
            "{RATE_NOT_REACHED}: {:.0} of {:.0} requests/s were answered in the measured time",
            counts.in_time as f64 / measured,
            counts.scheduled as f64 / measured
        ));
    }
    let Census {
        asked,
        present,
        churn_due,
        churned,
        ..
    } = recording.neighbours;
    if present < asked {
        notes.push(format!(
            "neighbours: {present} of {asked} were connected at the end"
        ));
    }
    if (churned as f64)
        < REACHED_SHARE * churn_due as f64 - REACHED_ERRORS * (churn_due as f64).sqrt()
    {
        notes.push(format!(
            "neighbours: {churned} of {churn_due} new clients of the churn were connected"
        ));
    }
    notes.extend(drift(&recording.blocks));
    if counts.clamped > 0 {
        notes.push(format!(
            "clamped: {} times were longer than an hour and are recorded as that",
            counts.clamped
        ));
    }
    judgement
}

fn is_late(recording: &Recording, measured: f64) -> bool {
    let lateness = &recording.times.lateness;
    let late = lateness.len() - lateness.count_between(0, LATE_AFTER);
    late as f64 > LATE_SHARE * lateness.len() as f64
        || recording.threads.iter().any(|thread| {
            thread.run_delay.as_secs_f64() > RUN_DELAY_SHARE * measured
                || thread.stopped.as_secs_f64() > STOPPED_SHARE * measured
                || thread.longest_stop.as_millis() > LONGEST_STOP_MS
        })
}

/// Whether these are the notes of trials whose servers kept up with the schedule.
pub fn kept_up(notes: &[String]) -> bool {
    !notes.iter().any(|note| note.starts_with(RATE_NOT_REACHED))
}

/// Whether the server kept up with the schedule: answered what became due, and not only in the drain, in which
/// one that falls behind can catch up.
fn keeps_up(workload: &Workload, recording: &Recording) -> bool {
    let (counts, service) = (&recording.counts, &recording.times.service);
    let due = counts.scheduled as f64;
    let least = REACHED_SHARE * due;
    // At the end some are on their way. As many were when the measured time began, if the warm-up was longer than
    // that takes.
    let on_the_way = Duration::from_nanos(service.min()).saturating_sub(workload.warmup);
    let excused = due * on_the_way.as_secs_f64() / workload.duration.as_secs_f64()
        + REACHED_ERRORS * due.sqrt();
    counts.answered as f64 >= least && counts.in_time as f64 + excused >= least
}

/// Whether the server used all the cores that its threads can fill; several cores' worth of threads
/// are full when they fill what the server may run on.
fn is_full(server: &ServerCosts, rate: f64) -> bool {
    let cores = cpus_of(server.pid).len().max(1) as f64;
    let threads = server.threads.unwrap_or(1).max(1) as f64;
    server
        .cpu_us_per_request
        .is_some_and(|us| us * rate / 1e6 >= FULL_SHARE * threads.min(cores))
}

/// Compares the halves of the measured time. Neighbouring samples resemble each other, so their
/// number says little about the error of a mean; the spread between blocks of them does.
fn drift(blocks: &[Block]) -> Option<String> {
    let (first, second) = blocks.split_at(blocks.len() / 2);
    let answers = |block: &Block| Some(block.answers as f64);
    let response =
        |block: &Block| (block.answers > 0).then(|| block.response as f64 / block.answers as f64);
    let mut changes = Vec::new();
    for (what, value) in [
        ("answers", &answers as &dyn Fn(&Block) -> Option<f64>),
        ("mean response", &response),
    ] {
        let before: Vec<f64> = first.iter().filter_map(value).collect();
        let after: Vec<f64> = second.iter().filter_map(value).collect();
        if let Some((before, after)) = change(&before, &after) {
            changes.push(if before > 0.0 {
                format!("{what} {:+.0} %", (after / before - 1.0) * 100.0)
            } else {
                format!("{what} from none")
            });
        }
    }
    (!changes.is_empty()).then(|| {
        format!(
            "drift: {} from the first half to the second",
            changes.join(", ")
        )
    })
}

/// The means, where their change is large and not explained by the spread (Welch's statistic).
fn change(before: &[f64], after: &[f64]) -> Option<(f64, f64)> {
    if before.len() < 2 || after.len() < 2 {
        return None;
    }
    let (mean_before, error_before) = mean_and_error(before);
    let (mean_after, error_after) = mean_and_error(after);
    let difference = mean_after - mean_before;
    let mean = f64::midpoint(mean_before, mean_after);
    let error = (error_before + error_after).sqrt();
    (difference.abs() > DRIFT_SHARE * mean && difference.abs() > DRIFT_ERRORS * error)
        .then_some((mean_before, mean_after))
}

/// The mean, and the square of its standard error.
fn mean_and_error(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|x| (x - mean).powi(2)).sum();
    (mean, squares / (n - 1.0) / n)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocks whose mean response times are these, in microseconds.
    fn blocks(means: impl IntoIterator<Item = u64>) -> Vec<Block> {
        means
            .into_iter()
            .map(|mean| Block {
                answers: 100,
                response: 100 * mean * 1000,
            })
            .collect()
    }

    #[test]
    fn a_step_in_the_middle_is_drift() {
        let steady = [100, 103, 98, 101, 99, 102, 100, 97, 103, 100];
        let slower = steady.map(|mean| mean + 30);
        let note = drift(&blocks(steady.into_iter().chain(slower))).unwrap();
        assert!(note.starts_with("drift: mean response +30 %"), "{note}");
    }

    #[test]
    fn a_first_half_without_answers_is_drift() {
        let silence = [Block::default(); 10];
        let note = drift(&[&silence[..], &blocks([100; 10])].concat()).unwrap();
        assert!(note.starts_with("drift: answers from none"), "{note}");
    }

    #[test]
    fn a_burst_or_a_small_step_is_not() {
        let steady = [100, 103, 98, 101, 99, 102, 100, 97, 103, 100];
        let burst = [100, 103, 900, 101, 99, 102, 100, 97, 103, 100];
        let small = steady.map(|mean| mean + 9);
        for second in [steady, burst, small] {
            assert_eq!(drift(&blocks(steady.into_iter().chain(second))), None);
        }
    }

    #[test]
    fn a_server_is_full_when_its_threads_or_all_cores_are() {
        let server = |threads| ServerCosts {
            pid: 1,
            cpu_us_per_request: Some(10.0),
            context_switches_per_request: None,
            syscalls_per_request: None,
            pss_kib: None,
            threads: Some(threads),
            processes: None,
        };
        assert!(is_full(&server(1), 99_000.0));
        assert!(!is_full(&server(1), 80_000.0));
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        assert!(is_full(&server(1000), 99_000.0 * cores as f64));
        assert!(!is_full(&server(1000), 80_000.0 * cores as f64));
    }
}

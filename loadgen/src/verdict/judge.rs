//! Whether a trial's figures can be trusted. INVALID means that we could not measure. FAILED means that the server
//! answered wrongly or not at all. Neither means that the server was slow.

use std::fmt::Write;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::cause::Cause;
use super::drift::drift;
use super::note::Note;
use crate::observe::observed::{Observed, ServerCosts};
use crate::recording::account::NeighbourCounts;
use crate::recording::record::{Measured, Recording, ThreadTime};
use crate::recording::times::Times;
use crate::workload::load::{Load, Timestamps, Workload};

/// A request is late when it was sent later than this after it could have been sent, nanoseconds.
pub const LATE_AFTER: u64 = 1_000_000;
/// `generator-late`: more than this share of the requests was late.
pub const LATE_SHARE: f64 = 0.01;
/// `generator-late`: a generator thread was runnable but not running for more than this share of
/// the measured time.
pub const RUN_DELAY_SHARE: f64 = 0.05;
/// `generator-late`: a generator thread was stopped for more than this share of the measured time.
pub const STOPPED_SHARE: f64 = 0.01;
/// `generator-late`: a generator thread was stopped for longer than this without a break, milliseconds.
pub const LONGEST_STOP_MS: u128 = 100;
/// `generator-saturated` (open loop) and the note `generator-bound` (closed loop): a generator
/// thread's CPU time without spinning, as a share of the measured time.
pub const FULL_SHARE: f64 = 0.95;
/// `machine-stolen`: the hypervisor took more than this share of all cores.
pub const STEAL_SHARE: f64 = 0.02;
/// `machine-stolen`: processes other than server and generator took more than this share of all cores.
pub const FOREIGN_SHARE: f64 = 0.10;
/// `rate-not-reached`: less than this share of the requests that became due was answered at all, or was answered in
/// the measured time.
pub const REACHED_SHARE: f64 = 0.99;
/// `rate-not-reached`: beside that share, this many standard deviations of Poisson arrivals may be missing in the
/// measured time.
pub const REACHED_ERRORS: f64 = 2.0;
/// `started-late`: the measured time began too late by more than this share of its length.
pub const LATE_START_SHARE: f64 = 0.01;
/// `generator-read-late`: the 99th percentile of the read delay is more than this share of that of the response.
pub const READ_DELAY_SHARE: f64 = 0.1;
/// `generator-read-late`: with fewer samples the percentile is chance.
pub const READ_SAMPLES: u64 = 100;

/// What is wrong with a trial, and what a reader should know of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Judgement {
    /// Why it is FAILED or INVALID; empty: it is VALID.
    pub causes: Vec<Cause>,
    /// What a reader should know.
    pub notes: Vec<Note>,
}

/// Judges a trial.
pub fn judge(workload: &Workload, recording: &Recording, observed: &Observed) -> Judgement {
    let Observed {
        server,
        server_cores,
        machine,
    } = observed;
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
        notes.push(Note::ConnectionsMissing(format!(
            "{} could not be opened, because descriptors, ports or memory ran out",
            recording.connections_missing
        )));
    }
    // The time of an unknown server counts as foreign.
    let above = |share: Option<f64>, limit: f64| share.is_some_and(|share| share > limit);
    let foreign = server.is_some() && above(machine.foreign_share, FOREIGN_SHARE);
    if above(machine.steal_share, STEAL_SHARE) || foreign {
        causes.push(Cause::MachineStolen);
    }
    let unread = unread(&recording.threads, observed);
    if !unread.is_empty() {
        causes.push(Cause::Unchecked);
        notes.push(Note::Unchecked(format!(
            "could not be read: {}",
            unread.join(", ")
        )));
    }
    let Measured {
        late, cut_short, ..
    } = recording.measured;
    if late.as_secs_f64() > LATE_START_SHARE * measured {
        causes.push(Cause::StartedLate);
        notes.push(Note::StartedLate(format!(
            "the measured time began {} late",
            humantime::format_duration(Duration::from_millis(late.as_millis() as u64))
        )));
    }
    if cut_short {
        causes.push(Cause::CutShort);
        notes.push(Note::CutShort(format!(
            "after {measured:.3} s of the measured time"
        )));
    }
    causes.extend(answers(recording));

    let rate = counts.in_time as f64 / measured;
    if full && !open {
        let server_busy = server.is_some_and(|server| is_full(&server, *server_cores, rate));
        notes.push(Note::GeneratorBound { server_busy });
    }
    if workload.timestamps == Timestamps::Kernel {
        let mut said =
            "response and service times end when an answer arrives in the kernel".to_owned();
        if counts.unstamped > 0 {
            let (without, all) = (counts.unstamped, counts.answered);
            let _ = write!(
                said,
                "; {without} of {all} answers had no stamp, and their times end when they were read"
            );
        }
        notes.push(Note::KernelTimestamps(said));
    } else {
        notes.extend(read_late(&recording.times));
    }
    let progress = Progress {
        due: counts.scheduled,
        answered: counts.answered,
        in_time: counts.in_time as f64,
        fastest: Duration::from_nanos(recording.times.service.min()),
    };
    if open && !keeps_up(progress, workload.warmup, workload.duration) {
        notes.push(Note::RateNotReached(format!(
            "{rate:.0} of {:.0} requests/s were answered in the measured time",
            counts.scheduled as f64 / measured
        )));
    }
    let NeighbourCounts {
        asked,
        present,
        churn_due,
        churned,
        ..
    } = recording.neighbours;
    if present < asked {
        notes.push(Note::Neighbours(format!(
            "{present} of {asked} were connected at the end"
        )));
    }
    if (churned as f64)
        < REACHED_SHARE * churn_due as f64 - REACHED_ERRORS * (churn_due as f64).sqrt()
    {
        notes.push(Note::Neighbours(format!(
            "{churned} of {churn_due} new clients of the churn were connected"
        )));
    }
    if !cut_short {
        notes.extend(drift(&recording.blocks));
    }
    if counts.clamped > 0 {
        notes.push(Note::Clamped(format!(
            "{} times were longer than an hour and are recorded as one hour",
            counts.clamped
        )));
    }
    judgement
}

/// What is wrong with the answers.
fn answers(recording: &Recording) -> Option<Cause> {
    let counts = &recording.counts;
    if counts.mismatches > 0 {
        return Some(Cause::WrongAnswers);
    }
    // A server that is far behind answers requests that became due in the warm-up.
    if counts.answered > 0 || counts.in_time > 0 {
        return None;
    }
    // Where the generator did not run, or nothing became due, no client waits and no connection broke.
    let asked = recording.connections_unanswered > 0 || !counts.errors.is_empty();
    Some(if asked {
        Cause::NoAnswer
    } else {
        Cause::NoRequest
    })
}

/// The readings that the verdict needs and that could not be taken.
fn unread(threads: &[ThreadTime], observed: &Observed) -> Vec<&'static str> {
    let machine = &observed.machine;
    let mut unread = Vec::new();
    if threads.iter().any(|thread| thread.run_delay.is_none()) {
        unread.push("how long the generator waited for a core (/proc/thread-self/schedstat)");
    } else if threads.iter().any(|thread| thread.span.is_zero()) {
        unread.push("what the generator did, as it did not run in the measured time");
    }
    if machine.steal_share.is_none() {
        unread.push("what the hypervisor took (/proc/stat)");
    } else if observed.server.is_some() && machine.foreign_share.is_none() {
        unread.push("what the server used, and so what others did (/proc)");
    }
    unread
}

fn is_late(recording: &Recording, measured: f64) -> bool {
    let lateness = &recording.times.lateness;
    let late = lateness.len() - lateness.count_between(0, LATE_AFTER);
    late as f64 > LATE_SHARE * lateness.len() as f64
        || recording.threads.iter().any(|thread| {
            let run_delay = thread.run_delay.unwrap_or_default();
            run_delay.as_secs_f64() > RUN_DELAY_SHARE * measured
                || thread.stopped.as_secs_f64() > STOPPED_SHARE * measured
                || thread.longest_stop.as_millis() > LONGEST_STOP_MS
        })
}

/// Whether the generator's own delay is a good part of the response time.
fn read_late(times: &Times) -> Option<Note> {
    let p99 = |times: &Histogram<u64>| times.value_at_quantile(0.99) as f64;
    let (delay, response) = (p99(&times.read_delay), p99(&times.response));
    (times.read_delay.len() >= READ_SAMPLES && delay > READ_DELAY_SHARE * response).then(|| {
        Note::ReadLate(format!(
            "the p99 of the read delay is {:.0} % of the p99 of the response time",
            delay / response * 100.0
        ))
    })
}

/// How many requests of an open loop a server has answered.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Became due in the measured time.
    pub due: u64,
    /// Of these, answered.
    pub answered: u64,
    /// Answers in the measured time.
    pub in_time: f64,
    /// The shortest service time.
    pub fastest: Duration,
}

/// Whether the server kept up with the schedule. It must answer in the measured time: in the drain a server that fell
/// behind can catch up.
pub fn keeps_up(progress: Progress, warmup: Duration, duration: Duration) -> bool {
    let due = progress.due as f64;
    let least = REACHED_SHARE * due;
    // At the end some requests are in flight. If the warm-up was longer than a request takes, as many were in flight
    // when the measured time began.
    let on_the_way = progress.fastest.saturating_sub(warmup);
    let excused =
        due * on_the_way.as_secs_f64() / duration.as_secs_f64() + REACHED_ERRORS * due.sqrt();
    progress.answered as f64 >= least && progress.in_time + excused >= least
}

/// Whether the server used all the CPU time that it can: a core for each of its threads, but not more cores than it
/// may run on.
fn is_full(server: &ServerCosts, cores: usize, rate: f64) -> bool {
    let cores = cores.max(1) as f64;
    let threads = server.threads.unwrap_or(1).max(1) as f64;
    server
        .cpu_us_per_request
        .is_some_and(|us| us * rate / 1e6 >= FULL_SHARE * threads.min(cores))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::observed::MachineShares;

    #[test]
    fn no_verdict_without_its_readings() {
        let thread = ThreadTime {
            span: Duration::from_secs(1),
            run_delay: Some(Duration::ZERO),
            ..ThreadTime::default()
        };
        let server = ServerCosts {
            pid: 1,
            cpu_us_per_request: None,
            context_switches_per_request: None,
            syscalls_per_request: None,
            pss_kib: None,
            threads: None,
            processes: None,
        };
        let machine = MachineShares {
            cpu_share: Some(0.5),
            foreign_share: Some(0.0),
            steal_share: Some(0.0),
            kernel_kib: None,
        };
        let seen = |thread: ThreadTime, server: Option<ServerCosts>, machine: MachineShares| {
            let observed = Observed {
                server,
                machine,
                ..Observed::default()
            };
            unread(&[thread], &observed).len()
        };
        assert_eq!(seen(thread, Some(server), machine), 0);
        let unread = ThreadTime {
            run_delay: None,
            ..thread
        };
        assert_eq!(seen(unread, Some(server), machine), 1);
        let unfinished = ThreadTime {
            span: Duration::ZERO,
            ..thread
        };
        assert_eq!(seen(unfinished, Some(server), machine), 1);
        assert_eq!(seen(thread, None, MachineShares::default()), 1);
        // The time of an unknown server is foreign anyway.
        let hidden = MachineShares {
            foreign_share: None,
            ..machine
        };
        assert_eq!(seen(thread, Some(server), hidden), 1);
        assert_eq!(seen(thread, None, hidden), 0);
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
        assert!(is_full(&server(1), 4, 99_000.0));
        assert!(!is_full(&server(1), 4, 80_000.0));
        assert!(is_full(&server(1000), 4, 4.0 * 99_000.0));
        assert!(!is_full(&server(1000), 4, 4.0 * 80_000.0));
    }
}

//! A trial's result: the keys of `trial-N.json` and of `loadgen run --json`.
//!
//! Times are microseconds; an empty histogram has count 0 and nulls.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Context;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::recording::record::Recording;
use crate::recording::{hgrm, hlog};
use crate::verdict::judge::{self, Judgement};
use crate::workload::load::{Load, Mode, Workload};

/// The version of the JSON written here.
pub const SCHEMA_VERSION: u32 = 1;

/// Whether the figures can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    /// The generator kept its promises; whatever the server did is a result.
    Valid,
    /// The measuring itself failed; `causes` says how.
    Invalid,
}

/// Why a trial is INVALID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The generator sent late, or its thread was runnable but not running.
    GeneratorLate,
    /// Open loop: the generator's thread had no time left.
    GeneratorSaturated,
    /// Not all connections could be opened, through the generator's own limits.
    ConnectionsMissing,
    /// Answers were wrong.
    Mismatch,
    /// Nothing was answered.
    NoAnswer,
    /// The hypervisor or another process took the machine.
    MachineStolen,
}

/// `closed` or `open`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LoadKind {
    /// The next request waits for an answer.
    Closed,
    /// The next request waits for nothing but its time.
    Open,
}

/// One trial, as written to `trial-N.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// VALID or INVALID.
    pub verdict: Verdict,
    /// Why it is INVALID; empty when VALID.
    pub causes: Vec<Cause>,
    /// Remarks that do not spoil the figures, such as `generator-bound` or `rate-not-reached`.
    pub notes: Vec<String>,
    /// Closed or open loop.
    pub load: LoadKind,
    /// The protocol.
    pub mode: Mode,
    /// Measured connections that were asked for.
    pub connections: usize,
    /// The measured time, seconds.
    pub duration_s: f64,
    /// Requests that became due in the measured time.
    pub scheduled: u64,
    /// Of these, answered rightly before the end of the drain.
    pub answered: u64,
    /// Of these, ended by an error of their connection.
    pub failed: u64,
    /// Of these, sent and unanswered at the end of the drain.
    pub in_flight: u64,
    /// Of these, not sent by the end of the drain.
    pub never_sent: u64,
    /// Answers whose bytes were wrong, and echoes of nothing.
    pub mismatches: u64,
    /// Right answers in the measured time, a second: neither those of the drain nor the wait for them count.
    pub rate: f64,
    /// The rate that was asked for; closed loop: null.
    pub offered_rate: Option<f64>,
    /// Payload bytes sent in the measured time.
    pub bytes_sent: u64,
    /// Payload bytes received in the measured time.
    pub bytes_received: u64,
    /// Connections with at least one answer.
    pub connections_answered: usize,
    /// Fairness: the answers of the worst and of the best served connection.
    pub answers_per_connection: MinMax,
    /// Answer minus intended time.
    pub response_us: Quantiles,
    /// Answer minus actual send.
    pub service_us: Quantiles,
    /// How late the generator itself was.
    pub lateness_us: Quantiles,
    /// Time queued for a free connection.
    pub wait_us: Quantiles,
    /// Time to connect.
    pub connect_us: Quantiles,
    /// Errors by kind, such as `reset` or `closed-early`.
    pub errors: BTreeMap<String, u64>,
    /// What the server spent; null where the server's process is unknown.
    pub server: Option<ServerCosts>,
    /// What the generator spent.
    pub generator: GeneratorCosts,
    /// The whole machine in the measured time.
    pub machine: MachineShares,
}

impl Trial {
    /// Whether the server kept up with the schedule; in a closed loop there is none to keep up with.
    pub fn kept_up(&self) -> bool {
        judge::kept_up(&self.notes)
    }

    /// Sums up and judges what was recorded.
    pub fn new(
        workload: &Workload,
        recording: &Recording,
        server: Option<ServerCosts>,
        machine: MachineShares,
    ) -> Self {
        let Judgement { causes, notes } =
            judge::judge(workload, recording, server.as_ref(), &machine);
        let counts = &recording.counts;
        let duration = workload.duration.as_secs_f64();
        let cpu: f64 = recording.threads.iter().map(|t| t.cpu.as_secs_f64()).sum();
        let span: f64 = recording.threads.iter().map(|t| t.span.as_secs_f64()).sum();
        let threads = recording.threads.len();
        Self {
            schema_version: SCHEMA_VERSION,
            verdict: if causes.is_empty() {
                Verdict::Valid
            } else {
                Verdict::Invalid
            },
            causes,
            notes,
            load: match workload.load {
                Load::Closed => LoadKind::Closed,
                Load::Open { .. } => LoadKind::Open,
            },
            mode: workload.mode,
            connections: workload.connections,
            duration_s: duration,
            scheduled: counts.scheduled,
            answered: counts.answered,
            failed: counts.failed,
            in_flight: counts.in_flight,
            never_sent: counts.never_sent,
            mismatches: counts.mismatches,
            rate: counts.in_time as f64 / duration,
            offered_rate: workload.offered_rate(),
            bytes_sent: counts.bytes_sent,
            bytes_received: counts.bytes_received,
            connections_answered: recording.connections_answered,
            answers_per_connection: recording.answers_per_connection,
            response_us: Quantiles::of(&recording.times.response),
            service_us: Quantiles::of(&recording.times.service),
            lateness_us: Quantiles::of(&recording.times.lateness),
            wait_us: Quantiles::of(&recording.times.wait),
            connect_us: Quantiles::of(&recording.connect),
            errors: counts
                .errors
                .iter()
                .map(|(kind, count)| (kind.to_string(), *count))
                .collect(),
            server,
            generator: GeneratorCosts {
                cpu_us_per_request: (counts.in_time > 0).then(|| cpu * 1e6 / counts.in_time as f64),
                cpu_share: if span > 0.0 { cpu / span } else { 0.0 },
                threads,
            },
            machine,
        }
    }
}

/// Writes `trial-<n>.json`, `.hlog` and `.hgrm` to `dir`. They appear whole: the JSON last, so that
/// where it is, the others are.
pub fn write(dir: &Path, n: usize, trial: &Trial, recording: &Recording) -> anyhow::Result<()> {
    let write_all = || -> anyhow::Result<()> {
        fs::create_dir_all(dir)?;
        let unfinished = tempfile::Builder::new()
            .prefix(".unfinished-")
            .tempdir_in(dir)?;
        let files = ["hlog", "hgrm", "json"].map(|suffix| format!("trial-{n}.{suffix}"));
        let [log, percentiles, json] = files.each_ref().map(|name| unfinished.path().join(name));
        fs::write(log, hlog::render(recording)?)?;
        fs::write(percentiles, hgrm::render(&recording.times.response))?;
        fs::write(json, serde_json::to_string_pretty(trial)? + "\n")?;
        for name in &files {
            fs::rename(unfinished.path().join(name), dir.join(name))?;
        }
        Ok(())
    };
    write_all().with_context(|| format!("cannot write the results to {}", dir.display()))
}

/// The least and the greatest of a count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MinMax {
    /// The least.
    pub min: u64,
    /// The greatest.
    pub max: u64,
}

/// A histogram in figures, microseconds; all null when `count` is 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names are the field's own")]
pub struct Quantiles {
    pub count: u64,
    pub min: Option<f64>,
    pub mean: Option<f64>,
    pub stddev: Option<f64>,
    pub p50: Option<f64>,
    pub p75: Option<f64>,
    pub p90: Option<f64>,
    pub p95: Option<f64>,
    pub p99: Option<f64>,
    pub p99_9: Option<f64>,
    pub p99_99: Option<f64>,
    pub max: Option<f64>,
}

impl Quantiles {
    /// The figures of a histogram of nanoseconds.
    pub fn of(histogram: &Histogram<u64>) -> Self {
        if histogram.is_empty() {
            return Self::default();
        }
        let us = |nanos: f64| Some(nanos / 1e3);
        let at = |quantile| us(histogram.value_at_quantile(quantile) as f64);
        Self {
            count: histogram.len(),
            min: us(histogram.min() as f64),
            mean: us(histogram.mean()),
            stddev: us(histogram.stdev()),
            p50: at(0.5),
            p75: at(0.75),
            p90: at(0.9),
            p95: at(0.95),
            p99: at(0.99),
            p99_9: at(0.999),
            p99_99: at(0.9999),
            max: us(histogram.max() as f64),
        }
    }
}

/// The server's whole process tree over the measured time; null: could not be had here.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ServerCosts {
    /// The process that was started or named.
    pub pid: u32,
    /// CPU time, microseconds for each answered request.
    pub cpu_us_per_request: Option<f64>,
    /// Context switches for each answered request.
    pub context_switches_per_request: Option<f64>,
    /// System calls for each answered request.
    pub syscalls_per_request: Option<f64>,
    /// Proportional set size at the end of the measured time, KiB.
    pub pss_kib: Option<u64>,
    /// Threads over the whole tree at the end of the measured time.
    pub threads: Option<u64>,
    /// Processes of the tree at the end of the measured time.
    pub processes: Option<u64>,
}

/// The generator's own threads over the measured time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct GeneratorCosts {
    /// CPU time (user and system), microseconds for each answered request.
    pub cpu_us_per_request: Option<f64>,
    /// CPU time over the time of its threads: 1 is a full core for each.
    pub cpu_share: f64,
    /// Generator threads.
    pub threads: usize,
}

/// The machine from the start of the warm-up to the end of the measured time, as shares of all its
/// cores.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct MachineShares {
    /// Busy (without the spinners that keep the cores awake).
    pub cpu_share: f64,
    /// Busy with neither the generator nor the server, where the server's process is known.
    pub foreign_share: f64,
    /// Taken by the hypervisor.
    pub steal_share: f64,
}

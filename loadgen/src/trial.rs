//! A trial's result: the keys of `trial-N.json` and of `loadgen run --json`.
//!
//! Times are microseconds; an empty histogram has count 0 and nulls.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::workload::Mode;

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
    /// Answers whose bytes were wrong.
    pub mismatches: u64,
    /// Answered a second.
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

/// The machine over the measured time, as shares of all its cores.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct MachineShares {
    /// Busy (without the spinners that keep the cores awake).
    pub cpu_share: f64,
    /// Busy with neither the server nor the generator.
    pub foreign_share: f64,
    /// Taken by the hypervisor.
    pub steal_share: f64,
}

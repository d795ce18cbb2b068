//! A trial's result: the keys of `trial-N.json` and of `loadgen run --json`.
//!
//! Times are microseconds; an empty histogram has count 0 and nulls.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::observe::observed::{MachineShares, Observed, ServerCosts};
use crate::recording::account::MinMax;
use crate::recording::histogram::Quantiles;
use crate::recording::record::{Recording, ThreadTime};
use crate::recording::stages::StageRecord;
use crate::recording::{hgrm, hlog};
use crate::results::shard::{ShardResult, ShardRow};
use crate::verdict::cause::{Cause, Verdict};
use crate::verdict::judge::Judgement;
use crate::verdict::note::{self, Note};
use crate::workload::load::{Load, Mode, Workload};

/// The version of the JSON written here.
pub const SCHEMA_VERSION: u32 = 1;

/// `closed` or `open`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LoadKind {
    /// Each client sends its next request when the previous answer arrives.
    Closed,
    /// Requests are sent by a schedule, whether answers arrive or not.
    Open,
}

/// One trial, as written to `trial-N.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// VALID, FAILED or INVALID.
    pub verdict: Verdict,
    /// Why it is FAILED or INVALID; empty when VALID.
    pub causes: Vec<Cause>,
    /// Remarks, such as `generator-bound` or `rate-not-reached`.
    pub notes: Vec<Note>,
    /// Closed or open loop.
    pub load: LoadKind,
    /// The protocol.
    pub mode: Mode,
    /// Measured connections that were asked for.
    pub connections: usize,
    /// The measured time, seconds.
    pub duration_s: f64,
    /// How long a request was waited for, seconds; null: as long as it took.
    #[serde(default)]
    pub timeout_s: Option<f64>,
    /// How long a connection was waited for, seconds; null: as long as the kernel did.
    #[serde(default)]
    pub connect_timeout_s: Option<f64>,
    /// A connection got this many requests at most; null: any number.
    #[serde(default)]
    pub requests_per_connection: Option<u64>,
    /// The age at which a connection was replaced, seconds; null: none.
    #[serde(default)]
    pub connection_age_s: Option<f64>,
    /// The time between an answer and the next request, as `--think` has it; null: none.
    #[serde(default)]
    pub think: Option<String>,
    /// Requests that became due in the measured time.
    pub scheduled: u64,
    /// Of these, answered rightly before the end of the drain.
    pub answered: u64,
    /// Of these, ended by an error of their connection, or given up.
    pub failed: u64,
    /// Of the failed ones, given up after `timeout_s`. They count in `response_us` with the age that they had.
    #[serde(default)]
    pub timed_out: u64,
    /// Of these, sent and unanswered at the end of the drain.
    pub in_flight: u64,
    /// Of these, not sent by the end of the drain.
    pub never_sent: u64,
    /// Wrong answers: other bytes, echoes of bytes that were never sent, refused HTTP statuses, what is not HTTP.
    pub mismatches: u64,
    /// Right answers a second in the measured time. The drain does not count, neither its answers nor its time.
    pub rate: f64,
    /// The rate that was asked for; closed loop: null.
    pub offered_rate: Option<f64>,
    /// Payload bytes sent in the measured time.
    pub bytes_sent: u64,
    /// Payload bytes received in the measured time.
    pub bytes_received: u64,
    /// Connections with at least one answer.
    pub connections_answered: usize,
    /// Connections that wanted an answer in the measured time and had none until the end of the drain, not even a wrong
    /// one. In an open loop of few requests some connections want none.
    #[serde(default)]
    pub connections_unanswered: usize,
    /// Fairness: the fewest and the most answers of a connection.
    pub answers_per_connection: MinMax,
    /// Answer minus intended time.
    pub response_us: Quantiles,
    /// The same by stage, where the rate changed in stages.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<StageResult>,
    /// Answer minus actual send.
    pub service_us: Quantiles,
    /// How late the generator itself was.
    pub lateness_us: Quantiles,
    /// Time queued for a free connection.
    pub wait_us: Quantiles,
    /// How long answers lay in the kernel before the generator read them; of a sample, unless all have a stamp.
    #[serde(default)]
    pub read_delay_us: Quantiles,
    /// Time to connect.
    pub connect_us: Quantiles,
    /// The TLS handshake, a part of the time to connect; count 0 in clear text.
    #[serde(default)]
    pub tls_us: Quantiles,
    /// TLS handshakes of `tls_us` that went on with an earlier session.
    #[serde(default)]
    pub tls_resumed: u64,
    /// What was asked of it by `--goal`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub goals: Vec<GoalResult>,
    /// Errors by kind, such as `reset` or `closed-early`.
    pub errors: BTreeMap<String, u64>,
    /// What the server spent; null where the server's process is unknown.
    pub server: Option<ServerCosts>,
    /// What the generator spent.
    pub generator: GeneratorCosts,
    /// The whole machine in the measured time.
    pub machine: MachineShares,
    /// Which part of a common load it is; only of a shard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<ShardResult>,
    /// The shards that it was made of; only of a merged trial.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shards: Vec<ShardRow>,
}

impl Trial {
    /// What counts as failed where a goal is judged. In an open loop a client may wait for the answer to a request of the
    /// warm-up until the end, and this request is counted nowhere else.
    pub fn failed_or_starved(&self) -> u64 {
        let counted = self.failed + self.in_flight;
        self.failed + (self.connections_unanswered as u64).saturating_sub(counted)
    }

    /// Whether the server kept up with the schedule; true in a closed loop, which has none.
    pub fn kept_up(&self) -> bool {
        note::kept_up(&self.notes)
    }

    /// Sums up what was recorded, seen and judged.
    pub fn new(
        workload: &Workload,
        recording: &Recording,
        observed: &Observed,
        judgement: Judgement,
    ) -> Self {
        let Judgement { causes, notes } = judgement;
        let counts = &recording.counts;
        let duration = workload.duration.as_secs_f64();
        let used = |thread: &ThreadTime| thread.cpu.saturating_sub(thread.spun).as_secs_f64();
        let cpu: f64 = recording.threads.iter().map(used).sum();
        let span: f64 = recording.threads.iter().map(|t| t.span.as_secs_f64()).sum();
        let threads = recording.threads.len();
        let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
        let client = &workload.client;
        Self {
            schema_version: SCHEMA_VERSION,
            verdict: Verdict::of(&causes),
            causes,
            notes,
            load: match workload.load {
                Load::Closed => LoadKind::Closed,
                Load::Open { .. } => LoadKind::Open,
            },
            mode: workload.mode,
            connections: workload.connections,
            duration_s: duration,
            timeout_s: seconds(client.timeout),
            connect_timeout_s: seconds(client.connect_timeout),
            requests_per_connection: client.requests_per_connection,
            connection_age_s: seconds(client.connection_age),
            think: client.think.map(|think| think.to_string()),
            scheduled: counts.scheduled,
            answered: counts.answered,
            failed: counts.failed,
            timed_out: counts.timed_out(),
            in_flight: counts.in_flight,
            never_sent: counts.never_sent,
            mismatches: counts.mismatches,
            rate: counts.in_time as f64 / duration,
            offered_rate: workload.offered_rate(),
            bytes_sent: counts.bytes_sent,
            bytes_received: counts.bytes_received,
            connections_answered: recording.connections_answered,
            connections_unanswered: recording.connections_unanswered,
            answers_per_connection: recording.answers_per_connection,
            response_us: Quantiles::of(&recording.times.response),
            stages: recording
                .stages
                .records()
                .iter()
                .map(StageResult::of)
                .collect(),
            service_us: Quantiles::of(&recording.times.service),
            lateness_us: Quantiles::of(&recording.times.lateness),
            wait_us: Quantiles::of(&recording.times.wait),
            read_delay_us: Quantiles::of(&recording.times.read_delay),
            connect_us: Quantiles::of(&recording.connect),
            tls_us: Quantiles::of(&recording.tls),
            tls_resumed: recording.resumed,
            goals: Vec::new(),
            errors: counts
                .errors
                .iter()
                .map(|(kind, count)| (kind.to_string(), *count))
                .collect(),
            server: observed.server,
            generator: GeneratorCosts {
                cpu_us_per_request: (counts.in_time > 0).then(|| cpu * 1e6 / counts.in_time as f64),
                cpu_share: (span > 0.0).then(|| cpu / span),
                threads,
            },
            machine: observed.machine,
            shard: None,
            shards: Vec::new(),
        }
    }
}

/// What a trial says of a goal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GoalResult {
    /// Such as `p99<5ms`.
    pub goal: String,
    /// The figure of the response time, microseconds. Null: it lies among the failed requests, there were too few, or
    /// the goal is of another kind.
    pub value_us: Option<f64>,
    /// The share of failed requests, 0 to 1. Null: there was none, or the goal is of another kind.
    pub failed_share: Option<f64>,
    /// Whether it was met; null: there were too few requests to say.
    pub met: Option<bool>,
}

/// The requests that were due in one stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageResult {
    /// The rate at its beginning, requests a second.
    pub from: f64,
    /// The rate at its end, requests a second.
    pub to: f64,
    /// How long it lasted, seconds.
    pub length_s: f64,
    /// Became due in it.
    pub scheduled: u64,
    /// Of these, answered rightly before the end of the drain.
    pub answered: u64,
    /// Of these, ended by an error.
    pub failed: u64,
    /// Answer minus intended time.
    pub response_us: Quantiles,
}

impl StageResult {
    fn of(record: &StageRecord) -> Self {
        let stage = &record.stage;
        Self {
            from: stage.from,
            to: stage.to,
            length_s: stage.length.as_secs_f64(),
            scheduled: record.scheduled,
            answered: record.answered,
            failed: record.failed,
            response_us: Quantiles::of(&record.response),
        }
    }
}

/// Writes `trial-<n>.json`, `.hlog` and `.hgrm` to `dir`. Each appears whole, and the JSON last: if it is there, the
/// others are too.
pub fn write(dir: &Path, n: usize, trial: &Trial, recording: &Recording) -> anyhow::Result<()> {
    let log = |path: &Path| {
        let log = hlog::render(recording, trial.shard.is_some())?;
        Ok(fs::write(path, log)?)
    };
    write_with(dir, n, trial, &recording.times.response, log)
}

/// The same for a log that is there already, and its response times.
pub fn write_merged(
    dir: &Path,
    n: usize,
    trial: &Trial,
    response: &Histogram<u64>,
    log: &Path,
) -> anyhow::Result<()> {
    write_with(dir, n, trial, response, |path| Ok(fs::rename(log, path)?))
}

fn write_with(
    dir: &Path,
    n: usize,
    trial: &Trial,
    response: &Histogram<u64>,
    write_log: impl FnOnce(&Path) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let write_all = || -> anyhow::Result<()> {
        fs::create_dir_all(dir)?;
        let unfinished = tempfile::Builder::new()
            .prefix(".unfinished-")
            .tempdir_in(dir)?;
        let files = ["hlog", "hgrm", "json"].map(|suffix| format!("trial-{n}.{suffix}"));
        let [log, percentiles, json] = files.each_ref().map(|name| unfinished.path().join(name));
        write_log(&log)?;
        fs::write(percentiles, hgrm::render(response))?;
        fs::write(json, serde_json::to_string_pretty(trial)? + "\n")?;
        for name in &files {
            fs::rename(unfinished.path().join(name), dir.join(name))?;
        }
        Ok(())
    };
    write_all().with_context(|| format!("cannot write the results to {}", dir.display()))
}

/// The generator's own threads over the measured time, without the time in which they asked for answers and had none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct GeneratorCosts {
    /// CPU time (user and system), microseconds for each answered request.
    pub cpu_us_per_request: Option<f64>,
    /// CPU time as a share of the time of all threads: 1 means that each used a whole core.
    pub cpu_share: Option<f64>,
    /// Generator threads.
    pub threads: usize,
}

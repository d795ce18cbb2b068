//! The part of a trial's result that says which shard it is.

use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use toml::Table;

use crate::observe::clock_error::ClockError;
use crate::recording::record::Measured;
use crate::verdict::cause::{Cause, Verdict};
use crate::workload::course::{Course, Stage};
use crate::workload::load::{Arrivals, Load, Mode, Shard, Workload};

/// Which part of a common load a trial is, on which host, and when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShardResult {
    /// From 1.
    pub number: usize,
    /// Shards of the whole.
    pub of: usize,
    /// The version of loadgen.
    pub loadgen: String,
    /// The hostname.
    pub host: String,
    /// Tells one start of a machine from another; null: it cannot be read.
    pub boot_id: Option<String>,
    /// The server.
    pub target: String,
    /// The seed that all shards have in common.
    pub seed: u64,
    /// What all shards were asked for.
    pub asked: Asked,
    /// When the warm-up was to begin, UTC; null: at once.
    pub start_at: Option<String>,
    /// When the measured time began, UTC by this machine's clock.
    pub begin: String,
    /// When it ended.
    pub end: String,
    /// `begin` by the machine's monotonic clock, nanoseconds.
    pub begin_monotonic_ns: u64,
    /// How far the machine's clock was moved while it measured, microseconds.
    pub clock_moved_us: f64,
    /// How far the clock may be off; null: nobody says.
    pub clock: Option<ClockError>,
}

/// What is asked of all shards of a load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// The protocol.
    pub mode: Mode,
    /// Requests a second of all shards together; closed loop: null.
    pub rate: Option<f64>,
    /// How the open loop spaces them; closed loop: null.
    pub arrivals: Option<Arrivals>,
    /// How the rate changes: `steady`, stages as `--stages` has them, or the SHA-256 of recorded instants.
    pub course: String,
    /// Requests in flight on each connection, at most.
    pub pipeline: usize,
    /// Bytes of an echo message.
    pub size: usize,
    /// The warm-up, seconds.
    pub warmup_s: f64,
    /// The measured time, seconds.
    pub duration_s: f64,
    /// The drain, seconds.
    pub drain_s: f64,
    /// Which answers carry the kernel's stamp: `sampled`, `kernel` or `user`.
    pub timestamps: String,
    /// Connections made and closed a second, of all shards together.
    pub churn: f64,
    /// Over TLS.
    pub tls: bool,
    /// The flags of the load as keys of a scenario, with the defaults of those that were not given.
    pub keys: Table,
    /// The SHA-256 of all else: the requests of HTTP and raw, and the limits of a client.
    pub others: String,
}

/// Keys that each host may have for itself. What is in the files is held against each other by `course` and `others`.
pub const OF_A_HOST: [&str; 7] = [
    "body_file",
    "ca_file",
    "replay",
    "requests",
    "send_file",
    "source",
    "source_addresses",
];

/// Keys that are fields of [`Asked`], or say how one of them came about: a time may be written in two ways.
const SAID_TWICE: [&str; 13] = [
    "arrivals",
    "churn",
    "drain",
    "duration",
    "mode",
    "pipeline",
    "rate",
    "size",
    "speed",
    "stages",
    "timestamps",
    "tls",
    "warmup",
];

/// A shard in the result that it became a part of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShardRow {
    /// From 1.
    pub number: usize,
    /// The hostname.
    pub host: String,
    /// Of its own trial.
    pub verdict: Verdict,
    /// Of its own trial.
    pub causes: Vec<Cause>,
    /// Connections that it had.
    pub connections: usize,
    /// Requests that became due.
    pub scheduled: u64,
    /// Of these, answered rightly.
    pub answered: u64,
    /// Right answers a second.
    pub rate: f64,
    /// The 99th percentile of its response times, microseconds.
    pub response_p99_us: Option<f64>,
    /// How late it was at most, microseconds.
    pub lateness_max_us: Option<f64>,
    /// The longest read delay, microseconds.
    pub read_delay_max_us: Option<f64>,
    /// When its measured time began, UTC by its own clock.
    pub begin: String,
    /// How far its clock was ahead of the clock that all have in common, microseconds; null: nobody knows.
    pub clock_ahead_us: Option<f64>,
    /// How far that may be off, microseconds; null: nobody knows.
    pub clock_bound_us: Option<f64>,
    /// Who says that: `same machine`, `measured` (loadgen clock), `kernel` or `chrony`; null: nobody.
    #[serde(default)]
    pub clock_source: Option<String>,
}

impl ShardResult {
    /// Of a trial that was measured then, of a load that was asked for with these keys.
    pub fn new(
        workload: &Workload,
        keys: Table,
        measured: &Measured,
        host: String,
        boot_id: Option<String>,
        clock: Option<ClockError>,
    ) -> Self {
        let Shard { index, of } = workload.shard;
        let time =
            |since: Duration| humantime::format_rfc3339_nanos(UNIX_EPOCH + since).to_string();
        Self {
            number: index + 1,
            of,
            loadgen: env!("CARGO_PKG_VERSION").to_owned(),
            host,
            boot_id,
            target: workload.target.to_string(),
            seed: workload.seed,
            asked: Asked::of(workload, keys),
            start_at: workload
                .start_at
                .map(|at| humantime::format_rfc3339_nanos(at).to_string()),
            begin: time(measured.begin),
            end: time(measured.end),
            begin_monotonic_ns: measured.monotonic,
            clock_moved_us: measured.moved as f64 / 1e3,
            clock,
        }
    }
}

impl Asked {
    fn of(workload: &Workload, mut keys: Table) -> Self {
        // It may be a part of the URL.
        if let [request] = workload.http.requests.as_slice()
            && workload.mode == Mode::Http
            && !keys.contains_key("requests")
        {
            keys.insert("path".to_owned(), request.path.clone().into());
        }
        let (rate, arrivals) = match workload.load {
            Load::Closed => (None, None),
            Load::Open { rate, arrivals } => (Some(rate), Some(arrivals)),
        };
        let digest = |text: &str| format!("{:x}", Sha256::digest(text));
        let seconds = |span: Duration| span.as_secs_f64();
        Self {
            mode: workload.mode,
            rate,
            arrivals,
            course: match &workload.course {
                Course::Steady => "steady".to_owned(),
                Course::Stages(stages) => {
                    let stages: Vec<String> = stages.iter().map(Stage::to_string).collect();
                    stages.join(",")
                }
                Course::Recorded(instants) => digest(&format!("{instants:?}")),
            },
            pipeline: workload.pipeline,
            size: workload.size,
            warmup_s: seconds(workload.warmup),
            duration_s: seconds(workload.duration),
            drain_s: seconds(workload.drain),
            timestamps: format!("{:?}", workload.timestamps).to_lowercase(),
            churn: workload.neighbours.churn,
            tls: workload.tls.is_some(),
            keys,
            others: digest(&format!(
                "{:?} {:?} {:?}",
                workload.http, workload.raw, workload.client
            )),
        }
    }

    /// The first difference from what another shard was asked for, in words.
    pub fn difference(&self, other: &Self) -> Option<String> {
        let fields = |asked: &Self| {
            let value = serde_json::to_value(asked).unwrap_or_default();
            value.as_object().cloned().unwrap_or_default()
        };
        let with_keys = |asked: &Self| {
            let mut fields = fields(asked);
            let keys = fields.remove("keys");
            let others = fields.remove("others");
            let keys = keys.and_then(|keys| keys.as_object().cloned());
            for (key, value) in keys.into_iter().flatten() {
                if !OF_A_HOST.contains(&key.as_str()) && !SAID_TWICE.contains(&key.as_str()) {
                    fields.insert(key, value);
                }
            }
            fields.extend(others.map(|others| ("others".to_owned(), others)));
            fields
        };
        let theirs = with_keys(other);
        with_keys(self)
            .into_iter()
            .find(|(name, mine)| theirs.get(name) != Some(mine))
            .map(|(name, mine)| match theirs.get(&name) {
                _ if name == "others" => "the requests or the limits of a client differ".to_owned(),
                Some(theirs) => format!("{name} is {mine} and {theirs}"),
                None => format!("{name} is {mine} and not known"),
            })
    }
}

//! A run whose trials are made up.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram;
use loadgen::observe::cores::allowed_cpus;
use loadgen::observe::machine::Machine;
use loadgen::observe::observed::{MachineShares, ServerCosts};
use loadgen::recording::account::{Counts, MinMax, NeighbourCounts};
use loadgen::recording::histogram::{Quantiles, histogram};
use loadgen::recording::record::{Measured, Recording};
use loadgen::recording::stages::StageRecords;
use loadgen::recording::times::{Interval, Times};
use loadgen::report::style::Style;
use loadgen::report::summary::Summary;
use loadgen::report::text;
use loadgen::results::directory::{PointDir, RunDir};
use loadgen::results::run::{NoResult, Run, Settings, Status};
use loadgen::results::trial::{self, GeneratorCosts, LoadKind, Trial};
use loadgen::verdict::cause::{Cause, Verdict};
use loadgen::verdict::note::Note;
use loadgen::workload::load::Mode;
use loadgen::workload::percentile::Percentile;
use loadgen::workload::profile::{Profile, ScenarioFile};
use tempfile::TempDir;

const SCENARIOS: &str = r#"
trials = 3
[[scenario]]
name = "active"
question = "100 busy connections: throughput and latency"
connections = 100
rank = "rate"
[[server]]
name = "epoll"
crate = "epoll"
[[server]]
name = "poll"
crate = "poll"
[[server]]
name = "a-server-with-a-name"
crate = "threads"
[[server]]
name = "stolen"
crate = "select"
[[server]]
name = "small"
crate = "sequential"
[[server]]
name = "smaller"
crate = "sequential"
"#;

/// The run, in a directory that is removed in the end.
pub struct Results {
    _top: TempDir,
    pub directory: RunDir,
    pub run: Run,
}

impl Results {
    pub fn new(trials: usize) -> Self {
        Self::of(trials, SCENARIOS)
    }

    /// Of these scenarios.
    pub fn of(trials: usize, scenarios: &str) -> Self {
        let file = ScenarioFile {
            name: "x.toml".to_owned(),
            text: scenarios.to_owned(),
            base64: false,
        };
        Self::of_files(trials, vec![file])
    }

    /// Of the profile in these files.
    pub fn of_files(trials: usize, scenario_files: Vec<ScenarioFile>) -> Self {
        let top = tempfile::tempdir().unwrap();
        let run = Run {
            schema_version: trial::SCHEMA_VERSION,
            loadgen: "0.0.0".to_owned(),
            started: "2026-11-23T00-00-00Z".to_owned(),
            command: vec!["loadgen".to_owned(), "bench".to_owned()],
            commit: None,
            programs: None,
            machine: Machine::here(),
            shortcomings: Vec::new(),
            settings: Settings {
                servers: Vec::new(),
                scenarios: Vec::new(),
                trials,
                duration_s: None,
                percentiles: Percentile::OF_A_BENCH.to_vec(),
                seed: 1,
                keep_awake: true,
                server_cpus: Vec::new(),
                generator_cpus: allowed_cpus(),
                servers_dir: None,
                merged: false,
            },
            scenario_files,
        };
        Profile::from_kept(&run.scenario_files).unwrap();
        let directory = RunDir::create(&top.path().join("run"), &run).unwrap();
        Self {
            _top: top,
            directory,
            run,
        }
    }

    /// Writes a trial whose answers took these times, microseconds.
    pub fn trial(
        &self,
        server: &str,
        number: usize,
        rate: f64,
        times_us: &[u64],
        edit: fn(&mut Trial),
    ) {
        let place = self.directory.point("active", server, "connections-100");
        Self::write(&place, number, rate, times_us, edit);
    }

    pub fn write(
        place: &PointDir,
        number: usize,
        rate: f64,
        times_us: &[u64],
        edit: impl FnOnce(&mut Trial),
    ) {
        let mut times = Times::default();
        for us in times_us {
            times.response.record(us * 1000).unwrap();
            times.service.record(us * 1000).unwrap();
        }
        let mut trial = a_trial(rate, &times.response);
        edit(&mut trial);
        let recording = Recording {
            started: SystemTime::UNIX_EPOCH,
            measured: Measured::default(),
            connect: histogram(),
            tls: histogram(),
            resumed: 0,
            // Where nothing was measured the engine makes none.
            intervals: (!times_us.is_empty())
                .then(|| Interval::new(Duration::ZERO, Duration::from_secs(1), &times))
                .into_iter()
                .collect(),
            times,
            stages: StageRecords::default(),
            counts: Counts::default(),
            blocks: Vec::new(),
            connections_answered: 100,
            connections_unanswered: 0,
            answers_per_connection: MinMax::default(),
            connections_missing: 0,
            neighbours: NeighbourCounts::default(),
            threads: Vec::new(),
        };
        trial::write(place.path(), number, &trial, &recording).unwrap();
    }

    pub fn without(&self, server: &str, reason: &str) {
        self.no_result(server, Status::NotApplicable, reason);
    }

    pub fn no_result(&self, server: &str, status: Status, reason: &str) {
        let place = self.directory.point("active", server, "connections-100");
        let no_result = NoResult {
            status,
            reason: reason.to_owned(),
        };
        place.write_no_result(&no_result).unwrap();
    }

    pub fn summary(&self) -> Summary {
        Summary::read(&self.directory, &self.run).unwrap()
    }

    /// A run with something of everything.
    pub fn of_all_kinds() -> Self {
        let results = Self::new(3);
        for number in 1..=3 {
            let faster = 120_000.0 + 1_000.0 * number as f64;
            results.trial("epoll", number, faster, &[700, 800, 900], |_| {});
            results.trial("poll", number, 60_000.0, &[1600, 1700, 4900], |trial| {
                trial
                    .notes
                    .push(Note::GeneratorBound { server_busy: false });
                trial.failed = 2;
            });
            results.trial(
                "a-server-with-a-name",
                number,
                12_345.6,
                &[8000, 9000],
                |_| {},
            );
            results.trial("stolen", number, 500_000.0, &[1], |trial| {
                trial.verdict = Verdict::Invalid;
                trial.causes.push(Cause::MachineStolen);
            });
        }
        results.without("small", "serves 1 client at once");
        results.without("smaller", "serves 1 client at once");
        results
    }
}

fn a_trial(rate: f64, response: &Histogram<u64>) -> Trial {
    Trial {
        schema_version: trial::SCHEMA_VERSION,
        verdict: Verdict::Valid,
        causes: Vec::new(),
        notes: Vec::new(),
        load: LoadKind::Closed,
        mode: Mode::Echo,
        connections: 100,
        duration_s: 1.0,
        timeout_s: None,
        connect_timeout_s: None,
        requests_per_connection: None,
        connection_age_s: None,
        think: None,
        scheduled: response.len(),
        answered: response.len(),
        failed: 0,
        timed_out: 0,
        in_flight: 0,
        never_sent: 0,
        mismatches: 0,
        rate,
        offered_rate: None,
        bytes_sent: 0,
        bytes_received: 0,
        connections_answered: 100,
        connections_unanswered: 0,
        answers_per_connection: MinMax { min: 1, max: 1 },
        response_us: Quantiles::of(response),
        service_us: Quantiles::of(response),
        stages: Vec::new(),
        goals: Vec::new(),
        lateness_us: Quantiles::default(),
        wait_us: Quantiles::default(),
        read_delay_us: Quantiles::default(),
        connect_us: Quantiles::default(),
        tls_us: Quantiles::default(),
        tls_resumed: 0,
        errors: BTreeMap::new(),
        server: Some(ServerCosts {
            pid: 1,
            cpu_us_per_request: Some(1e6 / rate),
            context_switches_per_request: Some(0.02),
            syscalls_per_request: None,
            pss_kib: Some(3 * 1024),
            threads: Some(1),
            processes: Some(1),
        }),
        generator: GeneratorCosts::default(),
        machine: MachineShares::default(),
        shard: None,
        shards: Vec::new(),
    }
}

/// Its table, as text.
pub fn table_of(results: &Results, style: Style) -> String {
    text::for_section(&results.summary().sections[0], style)
}

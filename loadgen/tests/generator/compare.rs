//! `loadgen compare` on runs whose differences are known, made up and recorded.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use loadgen::engine;
use loadgen::measure::trial::judged;
use loadgen::observe::machine::Machine;
use loadgen::recording::account::{Counts, MinMax, NeighbourCounts};
use loadgen::recording::histogram::histogram;
use loadgen::recording::record::{Measured, Recording, ThreadTime};
use loadgen::recording::stages::StageRecords;
use loadgen::recording::times::{Interval, Times};
use loadgen::results::directory::RunDir;
use loadgen::results::run::{NoResult, Programs, Run, Settings, Status};
use loadgen::results::trial::{self, SCHEMA_VERSION, Trial};
use loadgen::verdict::cause::{Cause, Verdict};
use loadgen::verdict::note::Note;
use loadgen::workload::load::Workload;
use loadgen::workload::percentile::Percentile;
use loadgen::workload::profile::{Profile, ScenarioFile};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand_distr::{Distribution, LogNormal};
use serde_json::Value;
use tempfile::TempDir;

use crate::proofs::apart;
use crate::scripted::{Script, Server};
use crate::{Unwatched, quiet, workload};

/// One scenario of one point, `one/connections-4`.
const SCENARIO: &str = r#"
[[scenario]]
name = "one"
question = "What changed?"
connections = 4
rank = "p99"
[[server]]
name = "x"
crate = "x"
[[server]]
name = "y"
crate = "y"
"#;

/// Runs in a directory of their own.
struct Runs {
    top: TempDir,
}

impl Runs {
    fn new() -> Self {
        Self {
            top: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.top.path().join(name)
    }

    /// Begins a run; `edit` makes it differ from the others.
    fn begin(&self, name: &str, edit: impl FnOnce(&mut Run)) -> RunDir {
        let mut run = Run {
            schema_version: SCHEMA_VERSION,
            loadgen: "0.0.0".to_owned(),
            started: "2026-11-23T00-00-00Z".to_owned(),
            command: Vec::new(),
            commit: None,
            programs: None,
            machine: Machine::here(),
            shortcomings: Vec::new(),
            settings: Settings {
                servers: Vec::new(),
                scenarios: Vec::new(),
                trials: 5,
                duration_s: None,
                percentiles: Percentile::OF_A_BENCH.to_vec(),
                seed: 1,
                keep_awake: true,
                server_cpus: Vec::new(),
                generator_cpus: vec![0],
                servers_dir: None,
                merged: false,
            },
            scenario_files: vec![ScenarioFile {
                name: "x.toml".to_owned(),
                text: SCENARIO.to_owned(),
                base64: false,
            }],
        };
        edit(&mut run);
        Profile::from_kept(&run.scenario_files).unwrap();
        RunDir::create(&self.path(name), &run).unwrap()
    }

    fn compare(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_loadgen"))
            .arg("compare")
            .args(arguments)
            .current_dir(self.top.path())
            .output()
            .unwrap()
    }

    /// The row of a server, and the exit code.
    fn row(&self, a: &str, b: &str, server: &str) -> (Value, Option<i32>) {
        let output = self.compare(&[a, b, "--json"]);
        let comparison: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", text(&output.stderr)));
        let rows = comparison["rows"].as_array().unwrap();
        let row = rows.iter().find(|row| row["server"] == server).unwrap();
        (row.clone(), output.status.code())
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn place(run: &RunDir, server: &str) -> PathBuf {
    run.point("one", server, "connections-4").path().to_owned()
}

/// What a trial of a second would have recorded with these response times, nanoseconds.
fn recording(times_ns: impl IntoIterator<Item = f64>) -> Recording {
    let mut times = Times::default();
    for time in times_ns {
        times.response.record(time as u64).unwrap();
    }
    let answered = times.response.len();
    Recording {
        started: SystemTime::UNIX_EPOCH,
        measured: Measured::default(),
        connect: histogram(),
        tls: histogram(),
        resumed: 0,
        intervals: vec![Interval::new(
            Duration::ZERO,
            Duration::from_secs(1),
            &times,
        )],
        times,
        stages: StageRecords::default(),
        counts: Counts {
            scheduled: answered,
            answered,
            in_time: answered,
            ..Counts::default()
        },
        blocks: Vec::new(),
        connections_answered: 4,
        connections_unanswered: 0,
        answers_per_connection: MinMax::default(),
        connections_missing: 0,
        neighbours: NeighbourCounts::default(),
        threads: vec![ThreadTime {
            span: Duration::from_secs(1),
            run_delay: Some(Duration::ZERO),
            ..ThreadTime::default()
        }],
    }
}

fn write(place: &Path, number: usize, recording: &Recording, edit: impl FnOnce(&mut Trial)) {
    let workload = Workload {
        duration: Duration::from_secs(1),
        ..workload(([127, 0, 0, 1], 7000).into())
    };
    let mut trial = judged(&workload, recording, &quiet());
    edit(&mut trial);
    trial::write(place, number, &trial, recording).unwrap();
}

/// Trials whose times are log-normal, `spread` from trial to trial; the slowest 2 % take `tail` times as long.
fn trials(place: &Path, number: usize, rng: &mut StdRng, spread: f64, tail: f64) {
    let (between, within) = (
        LogNormal::new(0.0, spread).unwrap(),
        LogNormal::new(11.0, 0.1).unwrap(),
    );
    for number in 1..=number {
        let shift = between.sample(rng);
        let mut times: Vec<f64> = (0..2000).map(|_| shift * within.sample(rng)).collect();
        times.sort_by(f64::total_cmp);
        for time in &mut times[1960..] {
            *time *= tail;
        }
        write(place, number, &recording(times), |_| {});
    }
}

/// Two servers, each with as many trials of the same kind.
fn made_up(runs: &Runs, name: &str, seed: u64, number: usize, tail: f64) -> RunDir {
    let mut rng = StdRng::seed_from_u64(seed);
    let run = runs.begin(name, |_| {});
    for server in ["x", "y"] {
        trials(&place(&run, server), number, &mut rng, 0.01, tail);
    }
    run
}

#[test]
fn equals_show_no_difference_and_a_longer_tail_is_found() {
    let runs = Runs::new();
    let mut found = 0;
    for pair in 0..20 {
        let name = |what: &str| format!("{what}{pair}");
        made_up(&runs, &name("a"), 3 * pair, 5, 1.0);
        made_up(&runs, &name("same"), 3 * pair + 1, 5, 1.0);
        made_up(&runs, &name("tail"), 3 * pair + 2, 5, 1.1);
        let (row, code) = runs.row(&name("a"), &name("same"), "x");
        assert_eq!(row["verdict"], "no-difference-shown", "{row}");
        assert_eq!(code, Some(0));
        let (row, code) = runs.row(&name("a"), &name("tail"), "x");
        if row["figures"][0]["verdict"] == "slower" {
            assert_eq!((&row["verdict"], code), (&"slower".into(), Some(1)));
            found += 1;
        }
        assert_eq!(row["figures"][2]["figure"], "p50");
        assert_eq!(row["figures"][2]["verdict"], "no-difference-shown", "{row}");
    }
    assert!(found >= 18, "{found} of 20");
}

#[test]
fn trials_without_an_answer_in_time_have_no_rate_to_compare() {
    let runs = Runs::new();
    made_up(&runs, "a", 1, 3, 1.0);
    let run = made_up(&runs, "b", 2, 3, 1.0);
    write(&place(&run, "x"), 1, &recording([60e3; 2000]), |trial| {
        trial.rate = 0.0;
    });
    let (row, code) = runs.row("a", "b", "x");
    let figures = row["figures"].as_array().unwrap();
    assert!(figures.iter().all(|figure| figure["figure"] != "rate"));
    assert!(!figures.is_empty() && code != Some(2), "{row}");
}

/// A trial recorded at a server each of whose requests takes this long; as in a bench, one that is INVALID is
/// repeated twice at most.
fn recorded(run: &RunDir, number: usize, service: Duration) {
    for _ in 0..3 {
        let workload = Workload {
            seed: number as u64,
            // Twenty requests above the p99: what else the kernel does now and then must be fewer.
            duration: Duration::from_secs(1),
            ..apart(service)
        };
        let recording = engine::trial::run(&workload, &mut Unwatched).unwrap();
        let trial = judged(&workload, &recording, &quiet());
        trial::write(&place(run, "x"), number, &trial, &recording).unwrap();
        if trial.verdict == Verdict::Valid {
            return;
        }
    }
}

#[test]
#[ignore = "needs a quiet machine with two cores: make prove"]
fn recorded_equals_show_no_difference_and_ten_percent_are_found() {
    // The generator's core may sleep. If both cores are busy for minutes, a hypervisor takes pieces of 4 ms from them, and
    // these make the p99 of a trial.
    let service = Duration::from_micros(500);
    let runs = Runs::new();
    let (mut apart, mut found) = (Vec::new(), 0);
    for pair in 0..20 {
        let name = |what: &str| format!("{what}{pair}");
        let sides = ["a", "same", "slower"].map(|what| runs.begin(&name(what), |_| {}));
        // Of five a side, one trial that the machine disturbed hides such a difference.
        for number in 1..=10 {
            recorded(&sides[0], number, service);
            recorded(&sides[1], number, service);
            recorded(&sides[2], number, service.mul_f64(1.1));
        }
        let (row, _) = runs.row(&name("a"), &name("same"), "x");
        assert_ne!(row["verdict"], "not-comparable", "{row:#}");
        if row["verdict"] != "no-difference-shown" {
            apart.push(row);
        }
        let (row, _) = runs.row(&name("a"), &name("slower"), "x");
        found += usize::from(row["figures"][0]["verdict"] == "slower");
    }
    println!(
        "{} of 20 A/A pairs differ, {found} of 20 A/B pairs found",
        apart.len()
    );
    assert!(apart.is_empty(), "{apart:#?}");
    assert!(found >= 18, "{found} of 20");
}

#[test]
fn the_ratio_and_its_figures_are_those_of_the_trials() {
    let runs = Runs::new();
    for (name, factor) in [("a", 1), ("b", 2)] {
        let run = runs.begin(name, |_| {});
        for number in 1..=3 {
            // 100 to 199 us, or twice that at half the rate.
            let times = (0..400).map(|i| f64::from(factor) * f64::from(100 + i / 4) * 1e3);
            write(&place(&run, "x"), number, &recording(times), |trial| {
                trial.duration_s = f64::from(factor);
                trial.rate /= f64::from(factor);
            });
        }
    }
    let (row, code) = runs.row("a", "b", "x");
    assert_eq!(code, Some(1));
    assert_eq!(row["verdict"], "slower");
    for (at, figure, in_a, in_b) in [
        (0, "p99", 198.0, 396.0),
        (1, "rate", 400.0, 200.0),
        (2, "p50", 149.0, 298.0),
    ] {
        let compared = &row["figures"][at];
        assert_eq!(compared["figure"], figure);
        for (side, expected) in [("a", in_a), ("b", in_b), ("ratio", in_b / in_a)] {
            let value = compared[side].as_f64().unwrap();
            assert!((value / expected - 1.0).abs() < 2e-3, "{side}: {compared}");
        }
        assert_eq!(compared["verdict"], "slower");
    }
    let (row, code) = runs.row("b", "a", "x");
    assert_eq!((&row["verdict"], code), (&"faster".into(), Some(0)));
}

#[test]
fn the_percentiles_that_are_compared_can_be_chosen() {
    let runs = Runs::new();
    made_up(&runs, "a", 1, 5, 1.0);
    made_up(&runs, "b", 2, 5, 1.3);
    let compared = |arguments: &[&str]| -> (Vec<String>, u64, String) {
        let json = runs.compare(&[arguments, &["a", "b", "--json"]].concat());
        let json: Value = serde_json::from_slice(&json.stdout).unwrap();
        let figures = json["rows"][0]["figures"].as_array().unwrap().iter();
        let figures = figures.map(|figure| figure["figure"].as_str().unwrap().to_owned());
        let said = text(&runs.compare(&[arguments, &["a", "b"]].concat()).stdout);
        let heading = said.lines().find(|line| line.contains("server"));
        (
            figures.collect(),
            json["comparisons"].as_u64().unwrap(),
            heading.unwrap().to_owned(),
        )
    };
    // The scenario is ranked by the p99.
    let (figures, count, _) = compared(&[]);
    assert_eq!(figures, ["p99", "rate", "p50"]);
    let (chosen, fewer, heading) = compared(&["--percentiles", "95,75"]);
    assert_eq!(chosen, ["p99", "rate", "p75", "p95"]);
    assert_eq!(fewer, count / 3 * 4);
    let columns: Vec<&str> = heading.split_whitespace().collect();
    assert_eq!(
        columns,
        ["server", "requests/s", "p75", "p95", "p99", "verdict"]
    );
}

#[test]
fn the_threshold_is_the_gate() {
    let runs = Runs::new();
    made_up(&runs, "a", 1, 5, 1.0);
    made_up(&runs, "b", 2, 5, 1.3);
    for (threshold, code) in [("5%", 1), ("20%", 1), ("50%", 0)] {
        let output = runs.compare(&["a", "b", "--threshold", threshold]);
        assert_eq!(output.status.code(), Some(code), "{threshold}");
        let said = text(&output.stdout);
        assert!(
            said.contains("one, connections-4: x is slower: p99"),
            "{said}"
        );
        assert_eq!(said.contains("Regression"), code == 1, "{said}");
    }
}

#[test]
fn one_server_is_held_against_another_of_the_same_run() {
    let runs = Runs::new();
    let hash = |server: &str| (server.to_owned(), Some("0".repeat(64)));
    let run = runs.begin("run", |run| {
        run.programs = Some(Programs {
            loadgen: "1".repeat(64),
            servers: [hash("x"), hash("y")].into(),
        });
    });
    let mut rng = StdRng::seed_from_u64(1);
    trials(&place(&run, "x"), 5, &mut rng, 0.01, 1.0);
    trials(&place(&run, "y"), 5, &mut rng, 0.01, 3.0);
    let output = runs.compare(&["run:x", "run:y", "--markdown"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    assert!(
        said.starts_with("## B: `run:y` against A: `run:x`\n"),
        "{said}"
    );
    assert!(said.contains("* A and B are the same binary.\n"), "{said}");
    assert!(said.contains("y / x is slower: p99"), "{said}");
    assert!(said.contains("| y / x "), "{said}");
    let output = runs.compare(&["run:y", "run:x"]);
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn rows_that_cannot_be_compared_say_why() {
    let runs = Runs::new();
    let a = made_up(&runs, "a", 1, 3, 1.0);
    for (name, expected) in [
        ("few", "B: too few trials: 2 VALID of at least 3"),
        (
            "invalid",
            "B: too few trials: 2 VALID of at least 3, 1 INVALID (machine-stolen)",
        ),
        ("failed", "B: failed: died: signal 11"),
        ("wrong", "B: FAILED: 7 wrong answers in 1 of 3 trials"),
        ("load", "the loads differ"),
        ("absent", "only in a"),
    ] {
        let run = runs.begin(name, |run| match name {
            "load" => {
                let scenario = &mut run.scenario_files[0].text;
                *scenario = scenario.replace("rank", "idle = 1\nrank");
            }
            "absent" => run.settings.servers = vec!["y".to_owned()],
            _ => {}
        });
        let mut rng = StdRng::seed_from_u64(1);
        trials(&place(&run, "y"), 3, &mut rng, 0.01, 1.0);
        trials(&place(&run, "x"), 2, &mut rng, 0.01, 1.0);
        match name {
            "invalid" => write(&place(&run, "x"), 3, &recording([1e5]), |trial| {
                trial.verdict = Verdict::Invalid;
                trial.causes = vec![Cause::MachineStolen];
            }),
            "wrong" => write(&place(&run, "x"), 3, &recording([1e5]), |trial| {
                trial.verdict = Verdict::Failed;
                trial.causes = vec![Cause::WrongAnswers];
                trial.mismatches = 7;
            }),
            "failed" => {
                let no_result = NoResult {
                    status: Status::Failed,
                    reason: "died: signal 11".to_owned(),
                };
                let point = run.point("one", "x", "connections-4");
                point.write_no_result(&no_result).unwrap();
            }
            _ => {}
        }
        let (row, code) = runs.row("a", name, "x");
        assert_eq!(row["verdict"], "not-comparable", "{name}");
        let reason = row["reason"].as_str().unwrap();
        assert!(reason.starts_with(expected), "{name}: {reason}");
        // With another row that can be compared there is an answer; a server that broke is a regression.
        let expected_code = match name {
            "load" => 2,
            "failed" | "wrong" => 1,
            _ => 0,
        };
        assert_eq!(code, Some(expected_code), "{name}");
        let broke = ["failed", "wrong"].contains(&name);
        assert_eq!(row["broke"], broke, "{name}");
        let said = text(&runs.compare(&["a", name]).stdout);
        assert!(
            said.contains(&format!("x: {expected}")) || name == "load",
            "{said}"
        );
    }
    drop(a);
}

#[test]
fn a_server_that_fails_in_b_alone_is_a_regression() {
    let runs = Runs::new();
    for (name, number, wrong) in [("good", 1, 0), ("wrong", 1, 1), ("also-wrong", 3, 1)] {
        let run = runs.begin(name, |_| {});
        trials(
            &place(&run, "y"),
            3,
            &mut StdRng::seed_from_u64(1),
            0.01,
            1.0,
        );
        for number in 1..=number {
            write(&place(&run, "x"), number, &recording([1e5; 100]), |trial| {
                trial.mismatches = wrong;
                if wrong > 0 {
                    trial.verdict = Verdict::Failed;
                    trial.causes = vec![Cause::WrongAnswers];
                }
            });
        }
    }
    for (a, b, broke) in [
        // One good trial is enough to know that it can be done.
        ("good", "wrong", true),
        ("wrong", "good", false),
        ("wrong", "also-wrong", false),
    ] {
        let (row, code) = runs.row(a, b, "x");
        assert_eq!(row["verdict"], "not-comparable", "{row:#}");
        assert_eq!(row["broke"], broke, "{row:#}");
        assert_eq!(code, Some(i32::from(broke)), "{a} {b}");
    }
}

#[test]
fn a_server_that_left_clients_without_an_answer_is_not_called_faster() {
    let runs = Runs::new();
    for (name, service, unanswered) in [("all", 2e5, 0), ("some", 1e5, 3)] {
        let run = runs.begin(name, |_| {});
        for number in 1..=3 {
            write(
                &place(&run, "x"),
                number,
                &recording([service; 100]),
                |trial| {
                    trial.connections_unanswered = unanswered;
                },
            );
        }
    }
    let (row, code) = runs.row("all", "some", "x");
    assert_eq!(
        (&row["verdict"], code),
        (&"no-difference-shown".into(), Some(0))
    );
    assert_eq!(row["starved"], "B: 3 of 4 clients never answered");
    let said = text(&runs.compare(&["all", "some"]).stdout);
    assert!(
        said.contains("x: B: 3 of 4 clients never answered"),
        "{said}"
    );
    assert_eq!(
        runs.row("some", "all", "x").0["verdict"],
        "no-difference-shown"
    );
}

#[test]
fn what_the_generator_could_not_fill_is_not_called_slower() {
    let runs = Runs::new();
    for (name, service, bound) in [
        ("fast", 1e5, true),
        ("slow", 2e5, true),
        ("slow-itself", 2e5, false),
    ] {
        let run = runs.begin(name, |_| {});
        for number in 1..=3 {
            write(
                &place(&run, "x"),
                number,
                &recording([service; 100]),
                |trial| {
                    trial.notes = Vec::from_iter(
                        bound.then_some(Note::GeneratorBound { server_busy: false }),
                    );
                },
            );
        }
    }
    assert_eq!(
        runs.row("fast", "slow", "x").0["verdict"],
        "no-difference-shown"
    );
    assert_eq!(runs.row("fast", "slow-itself", "x").0["verdict"], "slower");
}

#[test]
fn runs_that_cannot_be_compared_are_refused_with_a_line() {
    let runs = Runs::new();
    made_up(&runs, "a", 1, 3, 1.0);
    runs.begin("machine", |run| run.machine.cpu = "Another".to_owned());
    runs.begin("asleep", |run| run.settings.keep_awake = false);
    runs.begin("version", |run| run.loadgen = "9.9.9".to_owned());
    made_up(&runs, "one-trial", 1, 1, 1.0);
    std::fs::create_dir(runs.path("empty")).unwrap();
    for (arguments, hint) in [
        (vec!["a", "machine"], "the machines differ"),
        (vec!["a", "asleep"], "keep_awake is true and false"),
        (vec!["a", "version"], "loadgen 9.9.9"),
        (
            vec!["a", "one-trial"],
            "no row of these two can be compared",
        ),
        (vec!["a", "empty"], "holds no run"),
        (vec!["a", "nowhere"], "holds no run"),
        (vec!["a", "a:z"], "no server `z`; it has x, y"),
        (vec!["a", "a", "--threshold", "0%"], "above 0"),
    ] {
        let output = runs.compare(&arguments);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(hint), "{arguments:?}: {said}");
    }
}

/// What came of the trials on a busy machine is not tried here: both sides are read, and loads that differ are named.
#[test]
fn what_run_wrote_can_be_compared() {
    let server = Server::start(Script::Echo);
    let runs = Runs::new();
    for (name, connections) in [("a", "2"), ("b", "2"), ("c", "3")] {
        let output = Command::new(env!("CARGO_BIN_EXE_loadgen"))
            .args(["run", &server.address.to_string(), "-c", connections])
            .args(["-d", "200ms", "--warmup", "10ms", "--trials", "3", "--out"])
            .arg(runs.path(name))
            .output()
            .unwrap();
        assert!(output.status.code().is_some_and(|code| code != 2));
    }
    let told = |a: &str, b: &str| {
        let output = runs.compare(&[a, b]);
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8(text).unwrap()
    };
    let same = told("a", "b");
    // A ratio, or too few VALID trials.
    assert!(
        same.contains("requests/s") || same.contains("VALID"),
        "{same}"
    );
    let other = told("a", "c");
    assert!(
        other.contains("the loads differ in connections: 2 and 3"),
        "{other}"
    );
}

//! `loadgen merge` of the directories of shards.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hdrhistogram::Histogram;
use loadgen::recording::hlog;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::scripted::{Script, Server};

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Changes a trial.
type Edit = fn(&mut Value);

/// The results of three shards, each in its own directory as three hosts would give them.
pub(crate) struct Shards(pub(crate) TempDir);

impl Shards {
    /// Three shards of 303 requests a second over ten connections, for a second. What the machine did to them is taken
    /// out: their measured times are the same, and they are VALID.
    pub(crate) fn measured() -> Self {
        let server = Server::start(Script::Echo);
        let shards = Self(tempfile::tempdir().unwrap());
        let start = SystemTime::now() + Duration::from_secs(1);
        let start = humantime::format_rfc3339(start).to_string();
        let children: Vec<_> = (1..=3)
            .map(|number| {
                Command::new(env!("CARGO_BIN_EXE_loadgen"))
                    .args(["run", &server.address.to_string(), "--start-at", &start])
                    .args(["--shard", &format!("{number}/3"), "-r", "303", "-c", "10"])
                    .args(["-d", "1s", "--warmup", "0s", "--drain", "20s"])
                    .args(["--goal", "max<1h", "--goal", "failed<=0"])
                    .args(["--arrivals", "constant", "--json", "--out"])
                    .arg(shards.host(number))
                    .stdout(Stdio::piped())
                    .spawn()
                    .unwrap()
            })
            .collect();
        for child in children {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{output:?}");
        }
        for number in 1..=3 {
            shards.edit(number, |trial| {
                trial["verdict"] = "VALID".into();
                trial["causes"] = json!([]);
                trial["notes"] = json!([]);
                trial["shard"]["start_at"] = "2026-01-01T00:00:00Z".into();
                trial["shard"]["begin"] = "2026-01-01T00:00:00Z".into();
                trial["shard"]["end"] = "2026-01-01T00:00:01Z".into();
                trial["shard"]["begin_monotonic_ns"] = 1_000_000_000.into();
                trial["shard"]["clock_moved_us"] = 0.0.into();
                trial["shard"]["host"] = format!("h{number}").into();
            });
        }
        shards
    }

    pub(crate) fn host(&self, number: usize) -> PathBuf {
        self.0.path().join(format!("h{number}"))
    }

    pub(crate) fn place(&self, number: usize) -> PathBuf {
        self.host(number).join(format!("shard-{number}-of-3"))
    }

    pub(crate) fn trial(&self, number: usize) -> Value {
        read(&self.place(number).join("trial-1.json"))
    }

    pub(crate) fn edit(&self, number: usize, edit: impl FnOnce(&mut Value)) {
        let mut trial = self.trial(number);
        edit(&mut trial);
        let file = self.place(number).join("trial-1.json");
        fs::write(file, trial.to_string()).unwrap();
    }

    pub(crate) fn whole(&self) -> PathBuf {
        self.0.path().join("whole")
    }

    /// Merges these hosts' directories.
    pub(crate) fn merge(&self, hosts: &[usize], flags: &[&str]) -> Output {
        let hosts: Vec<PathBuf> = hosts.iter().map(|number| self.host(*number)).collect();
        merge(&hosts, &self.whole(), flags)
    }

    /// The message when they are refused, in one line.
    pub(crate) fn refused(&self, hosts: &[usize]) -> String {
        let output = self.merge(hosts, &[]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(!self.whole().exists(), "{said}");
        said
    }

    /// The merged trial.
    pub(crate) fn merged(&self) -> Value {
        let points = fs::read_dir(self.whole().join("shards/server")).unwrap();
        let point = points.last().unwrap().unwrap().path();
        read(&point.join("trial-1.json"))
    }
}

pub(crate) fn merge(directories: &[PathBuf], out: &Path, flags: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .arg("merge")
        .args(directories)
        .arg("--out")
        .arg(out)
        .args(flags)
        .output()
        .unwrap()
}

pub(crate) fn read(file: &Path) -> Value {
    let text = fs::read(file).unwrap_or_else(|error| panic!("{error}: {}", file.display()));
    serde_json::from_slice(&text).unwrap()
}

fn samples(log: &Path, tag: &str) -> Histogram<u64> {
    let mut all = loadgen::recording::histogram::histogram();
    let log = hlog::read(&fs::read_to_string(log).unwrap()).unwrap();
    for interval in log.intervals.iter().filter(|interval| interval.tag == tag) {
        all.add(&interval.histogram).unwrap();
    }
    all
}

pub(crate) fn notes(trial: &Value) -> String {
    trial["notes"].to_string()
}

#[test]
fn the_shards_become_the_result_of_one_generator() {
    let shards = Shards::measured();
    shards.edit(2, |trial| {
        trial["answers_per_connection"]["max"] = 4000.into();
    });
    let output = shards.merge(&[3, 1, 2], &[]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let whole = shards.merged();
    assert_eq!(whole["verdict"], "VALID", "{whole}");
    assert_eq!(whole["scheduled"], 303);
    assert_eq!(whole["answered"], 303);
    assert_eq!(whole["connections"], 10);
    assert_eq!(whole["offered_rate"], 303.0);
    assert_eq!(whole["answers_per_connection"]["max"], 4000);
    let goals: Vec<&Value> = (0..2).map(|at| &whole["goals"][at]).collect();
    assert_eq!(goals[0]["goal"], "max<1h");
    assert_eq!(goals[0]["value_us"], whole["response_us"]["max"]);
    assert_eq!(goals[1]["failed_share"], 0.0);
    assert!(goals.iter().all(|goal| goal["met"] == true), "{whole}");
    let rate: f64 = (1..=3)
        .map(|n| shards.trial(n)["rate"].as_f64().unwrap())
        .sum();
    assert!((whole["rate"].as_f64().unwrap() - rate).abs() < 1e-6);
    let place = shards.whole().join("shards/server/connections-10");
    for tag in [
        "response",
        "service",
        "lateness",
        "wait",
        "read_delay",
        "connect",
    ] {
        let mut all = samples(&shards.place(1).join("trial-1.hlog"), tag);
        all.add(samples(&shards.place(2).join("trial-1.hlog"), tag))
            .unwrap();
        all.add(samples(&shards.place(3).join("trial-1.hlog"), tag))
            .unwrap();
        assert_eq!(samples(&place.join("trial-1.hlog"), tag), all, "{tag}");
        let key = format!("{tag}_us");
        assert_eq!(whole[&key]["count"], all.len(), "{tag}");
        assert_eq!(
            whole[&key]["max"].as_f64(),
            (!all.is_empty()).then(|| all.max() as f64 / 1e3)
        );
    }
    assert_eq!(whole["connect_us"]["count"], 10);
    let hosts: Vec<&Value> = (0..3).map(|at| &whole["shards"][at]["host"]).collect();
    assert_eq!(hosts, ["h1", "h2", "h3"]);
    // It is a run like any other, with the shards in a table.
    for file in ["summary.csv", "summary.md", "report.html"] {
        assert!(shards.whole().join(file).exists(), "{file}");
    }
    let page = fs::read_to_string(shards.whole().join("report.html")).unwrap();
    assert!(page.contains("<td class=\"text\">h2</td>"));
    let report = Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .arg("report")
        .arg(shards.whole())
        .output()
        .unwrap();
    assert!(report.status.success(), "{report:?}");
    assert!(text(&report.stdout).contains("h3"), "{report:?}");
    let schema = include_str!("../../../docs/schema/trial.schema.json");
    let schema: Value = serde_json::from_str(schema).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    assert!(validator.is_valid(&whole), "{whole}");
    // Nothing is written over.
    let again = shards.merge(&[1, 2, 3], &[]);
    assert_eq!(again.status.code(), Some(1));
}

/// Each shard alone meets the goal.
#[test]
fn goals_are_judged_by_all_requests_together() {
    let shards = Shards::measured();
    for number in 1..=3 {
        shards.edit(number, |trial| {
            trial["goals"][1]["goal"] = "failed<=0.1%".into();
            trial["shard"]["asked"]["keys"]["goal"][1] = "failed<=0.1%".into();
        });
    }
    shards.edit(2, |trial| {
        // One of 303: it was a request without an answer.
        trial["scheduled"] = 102.into();
        trial["failed"] = 1.into();
        trial["errors"] = json!({"reset": 1});
    });
    let output = shards.merge(&[1, 2, 3], &[]);
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    let said = text(&output.stdout);
    assert!(said.contains("failed<=0.1% missed: 0.3 %"), "{said}");
    // A failed request is slower than any.
    assert!(said.contains("max<1h missed"), "{said}");
    assert_eq!(shards.merged()["goals"][1]["met"], false);
}

/// The merged run claims nothing that only a host knows.
#[test]
fn a_merged_run_says_what_was_asked() {
    let server = Server::start(Script::Http(crate::scripted::OK));
    let out = tempfile::tempdir().unwrap();
    let body = out.path().join("body.txt");
    fs::write(&body, "a body").unwrap();
    let measured = Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args(["run", &format!("http://{}/a?b=c", server.address)])
        .args(["--shard", "1/1", "--warmup", "0", "-c", "2"])
        .args(["-H", "A: b", "-H", "C: d", "--timeout", "5s", "--idle", "3"])
        .args([
            "--no-keep-alive",
            "--stages",
            "100-200/300ms",
            "--body-file",
        ])
        .arg(&body)
        .arg("--out")
        .arg(out.path().join("shards"))
        .output()
        .unwrap();
    assert!(measured.status.success(), "{measured:?}");
    // The file is on another machine by now.
    fs::remove_file(&body).unwrap();
    let whole = out.path().join("whole");
    let flags = ["--allow-clocks", "--allow-windows"];
    let merged = merge(&[out.path().join("shards")], &whole, &flags);
    assert!(merged.status.success(), "{merged:?}");
    let run = read(&whole.join("run.json"));
    let scenario = run["scenario_files"][0]["text"].as_str().unwrap();
    for line in [
        "mode = \"http\"",
        "path = \"/a?b=c\"",
        "header = [\"A: b\", \"C: d\"]",
        "timeout = \"5s\"",
        "idle = \"3\"",
        "no_keep_alive = true",
        "stages = \"100-200/300ms\"",
        "connections = \"2\"",
    ] {
        assert!(scenario.contains(line), "{line}: {scenario}");
    }
    assert!(!scenario.contains("\nbody_file"), "{scenario}");
    let own = format!("each had its own body_file = \"{}\"", body.display());
    assert!(scenario.contains(&own), "{scenario}");

    let summary = fs::read_to_string(whole.join("summary.md")).unwrap();
    assert!(summary.contains("the server ran already"), "{summary}");
    assert!(!summary.contains("a fresh process"), "{summary}");
}

#[test]
fn a_shard_that_is_missing_or_doubled_is_named() {
    let shards = Shards::measured();
    let said = shards.refused(&[1, 3]);
    assert!(said.contains("shard 2 of 3 is missing"), "{said}");
    let said = shards.refused(&[1, 2, 2, 3]);
    assert!(said.contains("shard 2/3 (h2) is there twice"), "{said}");
    let output = shards.merge(&[1, 3], &["--allow-missing"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let whole = shards.merged();
    assert_eq!(whole["causes"], json!(["shard-missing"]));
    assert_eq!(whole["answered"], 202);
    assert!(
        notes(&whole).contains("--allow-missing: shard 2 of 3 is missing"),
        "{whole}"
    );
}

#[test]
fn a_shard_that_is_cut_off_is_named_and_nothing_of_the_others_is_lost() {
    let shards = Shards::measured();
    let log = shards.place(2).join("trial-1.hlog");
    let whole = fs::read(&log).unwrap();
    let lines = text(&whole).lines().count();
    // In the middle of a line, and between two.
    let some: Vec<String> = text(&whole)
        .lines()
        .take(lines - 3)
        .map(str::to_owned)
        .collect();
    for part in [
        &whole[..whole.len() - 40],
        (some.join("\n") + "\n").as_bytes(),
    ] {
        fs::write(&log, part).unwrap();
        let output = shards.merge(&[1, 2, 3], &[]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("shard 2/3 (h2): its log"), "{said}");
        assert!(!shards.whole().exists());
    }
    let output = shards.merge(&[1, 2, 3], &["--allow-missing"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(shards.merged()["answered"], 202);
    fs::remove_dir_all(shards.whole()).unwrap();
    fs::write(
        shards.place(1).join("trial-1.json"),
        "{\"schema_version\": 1,",
    )
    .unwrap();
    let said = shards.refused(&[1, 2, 3]);
    assert!(said.contains("shard-1-of-3"), "{said}");
}

#[test]
fn shards_of_other_loads_are_refused() {
    let shards = Shards::measured();
    let edits: [(Edit, &str); 10] = [
        (|trial| trial["shard"]["seed"] = 2.into(), "seed is 1 and 2"),
        (
            |trial| trial["shard"]["asked"]["rate"] = 304.0.into(),
            "rate is 303.0 and 304.0",
        ),
        (
            |trial| trial["shard"]["asked"]["arrivals"] = "poisson".into(),
            "arrivals",
        ),
        (
            |trial| trial["shard"]["asked"]["size"] = 65.into(),
            "size is 64 and 65",
        ),
        (|trial| trial["shard"]["target"] = "h9:1".into(), "target"),
        (
            |trial| trial["shard"]["asked"]["keys"]["idle"] = "5".into(),
            "idle is \"0\" and \"5\"",
        ),
        (
            |trial| trial["shard"]["asked"]["others"] = "another".into(),
            "the requests or the limits of a client differ",
        ),
        (
            |trial| trial["shard"]["of"] = 1_000_000_000_000_u64.into(),
            "there is no shard 3/1000000000000",
        ),
        (
            |trial| trial["shard"]["loadgen"] = "9.9.9".into(),
            "--allow-versions",
        ),
        (
            |trial| trial["connections"] = 5.into(),
            "with the same --connections",
        ),
    ];
    for (edit, why) in edits {
        let right = shards.trial(3);
        shards.edit(3, edit);
        let said = shards.refused(&[1, 2, 3]);
        assert!(said.contains(why), "{said}");
        shards.edit(3, |trial| *trial = right);
    }
}

/// Equal stamps do not show that clocks agree.
#[test]
fn a_clock_that_is_off_is_named_although_the_stamps_are_equal() {
    let shards = Shards::measured();
    // It began 3 s after the others, at the same time by its own clock.
    shards.edit(2, |trial| {
        trial["shard"]["begin_monotonic_ns"] = 4_000_000_000_u64.into();
    });
    let said = shards.refused(&[1, 2, 3]);
    assert!(
        said.contains("shard 2/3 (h2): its clock is 3000.000 ms behind the others"),
        "{said}"
    );
    assert!(
        said.contains("shard 2/3 (h2) began 3.000 s after the others"),
        "{said}"
    );
    // On another machine nobody knows, unless its clock has a bound.
    let elsewhere = |clock: Value| {
        move |trial: &mut Value| {
            trial["shard"]["boot_id"] = "another".into();
            trial["shard"]["clock"] = clock;
        }
    };
    let bound = |us: f64| json!({"error_us": us, "source": "kernel"});
    for number in [1, 2, 3] {
        shards.edit(number, elsewhere(bound(400.0)));
    }
    shards.edit(2, |trial| trial["shard"]["boot_id"] = "a third".into());
    assert!(shards.merge(&[1, 2, 3], &[]).status.success());
    fs::remove_dir_all(shards.whole()).unwrap();
    for (clock, why) in [
        (Value::Null, "nobody knows"),
        (bound(16e6), "may be 16000.000 ms off"),
    ] {
        shards.edit(2, |trial| trial["shard"]["clock"] = clock);
        let said = shards.refused(&[1, 2, 3]);
        assert!(
            said.contains("shard 2/3 (h2)") && said.contains(why),
            "{said}"
        );
    }
    let flags = ["--allow-clocks", "--allow-windows"];
    let output = shards.merge(&[1, 2, 3], &flags);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(notes(&shards.merged()).contains("--allow-clocks"));
}

#[test]
fn shards_that_did_not_measure_together_are_refused() {
    let shards = Shards::measured();
    let at = |millis: u64| {
        humantime::format_rfc3339_nanos(
            UNIX_EPOCH + Duration::from_millis(1_767_225_600_000 + millis),
        )
        .to_string()
    };
    shards.edit(3, |trial| {
        trial["shard"]["begin"] = at(15).into();
        trial["shard"]["end"] = at(1015).into();
        trial["shard"]["begin_monotonic_ns"] = 1_015_000_000_u64.into();
    });
    let said = shards.refused(&[1, 2, 3]);
    assert!(
        said.contains("shard 3/3 (h3) began 0.015 s after the others"),
        "{said}"
    );
    assert!(
        said.contains("98.5 %") && said.contains("--allow-windows"),
        "{said}"
    );
    assert!(
        shards
            .merge(&[1, 2, 3], &["--allow-windows"])
            .status
            .success()
    );
}

#[test]
fn the_shard_that_spoils_the_whole_is_named() {
    let shards = Shards::measured();
    shards.edit(2, |trial| {
        trial["verdict"] = "INVALID".into();
        trial["causes"] = json!(["generator-late"]);
    });
    assert!(shards.merge(&[1, 2, 3], &[]).status.success());
    let whole = shards.merged();
    assert_eq!(whole["verdict"], "INVALID");
    assert_eq!(whole["causes"], json!(["generator-late"]));
    assert!(
        notes(&whole).contains("spoiled-by: shard 2/3 (h2): generator-late"),
        "{whole}"
    );
}

/// The directories of the hosts, and of what they would have measured at a second start.
fn with_a_second_start(shards: &Shards, edit: Edit) -> Vec<PathBuf> {
    let mut hosts = vec![shards.host(1), shards.host(2), shards.host(3)];
    for number in 1..=3 {
        let host = shards.0.path().join(format!("later-h{number}"));
        let place = host.join(format!("shard-{number}-of-3"));
        fs::create_dir_all(&place).unwrap();
        for file in ["trial-1.json", "trial-1.hlog"] {
            fs::copy(shards.place(number).join(file), place.join(file)).unwrap();
        }
        let mut trial = shards.trial(number);
        trial["shard"]["start_at"] = "2026-01-01T00:01:00Z".into();
        edit(&mut trial);
        fs::write(place.join("trial-1.json"), trial.to_string()).unwrap();
        hosts.push(host);
    }
    hosts
}

/// A bench of a server by several hosts: each load is a scenario.
#[test]
fn starts_of_several_loads_are_several_scenarios() {
    let shards = Shards::measured();
    let hosts = with_a_second_start(&shards, |trial| {
        trial["shard"]["asked"]["rate"] = 404.0.into();
    });
    let output = merge(&hosts, &shards.whole(), &[]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    for (scenario, rate) in [("shards-1", 303.0), ("shards-2", 404.0)] {
        let place = shards.whole().join(scenario).join("server/connections-10");
        let trial = read(&place.join("trial-1.json"));
        assert_eq!(trial["offered_rate"], rate, "{scenario}");
        assert!(!place.join("trial-2.json").exists());
    }
    let report = Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .arg("report")
        .arg(shards.whole())
        .output()
        .unwrap();
    assert!(report.status.success(), "{report:?}");
    for said in ["rate = 303.0", "rate = 404.0"] {
        assert!(text(&report.stdout).contains(said), "{report:?}");
    }
    // In one start there is one load.
    let file = hosts[4].join("shard-2-of-3/trial-1.json");
    let mut other = read(&file);
    other["shard"]["asked"]["rate"] = 303.0.into();
    fs::write(&file, other.to_string()).unwrap();
    let output = merge(&hosts, &shards.0.path().join("other"), &[]);
    let refused = text(&output.stderr);
    assert!(refused.contains("rate is 404.0 and 303.0"), "{refused}");
}

/// Three starts are three trials, as `compare` needs them.
#[test]
fn shards_of_several_starts_are_several_trials() {
    let shards = Shards::measured();
    let mut hosts = with_a_second_start(&shards, |trial| trial["shard"]["seed"] = 2.into());
    let output = merge(&hosts, &shards.whole(), &[]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let place = shards.whole().join("shards/server/connections-10");
    assert_eq!(read(&place.join("trial-2.json"))["scheduled"], 303);
    // A note about one start is not in the result of the other.
    let file = hosts[4].join("shard-2-of-3/trial-1.json");
    let right = read(&file);
    let mut off = right.clone();
    off["shard"]["begin_monotonic_ns"] = 4_000_000_000_u64.into();
    fs::write(&file, off.to_string()).unwrap();
    fs::remove_dir_all(shards.whole()).unwrap();
    let output = merge(
        &hosts,
        &shards.whole(),
        &["--allow-clocks", "--allow-windows"],
    );
    assert!(output.status.success(), "{}", text(&output.stderr));
    let said = [1, 2].map(|n| notes(&read(&place.join(format!("trial-{n}.json")))));
    assert!(!said[0].contains("--allow"), "{said:?}");
    assert!(said[1].contains("--allow-clocks"), "{said:?}");
    // Those of one start have one seed.
    let mut other = right.clone();
    other["shard"]["seed"] = 3.into();
    fs::write(&file, other.to_string()).unwrap();
    let output = merge(&hosts, &shards.0.path().join("other"), &[]);
    let refused = text(&output.stderr);
    assert!(refused.contains("seed is 2 and 3"), "{refused}");
    fs::write(&file, right.to_string()).unwrap();
    // Without one shard of the second start all are taken for one start.
    hosts.pop();
    let output = merge(&hosts, &shards.0.path().join("other"), &[]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
}

//! The clocks of several hosts, and the observation on the server's host.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::merge::{Shards, merge, notes, read, text};

const LOADGEN: &str = env!("CARGO_BIN_EXE_loadgen");

fn loadgen(arguments: &[&str]) -> Output {
    Command::new(LOADGEN).args(arguments).output().unwrap()
}

fn ensure_valid(schema: &str, value: &Value) {
    let schema: Value = serde_json::from_str(schema).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let faults: Vec<String> = validator
        .iter_errors(value)
        .map(|e| e.to_string())
        .collect();
    assert!(faults.is_empty(), "{faults:?} {value:#}");
}

#[test]
fn the_clock_of_this_machine_is_not_off() {
    let top = tempfile::tempdir().unwrap();
    let file = top.path().join("clocks.json");
    let output = loadgen(&["clock", LOADGEN, LOADGEN, "--out", file.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(text(&output.stdout).lines().count(), 2, "{output:?}");
    let clocks = read(&file);
    ensure_valid(
        include_str!("../../../docs/schema/clocks.schema.json"),
        &clocks,
    );
    for host in clocks["hosts"].as_array().unwrap() {
        assert_eq!(host["boot_id"], clocks["asked_by"]["boot_id"]);
        let bound = host["bound_us"].as_f64().unwrap();
        assert!(bound > 0.0, "{host}");
        let ahead = host["monotonic_ahead_ns"].as_f64().unwrap() / 1e3;
        // A reading lies between the question and its arrival.
        assert!(ahead.abs() <= bound + 0.001, "{host}");
    }
}

#[test]
fn a_host_that_does_not_answer_is_named_and_the_others_are_kept() {
    let top = tempfile::tempdir().unwrap();
    let file = top.path().join("clocks.json");
    let says_something_else = format!("{LOADGEN} --version");
    let output = loadgen(&[
        "clock",
        &says_something_else,
        "/no/such/program",
        LOADGEN,
        "--out",
        file.to_str().unwrap(),
    ]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for why in [
        "--version",
        "before it answered",
        "/no/such/program",
        "1 of 3 hosts",
    ] {
        assert!(said.contains(why), "{why}: {said}");
    }
    assert_eq!(read(&file)["hosts"].as_array().unwrap().len(), 1);
    assert_eq!(loadgen(&["clock"]).status.code(), Some(2));
    assert_eq!(loadgen(&["clock", "'ssh"]).status.code(), Some(2));
}

/// Three shards on three machines, whose monotonic clocks began at different times.
fn on_three_machines() -> Shards {
    let shards = Shards::measured();
    for number in 1..=3 {
        shards.edit(number, |trial| {
            let shard = &mut trial["shard"];
            shard["boot_id"] = format!("b{number}").into();
            // The machine had run for this time.
            shard["begin_monotonic_ns"] = (1_000_000_000 * number as u64).into();
            // If the hosts were asked, their own bounds do not count.
            shard["clock"] = json!({"error_us": 1.0, "source": "kernel"});
        });
    }
    shards
}

/// What `loadgen clock` would have found half a second before: by the clock of the machine that asked it was 99.5 s, and
/// the shards began at 100 s.
fn clocks(hosts: &[(usize, i64, f64)]) -> Value {
    let clock = |name: &str, boot_id: &str, ahead: i64, bound: f64| {
        json!({
            "host": name,
            "boot_id": boot_id,
            "asked_monotonic_ns": 99_500_000_000_u64,
            "monotonic_ahead_ns": ahead,
            "ahead_us": 0.0,
            "bound_us": bound,
        })
    };
    let hosts: Vec<Value> = hosts
        .iter()
        .map(|(number, moved, bound)| {
            let ahead = (*number as i64 - 100) * 1_000_000_000 + moved;
            clock(&format!("h{number}"), &format!("b{number}"), ahead, *bound)
        })
        .collect();
    json!({"schema_version": 1, "asked_by": clock("ctl", "b0", 0, 0.0), "hosts": hosts})
}

fn merge_with(shards: &Shards, clocks: &[Value], flags: &[&str]) -> Output {
    let mut all = Vec::new();
    for (number, clocks) in clocks.iter().enumerate() {
        let file = shards.0.path().join(format!("clocks-{number}.json"));
        fs::write(&file, clocks.to_string()).unwrap();
        all.extend(["--clocks".to_owned(), file.to_str().unwrap().to_owned()]);
    }
    let mut arguments: Vec<&str> = all.iter().map(String::as_str).collect();
    arguments.extend(flags);
    shards.merge(&[1, 2, 3], &arguments)
}

#[test]
fn measured_clocks_place_the_shards_and_stand_in_the_result() {
    let shards = on_three_machines();
    let right = [(1, 0, 300.0), (2, 200_000, 300.0), (3, 0, 300.0)];
    let output = merge_with(&shards, &[clocks(&right)], &[]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let row = &shards.merged()["shards"][1];
    assert_eq!(row["clock_source"], "measured", "{row}");
    // It began 200 us earlier than its calendar clock said.
    assert!(
        (row["clock_ahead_us"].as_f64().unwrap() - 200.0).abs() < 1.0,
        "{row}"
    );
    // Half of the exchange, and what clocks drift apart in half a second.
    assert!(
        (row["clock_bound_us"].as_f64().unwrap() - 350.0).abs() < 1.0,
        "{row}"
    );
    assert!(text(&output.stdout).contains("(measured)"), "{output:?}");
}

#[test]
fn a_measured_clock_that_is_off_or_unknown_is_refused() {
    let shards = on_three_machines();
    let first = (1, 0, 300.0);
    let third = (3, 0, 300.0);
    let mut long_ago = clocks(&[first, (2, 0, 300.0), third]);
    long_ago["hosts"][1]["asked_monotonic_ns"] = 0.into();
    for (clocks, why) in [
        // It began 3 s after the others, with the same stamps.
        (
            clocks(&[first, (2, -3_000_000_000, 300.0), third]),
            "its clock is 3000.000 ms behind the others",
        ),
        (
            clocks(&[first, (2, 3_000_000_000, 300.0), third]),
            "its clock is 3000.000 ms ahead of the others",
        ),
        (
            clocks(&[first, (2, 0, 11_000.0), third]),
            "its clock may be 11.050 ms off",
        ),
        (long_ago, "its clock may be 10.300 ms off"),
        (
            clocks(&[first, third]),
            "nobody knows how far its clock is off",
        ),
    ] {
        let output = merge_with(&shards, &[clocks], &[]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(&format!("shard 2/3 (h2): {why}")), "{said}");
        assert!(!shards.whole().exists());
    }
    // Of several readings the nearest in time counts.
    let mut askings = [
        clocks(&[first, (2, 0, 300.0), third]),
        clocks(&[(2, 0, 11_000.0)]),
    ];
    let output = merge_with(&shards, &askings, &[]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    fs::remove_dir_all(shards.whole()).unwrap();
    // Two machines that asked have nothing in common.
    askings[1]["asked_by"]["boot_id"] = "b9".into();
    let output = merge_with(&shards, &askings, &[]);
    assert!(
        text(&output.stderr).contains("different machines"),
        "{output:?}"
    );
    // It is allowed, and the result says so.
    let unknown = [clocks(&[first, third])];
    let output = merge_with(&shards, &unknown, &["--allow-clocks"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let whole = shards.merged();
    assert!(
        notes(&whole).contains("--allow-clocks: shard 2/3 (h2): nobody knows"),
        "{whole}"
    );
    assert_eq!(whole["shards"][1]["clock_source"], Value::Null);
}

/// Observes this process for 300 ms.
fn observe(out: &Path) -> Output {
    let start = SystemTime::now() + Duration::from_secs(1);
    let start = humantime::format_rfc3339_nanos(start).to_string();
    let own = std::process::id().to_string();
    loadgen(&[
        "observe",
        "--pid",
        &own,
        "--start-at",
        &start,
        "--warmup",
        "50ms",
        "--duration",
        "300ms",
        "--out",
        out.to_str().unwrap(),
    ])
}

#[test]
fn what_was_observed_on_the_servers_host_is_the_cost_of_the_server() {
    let shards = Shards::measured();
    let server = shards.0.path().join("srv");
    let output = observe(&server);
    assert!(output.status.success(), "{output:?}");
    let file = server.join("observed.json");
    let mut observed = read(&file);
    ensure_valid(
        include_str!("../../../docs/schema/observed.schema.json"),
        &observed,
    );
    assert_eq!(observed["spent"]["pid"], std::process::id());
    assert!(
        observed["spent"]["processes"].as_u64() >= Some(1),
        "{observed}"
    );
    let time = |key: &str| humantime::parse_rfc3339(observed[key].as_str().unwrap()).unwrap();
    assert!(
        time("begin") >= time("start_at") + Duration::from_millis(50),
        "{observed}"
    );
    assert!(
        time("end") >= time("begin") + Duration::from_millis(299),
        "{observed}"
    );
    // Nothing is written over.
    assert_eq!(observe(&server).status.code(), Some(1));

    let hosts = || -> Vec<PathBuf> {
        (1..=3)
            .map(|n| shards.host(n))
            .chain([server.clone()])
            .collect()
    };
    let refused = || {
        let output = merge(&hosts(), &shards.whole(), &[]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        text(&output.stderr)
    };
    assert!(refused().contains("at a start that no shard has"));
    // As if it had been the time of the shards, in which they had 303 answers.
    let shard = &shards.trial(1)["shard"];
    for key in ["start_at", "begin", "end", "begin_monotonic_ns", "boot_id"] {
        observed[key] = shard[key].clone();
    }
    observed["spent"]["cpu_ns"] = 303_000_000_u64.into();
    observed["spent"]["syscalls"] = 606.into();
    observed["spent"]["context_switches"] = Value::Null;
    observed["machine"] = json!({"cpu_share": 0.5, "foreign_share": 0.4, "steal_share": 0.0});
    let write = |observed: &Value| fs::write(&file, observed.to_string()).unwrap();
    write(&observed);
    let output = merge(&hosts(), &shards.whole(), &[]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let whole = shards.merged();
    let rate = whole["rate"].as_f64().unwrap();
    let cpu = whole["server"]["cpu_us_per_request"].as_f64().unwrap();
    assert!((cpu - 303_000.0 / rate.round()).abs() < 1.0, "{whole}");
    assert!(
        (whole["server"]["syscalls_per_request"].as_f64().unwrap() - 606.0 / rate.round()).abs()
            < 0.01
    );
    assert_eq!(whole["server"]["context_switches_per_request"], Value::Null);
    assert_eq!(whole["machine"]["cpu_share"], 0.5);
    // What is foreign there may be the shards.
    assert_eq!(whole["verdict"], "VALID", "{whole}");
    fs::remove_dir_all(shards.whole()).unwrap();

    // On a machine of its own others disturbed it.
    let mut elsewhere = observed.clone();
    elsewhere["boot_id"] = "another".into();
    elsewhere["clock"] = json!({"error_us": 1.0, "source": "kernel"});
    write(&elsewhere);
    for number in 1..=3 {
        shards.edit(number, |trial| {
            trial["shard"]["clock"] = elsewhere["clock"].clone();
        });
    }
    let output = merge(&hosts(), &shards.whole(), &[]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let whole = shards.merged();
    assert_eq!(whole["causes"], json!(["machine-stolen"]));
    assert!(
        notes(&whole).contains("spoiled-by: the server's host ("),
        "{whole}"
    );
    fs::remove_dir_all(shards.whole()).unwrap();

    // It was observed at another time than it was loaded.
    observed["begin_monotonic_ns"] = 4_000_000_000_u64.into();
    write(&observed);
    assert!(refused().contains("the server's host ("));
    // It was observed twice.
    let again = shards.0.path().join("srv-2");
    fs::create_dir(&again).unwrap();
    fs::copy(&file, again.join("observed.json")).unwrap();
    let mut twice = hosts();
    twice.push(again);
    let output = merge(&twice, &shards.whole(), &[]);
    assert!(
        text(&output.stderr).contains("observed twice"),
        "{output:?}"
    );
    // The file is cut off.
    fs::write(&file, "{\"schema_version\": 1,").unwrap();
    assert!(refused().contains("observed.json"));
}

#[test]
fn what_cannot_be_observed_is_told() {
    let top = tempfile::tempdir().unwrap();
    let out = top.path().to_str().unwrap();
    let passed = loadgen(&[
        "observe",
        "--pid",
        "1",
        "--start-at",
        "2001-01-01T00:00:00Z",
        "--out",
        out,
    ]);
    assert_eq!(passed.status.code(), Some(2), "{passed:?}");
    // The highest number that a process can have, and one more.
    let nobody = loadgen(&[
        "observe",
        "--pid",
        "4194305",
        "--start-at",
        "+1s",
        "--out",
        out,
    ]);
    assert_eq!(nobody.status.code(), Some(1), "{nobody:?}");
    assert!(text(&nobody.stderr).contains("4194305"), "{nobody:?}");
    assert_eq!(fs::read_dir(out).unwrap().count(), 0);
}

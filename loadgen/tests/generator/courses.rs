//! `loadgen run --stages` and `--replay`: every request is due when it should be.

use std::process::{Command, Output};

use serde_json::Value;

use crate::scripted::{Script, Server};

fn run(server: &Server, arguments: &[&str]) -> Output {
    let address = server.address.to_string();
    Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args(["run", &address, "-c", "4", "--no-save", "--json"])
        .args(arguments)
        .output()
        .unwrap()
}

fn json_of(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
}

#[test]
fn each_stage_has_the_requests_of_its_area() {
    let server = Server::start(Script::Echo);
    let stages = "0-2000/200ms,2000/100ms,0/100ms,500-1500/200ms";
    let flags = ["--arrivals", "constant", "--warmup", "100ms"];
    let trial = json_of(&run(&server, &[&["--stages", stages], &flags[..]].concat()));
    assert_eq!(trial["duration_s"], 0.6);
    assert_eq!(trial["scheduled"], 600);
    let stages = trial["stages"].as_array().unwrap();
    let figure = |key: &str| -> Vec<u64> {
        let figures = stages.iter().map(|stage| stage[key].as_u64().unwrap());
        figures.collect()
    };
    assert_eq!(figure("scheduled"), [200, 200, 0, 200]);
    assert_eq!(figure("failed"), [0, 0, 0, 0]);
    for stage in stages {
        // Requests with an answer, and requests without one by their age.
        assert_eq!(stage["response_us"]["count"], stage["scheduled"]);
    }
}

#[test]
fn stages_that_nobody_answers_have_the_ages_of_their_requests() {
    let server = Server::start(Script::Silence);
    let trial = json_of(&run(
        &server,
        &[
            "--stages",
            "1000/100ms,3000/100ms",
            "--arrivals",
            "constant",
            "--warmup",
            "0s",
            "--drain",
            "100ms",
        ],
    ));
    for (stage, (due, youngest)) in trial["stages"]
        .as_array()
        .unwrap()
        .iter()
        .zip([(100, 200_000.0), (300, 100_000.0)])
    {
        assert_eq!(stage["scheduled"], due);
        assert_eq!(stage["answered"], 0);
        assert_eq!(stage["response_us"]["count"], due);
        // Three digits of a histogram.
        assert!(
            stage["response_us"]["min"].as_f64().unwrap() > youngest * 0.998,
            "{stage}"
        );
    }
}

#[test]
fn a_recording_is_replayed() {
    let server = Server::start(Script::Echo);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("arrivals");
    let times: Vec<String> = (0..100).map(|n| format!("17.{n:02}")).collect();
    std::fs::write(&file, times.join("\n")).unwrap();
    let file = file.to_str().unwrap();
    for (speed, share, due) in [("1", "1/1", 100), ("5", "1/1", 100), ("5", "2/3", 33)] {
        let flags = ["--replay", file, "--speed", speed, "--shard", share];
        let trial = json_of(&run(&server, &[&flags[..], &["--warmup", "20ms"]].concat()));
        assert_eq!(trial["scheduled"], due, "{trial}");
        assert_eq!(trial["load"], "open");
    }
}

#[test]
fn bad_courses_are_refused_in_one_line() {
    let server = Server::start(Script::Echo);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("arrivals");
    std::fs::write(&file, "1.5\nsoon\n").unwrap();
    let file = file.to_str().unwrap();
    for (flags, line) in [
        (["--stages", "5/1"], "`1`: time unit needed"),
        (["--replay", file], "line 2: `soon` is no time in seconds"),
        (["--replay", "nowhere"], "cannot read nowhere"),
        (["--arrivals", "constant"], "--stages"),
        (["--speed", "2"], "--replay"),
    ] {
        let output = run(&server, &flags);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains(line), "{error}");
    }
}

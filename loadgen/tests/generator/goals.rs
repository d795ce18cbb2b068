//! `loadgen run --goal`: met or missed, and the exit code says so.

use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;

use crate::scripted::{Script, Server};

fn run(server: &Server, arguments: &[&str]) -> Output {
    let address = server.address.to_string();
    Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args(["run", &address, "-c", "4", "--no-save", "--warmup", "10ms"])
        .args(["--rate", "400", "--arrivals", "constant", "-d", "1s"])
        .args(arguments)
        .output()
        .unwrap()
}

/// The machine may be busy; then a trial is INVALID, which comes before a missed goal.
fn is(output: &Output, code: i32) -> bool {
    let found = output.status.code();
    found == Some(code) || found == Some(3)
}

#[test]
fn goals_are_judged_and_shown() {
    let server = Server::start(Script::Delay(Duration::from_millis(5)));
    let goals = [
        "--goal",
        "p50<1h",
        "--goal",
        "mean<4ms",
        "--goal",
        "failed<=0",
    ];
    let output = run(&server, &goals);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(is(&output, 4), "{text}");
    for line in [
        "goal         p50<1h met: ",
        "goal         mean<4ms missed: ",
        "goal         failed<=0% met: 0.0 %",
    ] {
        assert!(text.contains(line), "{text}");
    }
    let output = run(&server, &[&goals[..], &["--json"]].concat());
    let trial: Value = serde_json::from_slice(&output.stdout).unwrap();
    let met: Vec<_> = trial["goals"]
        .as_array()
        .unwrap()
        .iter()
        .map(|goal| &goal["met"])
        .collect();
    assert_eq!(met, [true, false, true]);
    assert_eq!(trial["goals"][1]["value_us"], trial["response_us"]["mean"]);
    assert_eq!(trial["goals"][2]["failed_share"], 0.0);
    let output = run(&server, &["--goal", "p50<1h"]);
    assert!(
        is(&output, 0),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
}

#[test]
fn too_few_requests_meet_no_goal() {
    let server = Server::start(Script::Echo);
    let output = run(&server, &["--goal", "p99.9<1h"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(is(&output, 4), "{text}");
    assert!(
        text.contains("p99.9<1h cannot be judged: too few requests"),
        "{text}"
    );
}

#[test]
fn a_failed_request_is_slower_than_any_limit() {
    // Each connection is reset after two messages, so every third request fails.
    let server = Server::start(Script::ResetAfter(2 * 64 + 1));
    let goals = [
        "--goal",
        "p90<1h",
        "--goal",
        "max<1h",
        "--goal",
        "failed<5%",
        "--json",
    ];
    let output = run(&server, &goals);
    assert!(is(&output, 4));
    let trial: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(trial["failed"].as_u64().unwrap() > 100, "{trial}");
    for goal in trial["goals"].as_array().unwrap() {
        assert_eq!(goal["met"], false, "{goal}");
    }
    assert_eq!(trial["goals"][1]["value_us"], Value::Null);
}

#[test]
fn a_goal_that_cannot_be_is_refused() {
    let server = Server::start(Script::Echo);
    for (goal, line) in [
        ("p98<1ms", "there is no figure `p98`"),
        ("failed<0", "failed<=0"),
        ("fast", "such as p99<5ms"),
    ] {
        let output = run(&server, &["--goal", goal]);
        assert_eq!(output.status.code(), Some(2));
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains(line), "{error}");
    }
}

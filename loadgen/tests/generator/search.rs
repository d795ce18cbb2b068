//! `loadgen search` at servers whose capacity is known.

use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;

use crate::scripted::{Pace, Script, Server};

fn search(server: &Server, goal: &str, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args(["search", &server.address.to_string(), "--goal", goal])
        .args([
            "-d", "400ms", "--warmup", "50ms", "--drain", "100ms", "-c", "32",
        ])
        .args(arguments)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Where others keep this machine busy, a search may end at what could be measured: its answer is then a
/// lower bound, or that there is none.
fn answer(output: &Output) -> (Value, bool) {
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    let measured = answer["limit"] != "measuring";
    let none = !measured && answer["rate"].is_null();
    assert_eq!(
        output.status.code(),
        Some(if none { 3 } else { 0 }),
        "{answer:#}\n{}",
        text(&output.stderr)
    );
    (answer, measured)
}

#[test]
fn the_capacity_of_one_worker_is_found() {
    // 200 requests a second; equal gaps leave no queue below that, and above it the queue grows.
    let server = Server::start(Script::Paced(Pace::new(Duration::from_millis(5))));
    let arguments = [
        "--from",
        "50",
        "--arrivals",
        "constant",
        "--precision",
        "20%",
        "--json",
    ];
    let (answer, measured) = answer(&search(&server, "p50<20ms", &arguments));
    let steps = answer["steps"].as_array().unwrap();
    let Some(rate) = answer["rate"].as_f64() else {
        assert!(steps.iter().any(|step| step["verdict"] == "INVALID"));
        return;
    };
    // At 1.15 times its capacity the server falls behind by 130 ms in each second: the median, in the middle
    // of 400 ms, is 30 ms late.
    assert!(rate <= 1.15 * 200.0, "{answer:#}");
    assert!(rate >= 0.7 * 200.0 || !measured, "{answer:#}");
    let met = |step: &&Value| step["met"] == true && step["verdict"] == "VALID";
    let at_the_answer = steps.iter().filter(|step| step["rate"] == answer["rate"]);
    assert!(at_the_answer.filter(met).count() == 2, "{answer:#}");
    if measured {
        let above = answer["above"].as_f64().unwrap();
        assert!(above > rate && above <= 1.2 * rate, "{answer:#}");
        // An INVALID trial shows nothing of the server, and is repeated.
        let valid = |step: &&Value| step["verdict"] == "VALID";
        let at_the_next = steps.iter().filter(|step| step["rate"] == answer["above"]);
        let missed = at_the_next
            .filter(valid)
            .filter(|step| step["met"] == false);
        assert_eq!(missed.count(), 2, "{answer:#}");
    }
}

#[test]
fn a_server_that_meets_the_goal_at_no_rate_is_an_answer() {
    let server = Server::start(Script::Delay(Duration::from_millis(30)));
    let output = search(&server, "p50<10ms", &["--from", "400"]);
    let said = text(&output.stdout);
    // The least rate, if others keep this machine busy, may be one that could not be measured.
    let (code, conclusion) = if text(&output.stderr).contains("could not be measured") {
        assert!(said.contains(": INVALID: "), "{said}");
        (3, " 106 requests/s: ")
    } else {
        (0, "does not meet p50<10ms, not even at 106 requests/s")
    };
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(said.lines().last().unwrap().contains(conclusion), "{said}");
    // 400, 200 and 106 requests a second, each at least twice. A median needs 20 requests, and so that it has them for
    // certain, 42 are asked for.
    assert!(said.lines().count() >= 7, "{said}");
    assert!(said.contains("400 requests/s: "), "{said}");
    assert!(code == 3 || said.contains(": missed"), "{said}");
}

#[test]
fn what_is_no_answer_is_a_line() {
    let silent = Server::start(Script::Silence);
    let wrong = Server::start(Script::Corrupt(1));
    for (server, goal, code, hint) in [
        (&silent, "max<1s", 1, "answered nothing"),
        (&wrong, "max<1s", 1, "is --mode right?"),
        (&wrong, "p98<1s", 2, "there is no figure `p98`"),
        (&wrong, "p99", 2, "such as p99<1ms"),
    ] {
        let output = search(server, goal, &["--from", "10"]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{goal}: {said}");
        assert!(said.contains(hint), "{goal}: {said}");
    }
}

//! Servers that answer wrongly, late, some clients only, or nobody: what `loadgen run` and `loadgen search` say.

use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde_json::Value;
use supervisor::Launch;
use supervisor::limit::{Limit, Resource};

use crate::scripted::{OK, Script, Server};

const ERROR: &[u8] = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n";
const MOVED: &[u8] = b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n";
const GREETING: &[u8] = b"Hello from server!\n";

fn only_one() -> Script {
    Script::OnlyOne(Arc::new(AtomicBool::new(false)))
}

/// A command at a server that has this script.
fn loadgen(command: &str, script: Script, arguments: &[&str]) -> Output {
    let server = Server::start(script);
    Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args([command, &server.address.to_string()])
        .args(["-d", "400ms", "--warmup", "50ms"])
        .args(arguments)
        .output()
        .unwrap()
}

fn run(script: Script, arguments: &[&str]) -> Output {
    loadgen("run", script, &[&["--no-save"], arguments].concat())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// The line of a run's table that has this label.
fn line(output: &Output, label: &str) -> Option<String> {
    let table = text(&output.stdout);
    let line = table.lines().find_map(|line| line.strip_prefix(label));
    line.map(|line| line.trim().to_owned())
}

#[test]
fn a_server_that_fails_is_an_exit_code_and_a_line() {
    let http = ["-m", "http", "-c", "4"];
    for (script, arguments, verdict, errors) in [
        (
            Script::Corrupt(1_000_000),
            &["-c", "2", "--size", "4096"][..],
            " wrong answer",
            " mismatch",
        ),
        (Script::Http(ERROR), &http, " wrong answers", " status-500"),
        (
            Script::Http(b"HTTP/1.1 soon\r\n\r\n"),
            &http,
            " wrong answers",
            " malformed",
        ),
        (
            Script::Once(b"Goodbye!\n"),
            &["-m", "once", "-c", "4"],
            " wrong answers",
            " mismatch",
        ),
        (Script::Silence, &["-c", "4"], "no answer", ""),
        (Script::Silence, &["-r", "100"], "no answer", ""),
        (Script::Deaf, &["-c", "4"], "no answer", ""),
        (
            Script::CloseAfter(32),
            &["-c", "4"],
            "no answer",
            " closed-early",
        ),
    ] {
        let output = run(script.clone(), &[arguments, &["--drain", "100ms"]].concat());
        assert_eq!(output.status.code(), Some(1), "{script:?}: {output:?}");
        let said = line(&output, "verdict").unwrap();
        assert!(
            said.starts_with("FAILED: ") && said.contains(verdict),
            "{script:?}: {said}"
        );
        let said = line(&output, "errors").unwrap_or_default();
        assert_eq!(said.is_empty(), errors.is_empty(), "{script:?}: {said}");
        assert!(said.contains(errors), "{script:?}: {said}");
    }
}

/// The verdict may be INVALID where others keep this machine busy.
#[test]
fn a_server_that_does_not_fail_is_not_called_so() {
    let http = ["-m", "http", "-c", "4"];
    for (script, arguments) in [
        (Script::Http(OK), &http[..]),
        (Script::Http(MOVED), &http),
        (Script::ResetAfter(1000), &["-c", "4"]),
        (only_one(), &["-c", "4", "--drain", "100ms"]),
    ] {
        let output = run(script.clone(), &[arguments, &["--json"]].concat());
        let trial = json(&output);
        assert_ne!(trial["verdict"], "FAILED", "{script:?}: {trial:#}");
        let code = if trial["verdict"] == "VALID" { 0 } else { 3 };
        assert_eq!(output.status.code(), Some(code), "{script:?}: {trial:#}");
    }
}

/// Wrong bytes make it FAILED, however badly the generator did.
#[test]
fn failed_comes_before_invalid_and_both_are_told() {
    let server = Server::start(Script::Corrupt(1000));
    let run = |arguments: &str| {
        let words = format!(
            "run {} -c 100 -d 200ms --warmup 10ms --no-save{arguments}",
            server.address
        );
        let program = env!("CARGO_BIN_EXE_loadgen");
        let command = [program].into_iter().chain(words.split(' '));
        let mut launch = Launch::new(command.map(Into::into).collect());
        launch.orders.limits = vec![Limit::hard(Resource::Descriptors, 50)];
        supervisor::use_helper(program);
        launch.run().unwrap().wait(Duration::from_secs(20)).unwrap()
    };
    let exit = run(" --json");
    let trial: Value = serde_json::from_str(&exit.stdout).unwrap();
    assert_eq!(
        (exit.code(), &trial["verdict"]),
        (Some(1), &"FAILED".into())
    );
    for cause in ["connections-missing", "wrong-answers"] {
        let causes = trial["causes"].as_array().unwrap();
        assert!(causes.contains(&cause.into()), "{trial:#}");
    }
    let exit = run("");
    let said = exit.stdout;
    assert!(said.contains(" wrong answers; also "), "{said}");
}

#[test]
fn a_server_that_was_not_asked_did_not_fail() {
    // The first request would be due after minutes.
    let arguments = ["-r", "0.001", "--seed", "1", "--json"];
    let output = run(Script::Echo, &arguments);
    let trial = json(&output);
    assert_eq!(trial["scheduled"], 0, "{trial:#}");
    assert_eq!(trial["verdict"], "INVALID", "{trial:#}");
    let causes = trial["causes"].to_string();
    assert!(causes.contains("no-request"), "{causes}");
    let said = text(&output.stderr);
    assert!(said.contains("no request became due"), "{said}");
    assert_eq!(output.status.code(), Some(3), "{said}");
}

/// Their requests are of the warm-up, so they are counted nowhere else.
#[test]
fn a_client_that_is_never_answered_counts_where_a_goal_is_judged() {
    let words = "-c 20 -r 5000 --json --goal max<1m --goal failed<0.1% --goal p50<1m";
    let words: Vec<&str> = words.split(' ').collect();
    let trial = json(&run(only_one(), &words));
    assert_eq!(trial["connections_unanswered"], 19, "{trial:#}");
    let met = trial["goals"].as_array().unwrap().iter();
    let met: Vec<&Value> = met.map(|goal| &goal["met"]).collect();
    assert_eq!(met, [false, false, true], "{trial:#}");
}

#[test]
fn clients_that_got_nothing_are_counted_and_told() {
    let once = ["-m", "once", "-c", "5"];
    for (script, arguments, unanswered) in [
        (only_one(), &["-c", "20"][..], 19),
        // Each of the others holds a request for ever.
        (only_one(), &["-c", "20", "-r", "500"], 19),
        (Script::Silence, &["-c", "5"], 5),
        (Script::Silence, &once, 5),
        (Script::Once(GREETING), &once, 0),
        (Script::Echo, &["-c", "5"], 0),
        // Forty requests do not need a thousand connections.
        (Script::Echo, &["-c", "1000", "-r", "100"], 0),
        // They were answered, though wrongly.
        (Script::Http(ERROR), &["-m", "http", "-c", "5"], 0),
    ] {
        let trial = json(&run(script.clone(), &[arguments, &["--json"]].concat()));
        assert_eq!(
            trial["connections_unanswered"], unanswered,
            "{script:?} {arguments:?}: {trial:#}"
        );
    }
    let output = run(only_one(), &["-c", "20", "--drain", "100ms"]);
    assert!(output.stdout.starts_with(b"verdict "), "{output:?}");
    let said = line(&output, "starved");
    assert_eq!(said.as_deref(), Some("19 of 20 clients never answered"));
    assert_eq!(line(&run(Script::Echo, &["-c", "4"]), "starved"), None);
}

/// Each connection answers 100 requests at once and the next one never: less than 1 % fail, and the rate is
/// reached.
#[test]
fn a_late_reset_does_not_improve_a_goal() {
    for (goal, met) in [("max<10s", false), ("p99.9<10s", false), ("p90<10s", true)] {
        let script = Script::ResetLate(100 * 64, Duration::from_millis(150));
        let arguments = [
            "--goal",
            goal,
            "-c",
            "4",
            "--from",
            "2000",
            "--precision",
            "90%",
            "--json",
        ];
        let answer = json(&loadgen("search", script, &arguments));
        let steps = answer["steps"].as_array().unwrap();
        let first = |step: &&Value| step["rate"] == steps[0]["rate"];
        for step in steps.iter().filter(first) {
            assert!(step["failed"].as_u64().unwrap() > 0, "{step:#}");
            assert_eq!(step["value_us"].is_null(), !met, "{goal}: {step:#}");
            assert!(met || step["met"] == false, "{goal}: {step:#}");
        }
    }
}

#[test]
fn a_search_does_not_hide_wrong_answers() {
    // One byte in 64,000 of a connection: most answers are right.
    let script = Script::Corrupt(64_000);
    let arguments = [
        "--goal",
        "p50<10s",
        "-c",
        "1",
        "--from",
        "4000",
        "--precision",
        "90%",
    ];
    let output = loadgen("search", script, &arguments);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = text(&output.stdout);
    assert!(said.contains(": FAILED: 1 wrong answer"), "{said}");
    let last = said.lines().last().unwrap();
    assert!(last.contains(" answered wrongly in "), "{said}");

    let arguments = ["-m", "http", "--goal", "p50<1s", "--from", "100"];
    let output = loadgen("search", Script::Http(ERROR), &arguments);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = text(&output.stderr);
    assert!(said.contains("gave no right answer"), "{said}");
}

#[test]
fn a_search_says_who_got_nothing() {
    let arguments = [
        "--goal", "p50<10s", "-c", "5", "--from", "200", "--drain", "100ms",
    ];
    let output = loadgen("search", only_one(), &arguments);
    let said = text(&output.stdout);
    let first = said.lines().next().unwrap();
    assert!(first.ends_with(", 4 clients never answered"), "{said}");
}

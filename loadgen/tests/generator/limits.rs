//! How long clients wait, how long they use a connection, and how long they think.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use loadgen::recording::histogram::Quantiles;
use loadgen::results::trial::Trial;
use loadgen::workload::client::{Client, Think};
use loadgen::workload::load::{Arrivals, Load, Mode, Workload};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::scripted::{OK, Script, Server};
use crate::{loads, open, run, workload};

const TIMEOUT: Duration = Duration::from_millis(100);

fn patient(timeout: Duration) -> Client {
    Client {
        timeout: Some(timeout),
        ..Client::default()
    }
}

/// The server accepts this many connections and no more.
fn accepts(server: &Server, connections: u64) {
    server.await_accepted(connections as usize);
    assert_eq!(server.accepted() as u64, connections);
}

/// The times of requests that were all given up: no sooner than after the timeout, and then at once.
fn all_timed_out(trial: &Trial, timeout: Duration) {
    assert_eq!(
        (trial.answered, trial.failed, trial.timed_out),
        (0, trial.scheduled, trial.scheduled),
        "{trial:#?}"
    );
    let kinds: Vec<&String> = trial.errors.keys().collect();
    assert_eq!(kinds, ["request-timeout"]);
    let Quantiles { count, min, .. } = trial.response_us;
    assert_eq!(count, trial.scheduled);
    // A histogram has three significant digits.
    let least = timeout.as_secs_f64() * 1e6 * 0.999;
    assert!(min >= Some(least), "{min:?}");
}

#[test]
fn a_server_that_never_answers_gives_failed_requests_as_old_as_the_timeout() {
    for mode in [Mode::Echo, Mode::Once] {
        let server = Server::start(Script::Silence);
        let silent = Workload {
            mode,
            client: patient(TIMEOUT),
            warmup: Duration::ZERO,
            ..workload(server.address)
        };
        let (trial, _) = run(&silent);
        all_timed_out(&trial, TIMEOUT);
        // Each client of the closed loop gives up ten times in a second, one after the other.
        assert!(trial.scheduled <= 40 && trial.scheduled > 8, "{trial:#?}");
        // In the open loop all that is due times out.
        let (trial, _) = run(&Workload {
            load: open(200.0, Arrivals::Constant),
            ..silent
        });
        all_timed_out(&trial, TIMEOUT);
        assert_eq!(trial.scheduled, 200);
    }
}

#[test]
fn a_connection_is_replaced_when_its_request_timed_out() {
    let server = Server::start(Script::Silence);
    let (trial, _) = run(&Workload {
        client: patient(TIMEOUT),
        warmup: Duration::ZERO,
        ..workload(server.address)
    });
    accepts(&server, 4 + trial.timed_out);
}

/// A connection was free for them, so the generator was late and not the server.
#[test]
fn what_a_stopped_generator_gives_up_unsent_is_its_own_lateness() {
    const STOP: Duration = Duration::from_millis(300);
    let server = Server::start(Script::Echo);
    let mut child = Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args(["run", &server.address.to_string(), "-c", "4", "-d", "2s"])
        .args(["-r", "500", "--arrivals", "constant", "--timeout", "50ms"])
        .args(["--warmup", "0s", "--no-save", "--json", "--live", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = BufReader::new(child.stderr.take().unwrap()).lines();
    told.next().unwrap().unwrap();
    let pid = Pid::from_raw(child.id() as i32);
    kill(pid, Signal::SIGSTOP).unwrap();
    thread::sleep(STOP);
    kill(pid, Signal::SIGCONT).unwrap();
    told.for_each(drop);
    let output = child.wait_with_output().unwrap();
    let trial: Value = serde_json::from_slice(&output.stdout).unwrap();
    let number = |key: &str| trial[key].as_u64().unwrap();
    // The others are those that it sends late, but not too late.
    assert!(number("timed_out") >= 100, "{trial:#}");
    let late = &trial["lateness_us"];
    assert_eq!(
        late["count"].as_u64().unwrap() + number("never_sent"),
        number("scheduled"),
        "{trial:#}"
    );
    assert!(late["max"].as_f64().unwrap() >= 0.99 * 300e3, "{trial:#}");
}

/// It rests for a tenth of a second, although its client has thought long before, and its request is overdue.
#[test]
fn a_connection_that_broke_is_opened_once() {
    let server = Server::start(Script::CloseAfter(0));
    let (trial, _) = run(&Workload {
        mode: Mode::Once,
        connections: 1,
        warmup: Duration::ZERO,
        client: Client {
            think: Some(Think::Constant(Duration::from_millis(1))),
            ..patient(Duration::from_millis(20))
        },
        ..workload(server.address)
    });
    assert!(trial.failed > 0 && trial.answered == 0, "{trial:#?}");
    // One before the trial, and eleven in its second.
    assert!(server.accepted() <= 12, "{}", server.accepted());
}

#[test]
fn what_was_pipelined_behind_a_timeout_is_sent_again() {
    // Each connection answers its first request and no other one.
    let server = Server::start(Script::SilentAfter(64));
    let (trial, _) = run(&Workload {
        load: open(10.0, Arrivals::Constant),
        client: patient(Duration::from_millis(240)),
        connections: 1,
        pipeline: 2,
        warmup: Duration::ZERO,
        duration: Duration::from_secs(2),
        drain: Duration::from_secs(1),
        ..workload(server.address)
    });
    let kinds: Vec<&String> = trial.errors.keys().collect();
    assert_eq!(kinds, ["request-timeout"], "{trial:#?}");
    assert_eq!(trial.scheduled, 20);
    assert_eq!(trial.answered + trial.timed_out, 20, "{trial:#?}");
    // Every second one is given up, and the one behind it is the first of the next connection. If it was given up as well, a
    // third would be answered.
    assert!(trial.answered >= 9, "{trial:#?}");
}

#[test]
fn who_answers_in_time_is_not_given_up() {
    for (load, pipeline) in loads() {
        for (mode, script) in [(Mode::Echo, Script::Echo), (Mode::Http, Script::Http(OK))] {
            let server = Server::start(script);
            let (trial, _) = run(&Workload {
                mode,
                load,
                pipeline,
                client: Client {
                    connect_timeout: Some(Duration::from_mins(1)),
                    ..patient(Duration::from_mins(1))
                },
                ..workload(server.address)
            });
            assert_eq!(trial.answered, trial.scheduled, "{trial:#?}");
            assert_eq!((trial.timed_out, trial.timeout_s), (0, Some(60.0)));
            assert_eq!(server.accepted(), 4);
        }
    }
}

#[test]
fn a_connection_has_so_many_requests() {
    const MOST: u64 = 10;
    for (load, pipeline) in loads() {
        for (mode, script) in [
            (Mode::Echo, Script::Echo),
            (Mode::Http, Script::HttpStays(OK)),
        ] {
            let server = Server::start(script);
            let (trial, _) = run(&Workload {
                mode,
                load,
                pipeline,
                connections: 1,
                client: Client {
                    requests_per_connection: Some(MOST),
                    ..Client::default()
                },
                warmup: Duration::ZERO,
                ..workload(server.address)
            });
            assert_eq!(trial.answered, trial.scheduled, "{trial:#?}");
            assert!(trial.answered > 2 * MOST, "{trial:#?}");
            accepts(&server, 1 + trial.answered / MOST);
        }
    }
}

#[test]
fn a_connection_ends_at_its_age() {
    const AGE: Duration = Duration::from_millis(50);
    for load in [Load::Closed, open(5.0, Arrivals::Constant)] {
        let server = Server::start(Script::Echo);
        let (trial, _) = run(&Workload {
            load,
            connections: 1,
            client: Client {
                connection_age: Some(AGE),
                ..Client::default()
            },
            ..workload(server.address)
        });
        assert_eq!(trial.answered, trial.scheduled, "{trial:#?}");
        assert!(trial.errors.is_empty(), "{trial:#?}");
        // In 1.25 seconds at most 25 reach their age; without requests, too.
        let opened = server.accepted();
        assert!((8..=26).contains(&opened), "{opened}");
    }
}

#[test]
fn clients_that_think_send_as_often_as_it_takes_them() {
    const SERVICE: Duration = Duration::from_millis(20);
    const THINK: Duration = Duration::from_millis(30);
    for (mode, script, think) in [
        (Mode::Echo, Script::Delay(SERVICE), Think::Constant(THINK)),
        (
            Mode::Echo,
            Script::Delay(SERVICE),
            Think::Exponential(THINK),
        ),
    ] {
        let server = Server::start(script);
        let (trial, _) = run(&Workload {
            mode,
            connections: 20,
            duration: Duration::from_secs(2),
            client: Client {
                think: Some(think),
                ..Client::default()
            },
            ..workload(server.address)
        });
        assert_eq!(trial.answered, trial.scheduled, "{trial:#?}");
        // A closed system: 20 clients in 2 s, each of whose rounds takes 50 ms.
        let expected = 20.0 * 2.0 / (SERVICE + THINK).as_secs_f64();
        let found = trial.answered as f64;
        let most = match think {
            Think::Constant(_) => expected + 20.0,
            Think::Exponential(_) => expected + 5.0 * expected.sqrt(),
        };
        assert!(found <= most, "{found} of {expected}");
        // On a busy machine a round takes longer.
        assert!(found >= 0.7 * expected, "{found} of {expected}");
        // The time to think is no part of the response.
        assert!(trial.response_us.min >= Some(19_900.0), "{trial:#?}");
        assert!(trial.response_us.p50 < Some(50_000.0), "{trial:#?}");
    }
}

fn loadgen(address: &str, arguments: &[&str]) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args(["run", address, "-d", "300ms", "--warmup", "0s", "-c", "2"])
        .args(["--no-save"])
        .args(arguments)
        .output()
        .unwrap()
}

#[test]
fn the_table_and_the_json_say_how_clients_behave() {
    let server = Server::start(Script::Echo);
    let address = server.address.to_string();
    let table = |arguments: &[&str]| {
        let output = loadgen(&address, arguments);
        String::from_utf8(output.stdout).unwrap()
    };
    let said = table(&[]);
    assert!(said.contains("timeouts     none\n"), "{said}");
    assert!(
        !said.contains("replaced") && !said.contains("think"),
        "{said}"
    );
    let flags = [
        "--timeout",
        "5",
        "--connect-timeout",
        "500ms",
        "--requests-per-connection",
        "3",
        "--connection-age",
        "1m",
        "--think",
        "exp:5ms",
    ];
    let said = table(&flags);
    for line in [
        "timeouts     request 5s, connection 500ms\n",
        "connections  replaced after 3 requests or 1m; ",
        "closed loop, think time exp:5ms, 2 connections\n",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    let output = loadgen(&address, &[&flags[..], &["--json"]].concat());
    let trial: Value = serde_json::from_slice(&output.stdout).unwrap();
    for (key, value) in [
        ("timeout_s", Value::from(5.0)),
        ("connect_timeout_s", Value::from(0.5)),
        ("requests_per_connection", Value::from(3)),
        ("connection_age_s", Value::from(60.0)),
        ("think", Value::from("exp:5ms")),
        ("timed_out", Value::from(0)),
    ] {
        assert_eq!(trial[key], value, "{key}");
    }
    let silent = Server::start(Script::Silence).address.to_string();
    let output = loadgen(&silent, &["--timeout", "100ms"]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains(" timed out)"), "{said}");
}

#[test]
fn a_goal_counts_a_request_that_timed_out_as_slower_than_any() {
    let silent = Server::start(Script::OnlyOne(std::sync::Arc::default()));
    let address = silent.address.to_string();
    // The other client was given up after a tenth of the limit.
    let arguments = ["--timeout", "50ms", "--goal", "max<500ms"];
    let output = loadgen(&address, &arguments);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("max<500ms missed"), "{said}");
}

#[test]
fn a_limit_that_does_not_fit_is_told() {
    for (arguments, hint) in [
        (
            &["--think", "5ms", "--rate", "10"][..],
            "--think: in an open loop",
        ),
        (&["--think", "5ms", "-p", "2"], "one request in flight"),
        (&["--think", "often"], "such as 5ms or exp:5ms"),
        (&["--timeout", "0s"], "above 0"),
        (&["--connect-timeout", "soon"], "--connect-timeout"),
        (&["--requests-per-connection", "0"], "at least 1"),
        (
            &["--requests-per-connection", "3", "--mode", "once"],
            "--requests-per-connection: each request has its own connection",
        ),
        (
            &["--connection-age", "3s", "-m", "http", "--no-keep-alive"],
            "--connection-age: each request has its own connection",
        ),
    ] {
        let output = loadgen("127.0.0.1:7", arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(hint), "{arguments:?}: {said}");
    }
}

//! `loadgen run` as a user calls it.

use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram;
use loadgen::recording::hlog;
use serde_json::Value;
use supervisor::Launch;
use supervisor::limit::{Limit, Resource};

use crate::scripted::{Script, Server};

fn loadgen(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args(arguments)
        .output()
        .unwrap()
}

/// `loadgen run` with short times.
fn run(address: &str, arguments: &[&str]) -> Output {
    let times = [
        "run", address, "-d", "1500ms", "--warmup", "50ms", "-c", "4",
    ];
    loadgen(&[&times, arguments].concat())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn json_of(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!(
            "{error}\n{}\n{}",
            text(&output.stdout),
            text(&output.stderr)
        )
    })
}

const TRIAL_KEYS: &str = "schema_version verdict causes notes load mode connections duration_s timeout_s \
    connect_timeout_s requests_per_connection connection_age_s think scheduled answered failed timed_out in_flight never_sent mismatches rate offered_rate bytes_sent bytes_received \
    connections_answered connections_unanswered answers_per_connection response_us service_us lateness_us wait_us read_delay_us connect_us \
    tls_us tls_resumed errors \
    server generator machine";
const QUANTILE_KEYS: &str = "count min mean stddev p50 p75 p90 p95 p99 p99_9 p99_99 max";

fn keys(value: &Value) -> Vec<&str> {
    value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

#[test]
fn json_has_the_documented_keys() {
    let server = Server::start(Script::Echo);
    let pid = std::process::id().to_string();
    let output = run(
        &server.address.to_string(),
        &["--json", "--no-save", "--server-pid", &pid],
    );
    let trial = json_of(&output);
    assert_eq!(
        keys(&trial),
        TRIAL_KEYS.split_whitespace().collect::<Vec<_>>()
    );
    for histogram in [
        "response_us",
        "service_us",
        "lateness_us",
        "wait_us",
        "read_delay_us",
        "connect_us",
        "tls_us",
    ] {
        assert_eq!(
            keys(&trial[histogram]),
            QUANTILE_KEYS.split_whitespace().collect::<Vec<_>>()
        );
    }
    // A closed loop has no queue: an empty histogram is a count of 0 and nulls.
    assert_eq!(trial["wait_us"]["count"], 0);
    assert_eq!(trial["wait_us"]["max"], Value::Null);
    assert_eq!(trial["offered_rate"], Value::Null);
    assert_eq!(trial["server"]["pid"].to_string(), pid);
}

/// The sum of a log's intervals with a tag.
fn sum(log: &str, tag: &str) -> Histogram<u64> {
    let mut sum = loadgen::recording::histogram::histogram();
    for interval in hlog::read(log).unwrap().intervals {
        if interval.tag == tag {
            sum.add(interval.histogram).unwrap();
        }
    }
    sum
}

#[test]
fn log_and_json_hold_the_same_samples() {
    let server = Server::start(Script::Echo);
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let arguments = [
        "--json",
        "--rate",
        "500",
        "--out",
        out.to_str().unwrap(),
        "--trials",
        "2",
    ];
    let output = run(&server.address.to_string(), &arguments);
    let lines: Vec<Value> = text(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2);
    for (n, shown) in (1..).zip(&lines) {
        let read = |suffix: &str| {
            std::fs::read_to_string(out.join(format!("trial-{n}.{suffix}"))).unwrap()
        };
        let trial: Value = serde_json::from_str(&read("json")).unwrap();
        assert_eq!(&trial, shown);
        let log = read("hlog");
        assert!(log.starts_with("#[Histogram log format version 1.3]\n#[StartTime: "));
        for tag in ["response", "service", "lateness", "wait", "read_delay"] {
            let sum = sum(&log, tag);
            let figures = &trial[format!("{tag}_us")];
            assert_eq!(figures["count"], sum.len());
            // Ten samples are beyond the p90 of a hundred.
            let p90 = sum.value_at_quantile(0.9) as f64 / 1e3;
            let p90 = (sum.len() >= 100).then_some(p90);
            assert_eq!(figures["p90"], serde_json::to_value(p90).unwrap());
            assert_eq!(figures["max"], sum.max() as f64 / 1e3);
        }
        let count = trial["response_us"]["count"].as_u64().unwrap();
        check_percentiles(&read("hgrm"), count);
    }
    let mut names: Vec<_> = std::fs::read_dir(&out)
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names.len(), 6, "{names:?}");
}

/// The rule of `HdrHistogram`'s plotter: a line that does not begin with `#` and has four columns is a point,
/// the first is y, the last x. Everything else is no data.
fn check_percentiles(text: &str, count: u64) {
    let mut points: Vec<(f64, f64, u64)> = Vec::new();
    for line in text.lines().skip(1).filter(|line| !line.is_empty()) {
        if line.starts_with('#') {
            continue;
        }
        let columns: Vec<&str> = line.split_whitespace().collect();
        let [value, quantile, total, distance] = columns[..] else {
            panic!("{line}");
        };
        let quantile: f64 = quantile.parse().unwrap();
        let distance: f64 = distance.parse().unwrap();
        assert!(
            quantile >= 1.0 || (distance * (1.0 - quantile) - 1.0).abs() < 0.01,
            "{line}"
        );
        points.push((value.parse().unwrap(), quantile, total.parse().unwrap()));
    }
    assert!(points.is_sorted_by(|a, b| a.0 <= b.0 && a.1 <= b.1 && a.2 <= b.2));
    let last = points.last().unwrap();
    assert_eq!((last.1, last.2), (1.0, count));
    let footer: Vec<&str> = text.lines().filter(|line| line.starts_with("#[")).collect();
    assert!(footer[0].starts_with("#[Mean "), "{footer:?}");
    assert!(footer[1].starts_with("#[Max "), "{footer:?}");
    assert!(footer[2].starts_with("#[Buckets "), "{footer:?}");
}

#[test]
fn exit_codes_tell_what_happened() {
    let server = Server::start(Script::Silence);
    let silent = run(&server.address.to_string(), &["--no-save"]);
    assert_eq!(silent.status.code(), Some(1));
    assert!(text(&silent.stderr).contains("answered nothing"));

    let server = Server::start(Script::Http(
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
    ));
    let missing = run(
        &server.address.to_string(),
        &["--no-save", "--mode", "http"],
    );
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing.stderr).contains("status-404"));

    let server = Server::start(Script::Corrupt(100_000));
    let wrong = run(&server.address.to_string(), &["--no-save"]);
    assert_eq!(wrong.status.code(), Some(1));
    let said = text(&wrong.stdout);
    assert!(
        said.contains("FAILED: ") && said.contains(" wrong answers"),
        "{said}"
    );
    assert!(said.contains(" mismatch"), "{said}");

    let nobody = run("127.0.0.1:1", &["--no-save"]);
    assert_eq!(nobody.status.code(), Some(1));
    assert_eq!(text(&nobody.stderr).lines().count(), 1);
}

#[test]
fn a_wrong_command_line_gets_a_line_that_helps() {
    for (arguments, hint) in [
        (vec!["run", "127.0.0.1"], "host:port"),
        (vec!["run", "127.0.0.1:7", "-c", "0"], "at least 1"),
        (vec!["run", "127.0.0.1:7", "-c", "1000000000000"], "at most"),
        (
            vec!["run", "127.0.0.1:7", "-p", "1000000000000"],
            "in flight",
        ),
        (
            vec!["run", "127.0.0.1:7", "--warmup", "1000years"],
            "a year",
        ),
        (
            vec!["run", "127.0.0.1:7", "--cpu", "3-99999999999"],
            "cores",
        ),
        (vec!["run", "127.0.0.1:7", "--size", "0"], "above 0"),
        (vec!["run", "127.0.0.1:7", "--rate=-1"], "above 0"),
        (vec!["run", "127.0.0.1:7", "--duration", "0s"], "above 0"),
        (vec!["run", "127.0.0.1:7", "--shard", "3/2"], "1/2"),
        (
            vec!["run", "127.0.0.1:7", "--start-at", "2030-01-31T12:00:00"],
            "zone",
        ),
        (vec!["run", "127.0.0.1:7", "--header", "x"], "Name: value"),
        (
            vec!["run", "127.0.0.1:7", "--mode", "once", "--pipeline", "2"],
            "once",
        ),
        (
            vec!["run", "127.0.0.1:7", "--mode", "http", "--size", "1"],
            "echo",
        ),
        (
            vec!["run", "unix:/tmp/x", "--source-addresses", "2"],
            "127.0.0.0/8",
        ),
        (
            vec!["run", "unix:/tmp/x", "--timestamps", "kernel"],
            "needs TCP",
        ),
        (
            vec!["run", "127.0.0.1:7", "-m", "once", "--timestamps=kernel"],
            "--mode once",
        ),
        (
            vec!["run", "127.0.0.1:7", "--shard", "200/200"],
            "100 connections",
        ),
    ] {
        let output = loadgen(&arguments);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(hint), "{arguments:?}: {said}");
    }
}

#[test]
fn too_few_descriptors_are_told_and_make_it_invalid() {
    let server = Server::start(Script::Echo);
    let words = format!(
        "run {} -c 100 -d 200ms --warmup 10ms --no-save --json",
        server.address
    );
    let program = env!("CARGO_BIN_EXE_loadgen");
    let command = [program].into_iter().chain(words.split(' '));
    let mut launch = Launch::new(command.map(Into::into).collect());
    launch.orders.limits = vec![Limit::hard(Resource::Descriptors, 50)];
    supervisor::use_helper(program);
    let exit = launch.run().unwrap().wait(Duration::from_secs(20)).unwrap();
    assert_eq!(exit.code(), Some(3), "{}", exit.stderr);
    let told = "may not fit in the limit of 50 descriptors";
    assert!(exit.stderr.contains(told), "{}", exit.stderr);
    let trial: Value = serde_json::from_str(&exit.stdout).unwrap();
    let causes = trial["causes"].to_string();
    assert!(causes.contains("connections-missing"), "{causes}");
}

#[test]
fn an_interrupt_keeps_the_trials_that_finished() {
    let server = Server::start(Script::Echo);
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args([
            "run",
            &server.address.to_string(),
            "--json",
            "--trials",
            "100000",
        ])
        .args([
            "-d",
            "100ms",
            "--warmup",
            "10ms",
            "--out",
            dir.path().to_str().unwrap(),
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.next().unwrap().unwrap();
    let pid = nix::unistd::Pid::from_raw(child.id() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    let shown = 1 + lines.count();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let names: Vec<String> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names.len(), 3 * shown, "{names:?}");
}

#[test]
fn two_generators_share_a_load_and_their_logs_add_up() {
    let server = Server::start(Script::Echo);
    let dir = tempfile::tempdir().unwrap();
    let start = humantime::format_rfc3339(SystemTime::now() + Duration::from_secs(2)).to_string();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let generators: Vec<_> = ["1/2", "2/2"]
        .map(|shard| {
            let out = path(&shard[..1]);
            Command::new(env!("CARGO_BIN_EXE_loadgen"))
                .args(["run", &server.address.to_string(), "--rate", "100"])
                .args([
                    "-c",
                    "5",
                    "-d",
                    "1s",
                    "--warmup",
                    "0s",
                    "--arrivals",
                    "constant",
                ])
                .args([
                    "--shard",
                    shard,
                    "--start-at",
                    &start,
                    "--json",
                    "--out",
                    &out,
                ])
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .into();
    let scheduled: Vec<u64> = generators
        .into_iter()
        .map(|child| {
            json_of(&child.wait_with_output().unwrap())["scheduled"]
                .as_u64()
                .unwrap()
        })
        .collect();
    assert_eq!(scheduled, [50, 50]);
    let logs = ["1", "2"].map(|name| path(&format!("{name}/shard-{name}-of-2/trial-1.hlog")));
    let merged = path("merged.hlog");
    let output = loadgen(&["merge", &logs[0], &logs[1], "--out", &merged]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let read = |path: &String| std::fs::read_to_string(path).unwrap();
    for tag in ["response", "service", "lateness", "wait"] {
        let mut both = sum(&read(&logs[0]), tag);
        both.add(sum(&read(&logs[1]), tag)).unwrap();
        assert_eq!(sum(&read(&merged), tag), both, "{tag}");
    }
    assert_eq!(sum(&read(&merged), "response").len(), 100);
    // Both began at the same instant, so a second of one is the same second of the other.
    let seconds = hlog::read(&read(&merged)).unwrap().intervals;
    assert!(seconds.iter().all(|interval| interval.start.as_secs() < 3));
    assert!(text(&output.stdout).contains("response"));
}

#[test]
fn the_percentiles_of_the_table_can_be_chosen() {
    let server = Server::start(Script::Echo);
    let percentiles = |list: &str| {
        let arguments = ["--percentiles", list, "--no-save"];
        run(&server.address.to_string(), &arguments)
    };
    let output = percentiles("95,50");
    let said = text(&output.stdout);
    let headings = said.lines().find(|line| line.starts_with(" us ")).unwrap();
    let headings: Vec<&str> = headings.split_whitespace().collect();
    assert_eq!(
        headings,
        ["us", "min", "p50", "p95", "max", "mean", "count"]
    );
    for (list, hint) in [
        (
            "97",
            "there is no percentile `97`; there are 50, 75, 90, 95, 99, 99.9, 99.99",
        ),
        ("", "there is no percentile ``"),
    ] {
        let output = percentiles(list);
        assert_eq!(output.status.code(), Some(2));
        assert!(
            text(&output.stderr).contains(hint),
            "{}",
            text(&output.stderr)
        );
    }
}

//! The output of `loadgen run` while it runs: `--live` and `--metrics`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::scripted::{Script, Server};

fn run(server: &Server) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
    command.args(["run", &server.address.to_string(), "-c", "4", "--no-save"]);
    command
}

fn lines(text: &str) -> Vec<Value> {
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

#[test]
fn each_second_is_a_json_object() {
    let server = Server::start(Script::Echo);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("live.json");
    let flags = [
        "-d", "2500ms", "--warmup", "10ms", "--json", "--live", "json",
    ];
    let to_stderr = run(&server).args(flags).output().unwrap();
    let to_file = run(&server)
        .args(flags)
        .arg("--live-to")
        .arg(&file)
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&to_file.stderr), "");
    let texts = [
        String::from_utf8(to_stderr.stderr).unwrap(),
        std::fs::read_to_string(&file).unwrap(),
    ];
    for (text, output) in texts.iter().zip([to_stderr.stdout, to_file.stdout]) {
        let seconds = lines(text);
        let trial: Value = serde_json::from_slice(&output).unwrap();
        let numbers: Vec<u64> = seconds
            .iter()
            .map(|second| second["second"].as_u64().unwrap())
            .collect();
        // The last half of a second has no line.
        assert_eq!(numbers, [1, 2], "{text}");
        let told: u64 = seconds
            .iter()
            .map(|second| second["rate"].as_u64().unwrap())
            .sum();
        assert!(told > 0 && told <= trial["answered"].as_u64().unwrap());
        for second in &seconds {
            assert_eq!(second["trial"], 1);
            assert_eq!(second["errors"], 0);
            assert_eq!(second["response_us"]["count"], second["rate"]);
        }
    }
}

#[test]
fn prometheus_gets_the_figures_of_the_last_second() {
    let server = Server::start(Script::Echo);
    let mut child = run(&server)
        .args(["-d", "1h", "--warmup", "10ms", "--metrics", "0"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines();
    let line = stderr.next().unwrap().unwrap();
    let address = line
        .strip_prefix("metrics at http://")
        .and_then(|rest| rest.strip_suffix("/metrics"))
        .unwrap_or_else(|| panic!("{line}"));
    let get = |path: &str| {
        let mut client = TcpStream::connect(address).unwrap();
        write!(client, "GET {path} HTTP/1.1\r\nHost: here\r\n\r\n").unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        answer
    };
    // A client that sends nothing delays nobody.
    let _silent = TcpStream::connect(address).unwrap();
    let value = |answer: &str, name: &str| -> Option<f64> {
        let line = answer.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().parse().ok()
    };
    let mut answer = get("/metrics");
    // A median needs twenty answers in a second.
    let p50 = |answer: &str| value(answer, "loadgen_response_seconds{quantile=\"0.5\"} ");
    while p50(&answer).is_none() {
        assert_eq!(child.try_wait().unwrap(), None);
        answer = get("/metrics");
    }
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(value(&answer, "loadgen_rate ").unwrap() > 0.0, "{answer}");
    let p50 = p50(&answer).unwrap();
    let most = value(&answer, "loadgen_response_seconds{quantile=\"1\"} ").unwrap();
    assert!(0.0 < p50 && p50 <= most, "{answer}");
    assert_eq!(value(&answer, "loadgen_errors_total "), Some(0.0));
    assert!(answer.ends_with("# EOF\n"), "{answer}");
    assert!(get("/else").starts_with("HTTP/1.1 404 "));
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn what_cannot_be_told_is_said_before_the_trial() {
    let server = Server::start(Script::Echo);
    let taken = server.address.to_string();
    for (flags, line) in [
        (&["--metrics", &taken][..], "--metrics: cannot listen at"),
        (&["--metrics", "nowhere"], "such as 9100"),
        (&["--live-to", "x"], "--live"),
        (
            &["--live", "json", "--live-to", "/nowhere/x"],
            "cannot write /nowhere/x",
        ),
    ] {
        let output = run(&server).args(flags).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success());
        assert!(error.contains(line), "{error}");
    }
}

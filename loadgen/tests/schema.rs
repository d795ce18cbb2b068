//! What loadgen writes is what `docs/schema` says.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;

use serde_json::{Value, json};

fn schema(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn trial_schema() -> Value {
    schema(include_str!("../../docs/schema/trial.schema.json"))
}

fn run_schema() -> Value {
    schema(include_str!("../../docs/schema/run.schema.json"))
}

fn check(schema: &Value, value: &Value) {
    let validator = jsonschema::validator_for(schema).unwrap();
    let faults: Vec<String> = validator
        .iter_errors(value)
        .map(|fault| format!("{}: {fault}", fault.instance_path()))
        .collect();
    assert!(faults.is_empty(), "{faults:#?}\n{value:#}");
}

/// An echo server, and its address.
fn echo() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(n @ 1..) = client.read(&mut buffer) {
                    if client.write_all(&buffer[..n]).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

fn trial(arguments: &[&str]) -> Value {
    let address = echo();
    let output = Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args(["run", &address, "--json", "--no-save", "-c", "2"])
        .args(["-d", "200ms", "--warmup", "10ms"])
        .args(arguments)
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn trials_are_as_the_schema_says() {
    let pid = std::process::id().to_string();
    for arguments in [
        &[][..],
        &["--rate", "100"],
        &["--server-pid", &pid],
        &["--shard", "2/2", "--rate", "100"],
        &["--shard", "1/1", "--start-at", "2001-01-01T00:00:00Z"],
        // FAILED, with errors: other bytes come back than are expected.
        &["--mode", "raw", "--send", "x", "--expect", "y"],
    ] {
        check(&trial_schema(), &trial(arguments));
    }
}

#[test]
fn a_run_is_as_the_schema_says() {
    let top = tempfile::tempdir().unwrap();
    std::fs::write(
        top.path().join("mine.toml"),
        "[[server]]\nname = \"none\"\ncrate = \"none\"\n[[scenario]]\nname = \"one\"\nquestion = \"?\"\n",
    )
    .unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args([
            "bench",
            "--scenario-file",
            "mine.toml",
            "--out",
            "run",
            "--no-keep-awake",
        ])
        .current_dir(top.path())
        .output()
        .unwrap();
    let text = std::fs::read(top.path().join("run/run.json"))
        .unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let run: Value = serde_json::from_slice(&text).unwrap();
    check(&run_schema(), &run);
    assert!(run["programs"]["loadgen"].is_string(), "{run:#}");
    assert!(run["programs"]["servers"]["none"].is_null(), "{run:#}");
    assert!(run.get("commit").is_some(), "{run:#}");
}

#[test]
fn what_is_not_as_the_schema_says_is_found() {
    let right = trial(&[]);
    let schema = jsonschema::validator_for(&trial_schema()).unwrap();
    for (pointer, wrong) in [
        ("/verdict", json!("MAYBE")),
        ("/schema_version", json!(2)),
        ("/answered", json!(-1)),
        ("/causes", json!(["bad-luck"])),
        ("/response_us/p99", json!("slow")),
        ("/server", json!({"pid": 1})),
        ("/errors", json!({"reset": "many"})),
        (
            "/generator",
            json!({"cpu_us_per_request": 1, "cpu_share": 1, "threads": 1, "more": 1}),
        ),
    ] {
        let mut trial = right.clone();
        *trial.pointer_mut(pointer).unwrap() = wrong;
        assert!(!schema.is_valid(&trial), "{pointer}");
    }
    let mut trial = right;
    trial.as_object_mut().unwrap().remove("rate");
    assert!(!schema.is_valid(&trial));
}

/// What a server appends to the file of `--trace-to`; the server's own tests hold each of its events against this.
#[test]
fn a_line_of_a_trace_is_told_from_what_is_none() {
    let schema: Value = schema(include_str!("../../docs/schema/trace.schema.json"));
    let validator = jsonschema::validator_for(&schema).unwrap();
    for right in [
        json!({"t_ns": 1, "worker": "main", "event": "start", "model": "epoll", "mode": "echo",
            "address": "127.0.0.1:7000", "pid": 7}),
        json!({"t_ns": 2, "worker": "main", "event": "wait", "call": "epoll_wait",
            "for": ["listener", "client 1", "and 97 more"], "ns": 0}),
        json!({"t_ns": 3, "worker": "main", "event": "wake", "call": "epoll_wait", "ready": [], "ns": 5}),
        json!({"t_ns": 4, "worker": "child 12", "event": "read", "call": "recvfrom", "client": 1, "bytes": 0}),
        json!({"t_ns": 4, "worker": "main", "event": "read", "call": "RECV", "client": 1, "error": "EAGAIN"}),
        json!({"t_ns": 5, "worker": "main", "event": "close", "client": 1, "why": "the client has closed"}),
    ] {
        check(&schema, &right);
    }
    let read = json!({"t_ns": 4, "worker": "worker 1", "event": "read", "client": 1, "bytes": 6});
    check(&schema, &read);
    for (key, wrong) in [
        ("t_ns", json!(-1)),
        ("worker", json!("worker 0")),
        ("event", json!("reads")),
        ("event", json!("accept")),
        ("client", json!(0)),
        ("bytes", Value::Null),
        ("error", json!("EAGAIN")),
        ("call", json!("recv from")),
        ("more", json!(1)),
    ] {
        let mut line = read.clone();
        line[key] = wrong;
        assert!(!validator.is_valid(&line), "{line}");
    }
}

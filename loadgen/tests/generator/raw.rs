//! `--mode raw`: any protocol of requests and answers.

use std::process::{Command, Output};

use serde_json::Value;

use crate::scripted::{Script, Server};

fn run(server: &Server, arguments: &[&str]) -> Output {
    let address = server.address.to_string();
    Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args(["run", &address, "--mode", "raw", "-c", "4", "-d", "200ms"])
        .args(["--warmup", "10ms", "--no-save", "--json"])
        .args(arguments)
        .output()
        .unwrap()
}

fn json_of(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
}

/// A server that answers each request, which ends with an empty line.
fn pong(answer: &'static [u8]) -> Server {
    Server::start(Script::HttpStays(answer))
}

const PING: &str = r"PING\r\n\r\n";

#[test]
fn each_request_has_its_answer() {
    let server = pong(b"+PONG\r\n");
    for (pipeline, rule) in [
        ("1", ["--expect", r"+PONG\r\n"]),
        ("7", ["--expect", r"+PONG\r\n"]),
        ("7", ["--until", r"\r\n"]),
        ("7", ["--expect-bytes", "7"]),
    ] {
        let flags = ["--send", PING, "--pipeline", pipeline];
        let trial = json_of(&run(&server, &[&flags[..], &rule].concat()));
        assert_eq!(trial["mode"], "raw");
        let answered = trial["answered"].as_u64().unwrap();
        assert!(answered > 0);
        // All that was asked was answered rightly, and by answers of seven bytes.
        assert_eq!(trial["failed"], 0, "{rule:?}: {trial}");
        assert_eq!(trial["in_flight"], 0, "{rule:?}: {trial}");
        assert_eq!(trial["mismatches"], 0, "{rule:?}: {trial}");
    }
    // A connection for each of the others, and none was replaced.
    assert_eq!(server.accepted(), 16);
}

#[test]
fn the_request_may_stand_in_a_file() {
    let server = pong(b"done.");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("request");
    std::fs::write(&file, b"\x00\xff\r\n\r\n").unwrap();
    let file = file.to_str().unwrap();
    let trial = json_of(&run(&server, &["--send-file", file, "--until", "."]));
    assert!(trial["answered"].as_u64().unwrap() > 0);
    assert_eq!(trial["failed"], 0);
}

#[test]
fn a_wrong_answer_fails_and_the_next_connection_begins_anew() {
    let server = pong(b"-ERR unknown command\r\n");
    let output = run(
        &server,
        &["--send", PING, "--expect", r"+PONG\r\n", "-p", "3"],
    );
    assert_eq!(output.status.code(), Some(1));
    let trial = json_of(&output);
    assert_eq!(trial["verdict"], "FAILED");
    assert_eq!(trial["answered"], 0);
    let mismatches = trial["mismatches"].as_u64().unwrap();
    assert_eq!(trial["failed"].as_u64(), Some(mismatches));
    // Each connection gives one wrong answer, and then another one takes its place.
    assert!(server.accepted() as u64 > mismatches, "{trial}");
}

#[test]
fn a_server_that_speaks_first_needs_no_request() {
    let server = Server::start(Script::Greets(b"220 ready\r\n"));
    let trial = json_of(&run(
        &server,
        &["--no-keep-alive", "--send", "", "--until", r"\r\n"],
    ));
    let answered = trial["answered"].as_u64().unwrap();
    assert!(answered > 0, "{trial}");
    assert_eq!(trial["failed"], 0, "{trial}");
    assert!(server.accepted() as u64 >= answered);
    assert_eq!(trial["bytes_sent"], 0);
}

#[test]
fn what_is_missing_is_said_in_one_line() {
    let server = pong(b"");
    for (flags, line) in [
        (&[][..], "--mode raw needs a request"),
        (&["--send", "x"], "where its answer ends"),
        (&["--send", r"\q", "--until", "x"], r"`\q` is not known"),
        (&["--send", "x", "--until", ""], "at least one byte"),
        (&["--send", "", "--until", "x"], "--no-keep-alive"),
        (
            &["--send", "x", "--until", "y", "--expect", "z"],
            "--expect",
        ),
        (
            &["--send-file", "nowhere", "--until", "x"],
            "cannot read nowhere",
        ),
        (&["--mode", "echo", "--send", "x"], "--mode"),
    ] {
        let output = run(&server, flags);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains(line), "{flags:?}: {error}");
    }
}

//! What users of other generators type.

use std::process::{Command, Output};

use serde_json::Value;

use crate::scripted::{OK, Script, Server};

fn loadgen(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args(arguments)
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_url_is_enough() {
    let server = Server::start(Script::Http(OK));
    let url = format!("http://{}/path?query#fragment", server.address);
    let flags = [
        "-z",
        "1",
        "-c",
        "2",
        "--latency",
        "-H",
        "A: b",
        "--no-save",
        "--json",
    ];
    let output = loadgen(&[&[url.as_str()], &flags[..]].concat());
    // On a busy machine the trial may be INVALID.
    let code = output.status.code();
    assert!(matches!(code, Some(0 | 3)), "{}", said(&output));
    let trial: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(trial["mode"], "http");
    assert!(trial["answered"].as_u64().unwrap() > 0);
    assert_eq!(trial["failed"], 0);
}

#[test]
fn what_is_called_otherwise_here_is_named() {
    for (arguments, hint) in [
        (vec!["http://127.0.0.1:7", "-n", "100"], "-d 10s"),
        (vec!["http://127.0.0.1:7", "-q", "100"], "--rate"),
        (vec!["-k", "http://127.0.0.1:7"], "--no-keep-alive"),
        (vec!["-k", "http://127.0.0.1:7"], "--insecure"),
        (
            vec!["-disable-keepalive", "http://127.0.0.1:7"],
            "--no-keep-alive",
        ),
        (vec!["http://127.0.0.1:7", "-t", "20s"], "--timeout 20s"),
        (vec!["http://127.0.0.1:7", "-p", "post.txt"], "--body-file"),
        (vec!["http://127.0.0.1:7", "-s", "a.lua"], "--requests"),
        (vec!["http://127.0.0.1:7", "--rate=50/1s"], "a second"),
        (vec!["http://127.0.0.1:7", "--no-tui"], "no screen"),
        (
            vec!["http://127.0.0.1:7", "-redirects=0"],
            "--expect-status",
        ),
        (vec!["http://127.0.0.1:7", "-A", "text/html"], "-H 'Accept"),
        (vec!["http://127.0.0.1:7", "-s", "30"], "--timeout"),
        (vec!["http://127.0.0.1:7", "-timeout=0s"], "--timeout"),
        (vec!["http://127.0.0.1:7", "-m", "GET"], "--method GET"),
        (vec!["benhc"], "'bench'"),
        (vec!["http://", "-c", "1"], "no host"),
        (vec!["ftp://127.0.0.1:7"], "http://"),
        (vec!["::1:7000"], "[::1]:7000"),
        (
            vec!["http://127.0.0.1:7/a", "--path", "/b"],
            "has a path already",
        ),
        (vec!["http://127.0.0.1:7", "--mode", "echo"], "--mode http"),
        (vec!["127.0.0.1:7", "--body", "x"], "--body needs a URL"),
        (
            vec!["http://127.0.0.1:7", "--body-file", "/nowhere/x"],
            "--body-file /nowhere/x: No such file",
        ),
        (
            vec!["http://127.0.0.1:7", "--requests", "/nowhere/x"],
            "--requests /nowhere/x: No such file",
        ),
        (
            vec!["http://127.0.0.1:7", "--requests", "/dev/null"],
            "no request in it",
        ),
        (vec!["http://127.0.0.1:7", "-X", "G T"], "name of a method"),
        (
            vec!["http://127.0.0.1:7", "--expect-status", "2xx"],
            "no status code",
        ),
        (
            vec!["http://127.0.0.1:7", "--expect-body-sha256", "abc"],
            "64 hexadecimal digits",
        ),
        (
            vec!["127.0.0.1:7", "--source", "192.0.2.1"],
            "--source 192.0.2.1: ",
        ),
        (vec!["127.0.0.1:7", "--source", "::1"], "--source ::1: "),
    ] {
        let output = loadgen(&arguments);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(hint), "{arguments:?}: {said}");
    }
}

#[test]
fn a_server_of_another_protocol_is_known_by_its_first_answer() {
    let bad = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    for (script, mode, advice) in [
        (Script::Once(bad), "echo", "add --mode http"),
        (Script::Once(bad), "once", "add --mode http"),
        (Script::Echo, "http", "--mode echo"),
    ] {
        let server = Server::start(script);
        let address = server.address.to_string();
        // It does not wait for the end of the load.
        let flags = ["-m", mode, "-d", "1h", "-c", "2", "--no-save"];
        let output = loadgen(&[&[address.as_str()], &flags[..]].concat());
        assert_eq!(output.status.code(), Some(1), "{mode}: {}", said(&output));
        assert!(said(&output).contains(advice), "{mode}: {}", said(&output));
    }
}

#[test]
fn check_knows_a_server_of_another_protocol_too() {
    let http = Server::start(Script::Http(OK)).address.to_string();
    let echo = Server::start(Script::Echo).address.to_string();
    let url = format!("http://{echo}/");
    for (arguments, advice) in [
        (&["check", http.as_str()][..], "add --mode http"),
        (&["check", &http, "--mode", "once"], "add --mode http"),
        (&["check", &echo, "--mode", "http"], "--mode echo"),
        (&["check", &url], "--mode echo"),
    ] {
        let output = loadgen(arguments);
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(said(&output).contains(advice), "{}", said(&output));
        assert_eq!(output.stdout, b"", "it began with the cases");
    }
    for (arguments, hint) in [
        (
            &["check", url.as_str(), "--mode", "echo"][..],
            "--mode http",
        ),
        (&["check", "https://127.0.0.1:7"], "do not speak TLS"),
        (&["check", "unix:/s"], "host:port"),
    ] {
        let output = loadgen(arguments);
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        assert!(said(&output).contains(hint), "{}", said(&output));
    }
}

#[test]
fn report_shows_what_a_run_wrote_again() {
    let server = Server::start(Script::Echo);
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out");
    let out = out.to_str().unwrap();
    let address = server.address.to_string();
    let times = [
        "-d", "100ms", "--warmup", "10ms", "-c", "2", "--trials", "2",
    ];
    let run = loadgen(&[&["run", &address, "--out", out], &times[..]].concat());
    let run = String::from_utf8(run.stdout).unwrap();
    let again = loadgen(&["report", out]);
    assert_eq!(again.status.code(), Some(0), "{}", said(&again));
    let again = String::from_utf8(again.stdout).unwrap();
    assert_eq!(again, run.replace(" of 2\n", "\n"));
    let chosen = loadgen(&["report", out, "--percentiles", "95"]);
    assert!(String::from_utf8_lossy(&chosen.stdout).contains(" p95 "));
    // Without a directory it is the newest bench, of which there is none here.
    let newest = Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .arg("report")
        .current_dir(directory.path())
        .output()
        .unwrap();
    assert!(
        said(&newest).contains("results/latest"),
        "{}",
        said(&newest)
    );
}

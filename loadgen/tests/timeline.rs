//! `loadgen timeline`: what it draws of traces, and of scenes that are played.
//!
//! This program is also the server of the scenes: one client at a time, with a trace.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Output};

use libtest_mimic::{Arguments, Trial};
use nix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use tempfile::TempDir;

fn main() -> ExitCode {
    supervisor::run_helper_if_asked();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "--listen") {
        return serve(&arguments);
    }
    let tests: [(&str, fn()); 8] = [
        (
            "a_scene_is_drawn_from_both_sides",
            a_scene_is_drawn_from_both_sides,
        ),
        (
            "the_trace_event_format_is_kept",
            the_trace_event_format_is_kept,
        ),
        ("text_of_a_trace_is_only_text", text_of_a_trace_is_only_text),
        (
            "a_crowd_is_limited_and_said_to_be",
            a_crowd_is_limited_and_said_to_be,
        ),
        (
            "a_part_of_the_time_can_be_drawn",
            a_part_of_the_time_can_be_drawn,
        ),
        (
            "a_scene_of_ones_own_is_played",
            a_scene_of_ones_own_is_played,
        ),
        (
            "numbers_of_a_trace_may_be_any",
            numbers_of_a_trace_may_be_any,
        ),
        (
            "what_cannot_be_drawn_is_said_in_a_line",
            what_cannot_be_drawn_is_said_in_a_line,
        ),
    ];
    let tests = tests.map(|(name, test)| {
        Trial::test(name, move || {
            test();
            Ok(())
        })
    });
    libtest_mimic::run(&Arguments::from_args(), tests.into()).exit_code()
}

/// One client at a time; `--listen ADDR --trace-to FILE`.
fn serve(arguments: &[String]) -> ExitCode {
    if let Some(unknown) = arguments.get(4) {
        let _ = writeln!(std::io::stderr(), "no such flag: {unknown}");
        return ExitCode::from(2);
    }
    let listener = TcpListener::bind(&arguments[1]).unwrap();
    let mut file = File::create(&arguments[3]).unwrap();
    let address = listener.local_addr().unwrap();
    let mut note = |mut line: Value| {
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap();
        line["t_ns"] = json!(now.tv_sec() * 1_000_000_000 + now.tv_nsec());
        line["worker"] = json!("main");
        file.write_all(format!("{line}\n").as_bytes()).unwrap();
    };
    note(
        json!({"event": "start", "model": "one-at-a-time", "mode": "echo", "address": address, "pid": 1}),
    );
    let ready = format!("listening on {address}\n");
    std::io::stdout().write_all(ready.as_bytes()).unwrap();
    for client in 1.. {
        note(json!({"event": "wait", "call": "accept4", "for": ["listener"]}));
        let (mut stream, _) = listener.accept().unwrap();
        note(json!({"event": "wake", "call": "accept4", "ready": ["listener"], "ns": 1}));
        note(json!({"event": "accept", "client": client, "fd": 5}));
        let mut buffer = [0; 4096];
        loop {
            note(
                json!({"event": "wait", "call": "recvfrom", "client": client, "for": [format!("client {client}")]}),
            );
            let n = stream.read(&mut buffer).unwrap();
            note(
                json!({"event": "wake", "call": "recvfrom", "ready": [format!("client {client} readable")], "ns": 1}),
            );
            note(json!({"event": "read", "client": client, "bytes": n}));
            if n == 0 {
                break;
            }
            stream.write_all(&buffer[..n]).unwrap();
            note(json!({"event": "write", "client": client, "bytes": n}));
        }
        note(json!({"event": "close", "client": client, "why": "the client has closed"}));
    }
    ExitCode::SUCCESS
}

/// Where pictures are drawn.
struct Desk {
    top: TempDir,
}

impl Desk {
    fn new() -> Self {
        Self {
            top: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.top.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn try_timeline(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
        command.arg("timeline").args(arguments);
        command.current_dir(self.top.path()).output().unwrap()
    }

    fn timeline(&self, arguments: &[&str]) {
        let output = self.try_timeline(arguments);
        assert!(output.status.success(), "{output:?}");
    }

    /// Plays a scene with the server that this program is.
    fn play(&self, arguments: &[&str]) {
        let server = std::env::current_exe().unwrap();
        let mut all = vec!["--server", server.to_str().unwrap()];
        all.extend(arguments);
        self.timeline(&all);
    }
}

fn assert_loads_nothing(text: &str) {
    for outside in ["src=", "href=", "@import", "<iframe", "<link", "fetch("] {
        assert!(!text.contains(outside), "{outside} in {text}");
    }
    let addresses = text.matches("://").count();
    let namespaces = text.matches("\"http://www.w3.org/2000/svg\"").count();
    assert_eq!(addresses, namespaces, "{text}");
    let images = text.matches("url(").count();
    assert_eq!(images, text.matches("url(#").count(), "{text}");
}

fn a_scene_is_drawn_from_both_sides() {
    let desk = Desk::new();
    desk.play(&["--out", "a.svg", "--out", "a.html"]);
    let svg = desk.text("a.svg");
    for lane in ["client 1", "client 2", "client 3", "main"] {
        let name = format!(">{lane}</text>");
        assert!(svg.contains(&name), "{lane} in {svg}");
    }
    // The first is silent and holds the only thread; the others wait.
    assert!(svg.contains(">silent</text>"), "{svg}");
    assert!(
        svg.contains(">blocked in recvfrom: client 1</text>"),
        "{svg}"
    );
    assert!(svg.contains(">waits for the answer: "), "{svg}");
    assert!(svg.contains("Client 2 asks twice."), "{svg}");
    // Two questions and four pieces, and an answer to each.
    for arrow in ["request", "answer"] {
        let arrows = svg.matches(&format!("<line class=\"{arrow}\"")).count();
        assert_eq!(arrows, 6, "{arrow} in {svg}");
    }
    assert!(svg.contains("prefers-color-scheme: dark"), "{svg}");
    assert!(svg.len() < 100_000, "{}", svg.len());
    assert_loads_nothing(&svg);
    let page = desk.text("a.html");
    assert!(page.contains("default-src 'none'"), "{page}");
    assert!(
        page.contains("client 2 has sent 6 bytes and waits for the answer"),
        "{page}"
    );
    assert_loads_nothing(&page);
}

fn the_trace_event_format_is_kept() {
    let desk = Desk::new();
    desk.play(&["--chrome-trace", "chrome.json"]);
    let file: Value = serde_json::from_str(&desk.text("chrome.json")).unwrap();
    let events = file["traceEvents"].as_array().unwrap();
    let mut names = BTreeMap::new();
    let mut flows: BTreeMap<u64, Vec<&Value>> = BTreeMap::new();
    let mut slices: BTreeMap<(u64, u64), Vec<(f64, f64)>> = BTreeMap::new();
    for event in events {
        assert!(
            event["name"].is_string() && event["cat"].is_string(),
            "{event}"
        );
        let place = (
            event["pid"].as_u64().unwrap(),
            event["tid"].as_u64().unwrap(),
        );
        let ts = event["ts"].as_f64().unwrap();
        match event["ph"].as_str().unwrap() {
            "M" => {
                let args = &event["args"];
                assert!(
                    args["name"].is_string() || args["sort_index"].is_u64(),
                    "{event}"
                );
                if event["name"] == "thread_name" {
                    names.insert(args["name"].as_str().unwrap(), place);
                }
            }
            "X" => {
                let dur = event["dur"].as_f64().unwrap();
                assert!(dur >= 0.0, "{event}");
                slices.entry(place).or_default().push((ts, ts + dur));
            }
            "s" => flows
                .entry(event["id"].as_u64().unwrap())
                .or_default()
                .push(event),
            "f" => {
                assert_eq!(event["bp"], "e", "{event}");
                flows
                    .entry(event["id"].as_u64().unwrap())
                    .or_default()
                    .push(event);
            }
            "i" => assert_eq!(event["s"], "g", "{event}"),
            other => panic!("{other}: {event}"),
        }
    }
    assert_eq!(
        names.keys().copied().collect::<BTreeSet<_>>(),
        BTreeSet::from(["client 1", "client 2", "client 3", "main"])
    );
    // What one thread does is one after the other. The times are rounded to nanoseconds.
    let main = &slices[&names["main"]];
    assert!(main.len() > 10, "{main:?}");
    assert!(
        main.windows(2).all(|pair| pair[0].1 <= pair[1].0 + 0.002),
        "{main:?}"
    );
    for flow in flows.values() {
        let [begin, end] = flow[..] else {
            panic!("{flow:?}")
        };
        assert!(begin["ts"].as_f64() <= end["ts"].as_f64(), "{flow:?}");
    }
    // Each of client 2's questions reaches the server before its answer leaves.
    let of_client_2 = |event: &Value| {
        let place = (
            event["pid"].as_u64().unwrap(),
            event["tid"].as_u64().unwrap(),
        );
        place == names["client 2"]
    };
    let order: Vec<&str> = events
        .iter()
        .filter(|event| event["ph"] != "X" && event["ph"] != "M" && of_client_2(event))
        .map(|event| event["name"].as_str().unwrap())
        .collect();
    assert_eq!(order, ["request", "answer", "request", "answer"]);
}

/// A trace of one client.
fn trace(model: &str, worker: &str, why: &str) -> String {
    let line = |t: u64, mut line: Value| {
        line["t_ns"] = json!(1_000_000_000 + t * 1_000_000);
        line["worker"] = json!(worker);
        format!("{line}\n")
    };
    [
        line(0, json!({"event": "start", "model": model, "mode": "echo", "address": "x", "pid": 1})),
        line(10, json!({"event": "accept", "client": 1, "fd": 5})),
        line(20, json!({"event": "wait", "call": "recvfrom", "client": 1, "for": ["client 1"]})),
        line(300, json!({"event": "wake", "call": "recvfrom", "ready": ["client 1 readable"], "ns": 280_000_000})),
        line(301, json!({"event": "read", "client": 1, "bytes": 6})),
        line(302, json!({"event": "write", "client": 1, "bytes": 6})),
        line(303, json!({"event": "close", "client": 1, "why": why})),
    ]
    .concat()
}

fn text_of_a_trace_is_only_text() {
    let desk = Desk::new();
    let evil = "<script>alert(\"1\" & '2')</script>";
    desk.write("trace.jsonl", &trace(evil, evil, evil));
    desk.timeline(&["trace.jsonl"]);
    for name in ["timeline.svg", "timeline.html"] {
        let text = desk.text(name);
        assert!(!text.contains("<script>alert"), "{text}");
        assert!(
            text.contains("&lt;script&gt;alert(&quot;1&quot; &amp; "),
            "{text}"
        );
    }
}

fn a_crowd_is_limited_and_said_to_be() {
    let desk = Desk::new();
    let mut file = File::create(desk.path("crowd.jsonl")).unwrap();
    let mut t = 1_000_000_000_u64;
    let mut lines = String::new();
    let mut note = |mut line: Value| {
        t += 1000;
        line["t_ns"] = json!(t);
        line["worker"] = json!("main");
        lines.push_str(&line.to_string());
        lines.push('\n');
    };
    note(json!({"event": "start", "model": "epoll", "mode": "echo", "address": "x", "pid": 1}));
    for client in 1..=10_000 {
        note(json!({"event": "accept", "client": client, "fd": 5}));
    }
    for round in 0..2 {
        for client in 1..=10_000 {
            note(
                json!({"event": "wait", "call": "epoll_wait", "for": ["listener", "client 1", "client 2"]}),
            );
            note(
                json!({"event": "wake", "call": "epoll_wait", "ready": [format!("client {client} readable")], "ns": 1000}),
            );
            note(json!({"event": "read", "client": client, "bytes": 64}));
            note(json!({"event": "write", "client": client, "bytes": 64}));
            if round == 1 {
                note(json!({"event": "close", "client": client, "why": "the client has closed"}));
            }
        }
    }
    file.write_all(lines.as_bytes()).unwrap();
    desk.timeline(&["crowd.jsonl"]);
    let svg = desk.text("timeline.svg");
    assert!(svg.contains(">9,988 more</text>"), "{svg}");
    assert!(
        svg.contains("12 of 10,000 clients and 1 of 1 workers"),
        "{svg}"
    );
    assert!(svg.len() < 100_000, "{}", svg.len());
    let page = desk.text("timeline.html");
    assert!(page.contains("12 of 10,000 clients"), "it says so");
    assert!(page.len() < 4_000_000, "{}", page.len());
}

fn a_part_of_the_time_can_be_drawn() {
    let desk = Desk::new();
    desk.write(
        "trace.jsonl",
        &trace("epoll", "main", "the client has closed"),
    );
    desk.timeline(&[
        "trace.jsonl",
        "--from",
        "200ms",
        "--to",
        "290ms",
        "--out",
        "part.svg",
    ]);
    let svg = desk.text("part.svg");
    assert!(
        svg.contains(">blocked in recvfrom: client 1</text>"),
        "{svg}"
    );
    assert!(
        !svg.contains("class=\"works\" x"),
        "it worked before and after: {svg}"
    );
    assert!(
        svg.contains(">250 ms</text>") && !svg.contains(">100 ms</text>"),
        "{svg}"
    );
}

fn a_scene_of_ones_own_is_played() {
    let desk = Desk::new();
    let scene = "about = 'Two come & go.'\n\
        [[client]]\nconnect = '0ms'\nask = [{ at = '5ms', bytes = 3 }]\nclose = '20ms'\n\
        [[client]]\nconnect = '10ms'\nclose = '30ms'\n";
    desk.write("my.toml", scene);
    desk.play(&["--scene", "my.toml", "--out", "my.svg", "--width", "400"]);
    let svg = desk.text("my.svg");
    assert!(svg.contains("Two come &amp; go."), "{svg}");
    assert!(
        svg.contains(">client 2</text>") && !svg.contains(">client 3</text>"),
        "{svg}"
    );
    assert!(svg.contains("width=\"400\""), "{svg}");
}

fn numbers_of_a_trace_may_be_any() {
    const LATEST: u64 = 1 << 61;
    let desk = Desk::new();
    let lines = [
        json!({"t_ns": 0, "event": "accept", "client": 0}),
        json!({"t_ns": LATEST, "event": "read", "bytes": u64::MAX, "client": u32::MAX}),
        json!({"t_ns": LATEST, "event": "close", "client": 0}),
        json!({"t_ns": LATEST + 1, "event": "accept", "client": 1}),
        json!({"t_ns": u64::MAX, "event": "accept", "client": 1}),
        json!({"t_ns": 2, "event": "dropped", "lines": u64::MAX}),
        json!({"t_ns": 2, "event": "dropped", "lines": 1}),
        json!({"t_ns": 3, "event": "wake", "ready": ["a", "b", "c", "d", "e", format!("and {} more", u64::MAX)]}),
    ];
    let lines = lines.map(|mut line| {
        line["worker"] = json!("main");
        format!("{line}\n")
    });
    desk.write("trace.jsonl", &lines.concat());
    desk.timeline(&[
        "trace.jsonl",
        "--out",
        "any.svg",
        "--out",
        "any.html",
        "--chrome-trace",
        "any.json",
    ]);
}

fn what_cannot_be_drawn_is_said_in_a_line() {
    let desk = Desk::new();
    desk.write("nothing.jsonl", "hello\n");
    desk.write("trace.jsonl", &trace("epoll", "main", "the end"));
    desk.write("bad.toml", "about = 'x'\ncolour = 'red'\n");
    let server = std::env::current_exe().unwrap();
    let server = server.to_str().unwrap();
    for (arguments, code, expected) in [
        (&["no-such.jsonl"][..], 1, "cannot open no-such.jsonl"),
        (
            &["nothing.jsonl"],
            1,
            "nothing.jsonl is no trace: a server writes one with --trace-to FILE",
        ),
        (
            &["trace.jsonl", "--from", "1h"],
            2,
            "nothing between --from and --to: the trace ends at 303 ms",
        ),
        (
            &["trace.jsonl", "--out", "picture.png"],
            2,
            "expected FILE.svg or FILE.html",
        ),
        (
            &["trace.jsonl", "--chrome-trace", "./trace.jsonl"],
            2,
            "--chrome-trace ./trace.jsonl is the file trace.jsonl that is read: give another name",
        ),
        (
            &["--server", server, "--scene", "tragedy"],
            2,
            "no scene is called tragedy: choose one of three-clients, slow-client, work,",
        ),
        (
            &["--server", server, "--scene", "bad.toml"],
            2,
            "bad.toml:2: unknown field `colour`",
        ),
        (
            &["--server", server, "--scene", "work"],
            1,
            "--work 80ms (from the scene): ended before it was ready: exit code 2: no such flag: --work",
        ),
        (&["--server", "./no-such-server"], 1, "./no-such-server"),
    ] {
        let output = desk.try_timeline(arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(expected), "{arguments:?}: {said}");
        let lines = said.lines().filter(|line| !line.is_empty()).count();
        // clap adds where help is found.
        assert!(
            lines == 1 || said.starts_with("error: ") && lines == 2,
            "{said}"
        );
    }
}

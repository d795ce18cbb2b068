//! `--trace-to`: the trace of a server is what happened (docs/schema/trace.schema.json).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use supervisor::Mode::Echo;
use tempfile::NamedTempFile;

use crate::case::{Case, program_case};
use crate::client::{Slices, pattern};
use crate::outcome::{Outcome, ensure, failed, skipped};
use crate::patience::eventually;
use crate::server::Server;
use crate::target::Target;

pub const CASES: &[Case] = &[
    program_case(
        Echo,
        "trace::is_what_happened",
        "--trace-to: each wait has a wake, bytes in are bytes out, each client is accepted and closed once, the stop is in it",
        is_what_happened,
    ),
    program_case(
        Echo,
        "trace::killed_workers",
        "--trace-to: the client of a worker process that is killed is closed once, too",
        killed_workers,
    ),
];

/// A file, which takes all lines: a pipe drops those that its reader is too slow for.
struct Trace(NamedTempFile);

impl Trace {
    fn text(&self) -> Outcome<String> {
        let text = fs::read_to_string(self.0.path());
        text.or_else(|error| failed("a trace that can be read", error))
    }
}

/// A server that writes a trace.
fn start(target: &Target) -> Outcome<(Server, Trace)> {
    let Ok(file) = NamedTempFile::new() else {
        return skipped("no temporary file can be made");
    };
    let path = file.path().to_string_lossy().into_owned();
    let server = target.start(Echo).flags(&["--trace-to", &path])?.ready()?;
    Ok((server, Trace(file)))
}

fn is_what_happened(target: &Target) -> Outcome {
    const BYTES: usize = 20_000;
    let (server, trace) = start(target)?;
    let clients = server.connect_many(target.clients_at_once(3))?;
    let count = clients.len();
    for (seed, client) in clients.into_iter().enumerate() {
        client.exchange(&pattern(seed as u64, BYTES), Slices::Of(7_000))?;
    }
    server.stop()?;
    let fault = fault(&trace.text()?, count as u64, (count * BYTES) as u64);
    ensure(
        fault.is_none(),
        "a trace of what happened",
        fault.unwrap_or_default(),
    )
}

fn killed_workers(target: &Target) -> Outcome {
    let (server, trace) = start(target)?;
    let clients = server.served_clients(target.clients_at_once(3))?;
    let count = clients.len() as u64;
    let group = server.group()?;
    let workers = group.children();
    if workers.is_empty() {
        return skipped("has one process");
    }
    for &worker in &workers {
        // It fails where the worker has ended.
        let _ = kill(worker, Signal::SIGKILL);
    }
    for client in clients {
        client.expect_gone()?;
    }
    // A worker that has not quite ended may still take a client with it.
    eventually(server.patience, "the killed workers have ended", || {
        let alive = group.processes().into_iter();
        let mut alive = alive.filter(|stat| stat.state != 'Z');
        !alive.any(|stat| workers.contains(&Pid::from_raw(stat.pid)))
    })?;
    server.still_serves()?;
    server.stop()?;
    let text = trace.text()?;
    let lines = text.lines();
    let lines = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let ends = lines.filter(|line| line["event"] == "close");
    let mut closed: Vec<u64> = ends.filter_map(|line| line["client"].as_u64()).collect();
    closed.sort_unstable();
    ensure(
        closed.iter().copied().eq(1..=count + 1),
        format!("a close of each of {} clients", count + 1),
        format!("closes of {closed:?}"),
    )
}

/// What is wrong with the trace of `clients` clients that sent `bytes` bytes together.
fn fault(trace: &str, clients: u64, bytes: u64) -> Option<String> {
    let lines: Result<Vec<Value>, _> = trace.lines().map(serde_json::from_str).collect();
    let mut lines = match lines {
        Ok(lines) => lines,
        Err(error) => return Some(format!("a line that is not JSON: {error}")),
    };
    if lines.first().is_none_or(|line| line["event"] != "start") {
        return Some("the first line is not the start".to_owned());
    }
    lines.sort_by_key(|line| line["t_ns"].as_u64());
    let mut waiting: BTreeMap<&str, &Value> = BTreeMap::new();
    // Workers whose blocking accept has just returned a client.
    let mut announced = BTreeSet::new();
    let (mut accepted, mut closed) = (Vec::new(), Vec::new());
    let (mut read, mut written, mut stops) = (0, 0, 0);
    for line in &lines {
        let worker = line["worker"].as_str().unwrap_or_default();
        let moved = line["bytes"].as_u64().unwrap_or(0);
        let client = line["client"].as_u64();
        let begun = waiting.remove(worker);
        if announced.remove(worker) && line["error"] == "EAGAIN" {
            return Some(format!("accept was woken by the listener: {line}"));
        }
        let is_accept = line["event"] == "wake" && line["call"] == "accept4";
        if is_accept && line["ready"][0] == "listener" {
            announced.insert(worker);
        }
        match (line["event"].as_str().unwrap_or_default(), begun) {
            ("wake", None) => return Some(format!("a wake without a wait: {line}")),
            ("wake", Some(call)) if *call != line["call"] => {
                return Some(format!("it waited in {call}: {line}"));
            }
            ("wake", Some(_)) => {}
            (_, Some(call)) => return Some(format!("while it waits in {call}: {line}")),
            ("wait", None) => _ = waiting.insert(worker, &line["call"]),
            ("accept", None) => accepted.extend(client),
            ("close", None) => closed.extend(client),
            ("read", None) => read += moved,
            ("write", None) => written += moved,
            ("stop", None) => stops += 1,
            (_, None) => {}
        }
    }
    // Numbers are given in the order of arrival; several workers may write in another order.
    accepted.sort_unstable();
    closed.sort_unstable();
    let all: Vec<u64> = (1..=clients).collect();
    if accepted != all || closed != all {
        return Some(format!("accepted {accepted:?}, closed {closed:?}"));
    }
    if stops != 1 {
        return Some(format!("{stops} lines are about the stop"));
    }
    let right = read == bytes && written == bytes;
    (!right).then(|| format!("of {bytes} bytes {read} were read and {written} written"))
}

#[cfg(test)]
mod tests {
    use super::fault;

    const RIGHT: &str = r#"{"t_ns":1,"worker":"main","event":"start"}
{"t_ns":2,"worker":"main","event":"wait","call":"poll","for":["listener"]}
{"t_ns":3,"worker":"main","event":"wake","call":"poll","ready":["listener"],"ns":1}
{"t_ns":4,"worker":"main","event":"accept","client":1,"fd":5}
{"t_ns":5,"worker":"main","event":"read","client":1,"bytes":6}
{"t_ns":6,"worker":"main","event":"write","client":1,"bytes":6}
{"t_ns":7,"worker":"main","event":"read","client":1,"bytes":0}
{"t_ns":8,"worker":"main","event":"close","client":1,"why":"the client has closed"}
{"t_ns":9,"worker":"main","event":"stop","why":"SIGTERM"}
{"t_ns":10,"worker":"worker 1","event":"wait","call":"futex","for":[]}"#;

    #[test]
    fn a_right_trace_has_no_fault() {
        assert_eq!(fault(RIGHT, 1, 6), None);
    }

    #[test]
    fn what_is_missing_or_twice_is_found() {
        for line in RIGHT.lines().filter(|line| !line.contains(r#""t_ns":7"#)) {
            if line.contains("worker 1") {
                continue;
            }
            let without = RIGHT.replace(&format!("{line}\n"), "");
            assert!(fault(&without, 1, 6).is_some(), "without {line}");
            if !line.contains("start") {
                let twice = RIGHT.replace(line, &format!("{line}\n{line}"));
                assert!(fault(&twice, 1, 6).is_some(), "twice {line}");
            }
        }
        assert!(fault(RIGHT, 2, 6).is_some());
        assert!(fault(RIGHT, 1, 7).is_some());
        assert!(
            fault(
                &RIGHT.replace(r#""wake","call":"poll""#, r#""wake","call":"read""#),
                1,
                6
            )
            .is_some()
        );
        assert!(fault(&RIGHT[..RIGHT.len() - 1], 1, 6).is_some());
        let accept = r#"
{"t_ns":11,"worker":"main","event":"wait","call":"accept4","for":["listener"]}
{"t_ns":12,"worker":"main","event":"wake","call":"accept4","ready":["listener"],"ns":1}
{"t_ns":13,"worker":"main","event":"nobody","call":"accept4","error":"EAGAIN"}"#;
        assert!(fault(&format!("{RIGHT}{accept}"), 1, 6).is_some());
        let nobody = accept.replace(r#""ready":["listener"]"#, r#""ready":[]"#);
        assert_eq!(fault(&format!("{RIGHT}{nobody}"), 1, 6), None);
    }
}

//! Many connections: all are opened and answered, and each costs little.

use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::one_thread::{Notes, OneThread};

/// Bytes of its own memory that an idle connection may cost the generator.
const MOST_PER_IDLE: u64 = 1024;
/// Descriptors that neither side has for connections.
const OTHERS: usize = 200;

/// `loadgen run`, which has descriptors of its own: server and generator need one each for a connection.
fn spawn(server: &OneThread, arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args(["run", &server.address.to_string(), "--json", "--no-save"])
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// This many busy connections are all opened and answered, and every request is accounted for.
fn all_are_answered(connections: usize, sources: usize) -> Notes {
    let server = OneThread::start();
    let child = spawn(
        &server,
        &[
            "-d",
            "3s",
            "--warmup",
            "100ms",
            "--drain",
            "5s",
            "-c",
            &connections.to_string(),
            "--source-addresses",
            &sources.to_string(),
        ],
    );
    let output = child.wait_with_output().unwrap();
    let trial: Value = serde_json::from_slice(&output.stdout).unwrap();
    let count = |key: &str| trial[key].as_u64().unwrap();
    assert_eq!(
        count("connections_answered"),
        connections as u64,
        "{trial:#}"
    );
    assert_eq!(trial["connect_us"]["count"], connections, "{trial:#}");
    assert_eq!(
        count("scheduled"),
        count("answered") + count("failed") + count("in_flight") + count("never_sent"),
        "{trial:#}"
    );
    assert_eq!(count("failed"), 0, "{trial:#}");
    assert!(
        !trial["causes"].to_string().contains("connections-missing"),
        "{trial:#}"
    );
    let notes = server.notes();
    assert_eq!(notes.accepts.len(), connections);
    assert_eq!(notes.sources.len(), sources);
    notes
}

/// The generator's own memory with this many idle connections beside the one it measures, bytes.
fn memory_with(idle: usize) -> u64 {
    let server = OneThread::start();
    let number = idle.to_string();
    let arguments = ["-c", "1", "--rate", "100", "-d", "1m", "--idle", &number];
    let mut child = spawn(&server, &arguments);
    // It has all its connections when it sends, and all its histograms when it has been answered again and again.
    while server.answered() < 10 {
        assert!(child.try_wait().unwrap().is_none(), "it has ended");
        thread::sleep(Duration::from_millis(5));
    }
    let process = procfs::process::Process::new(child.id() as i32).unwrap();
    let memory = process.status().unwrap().rssanon.unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(server.notes().accepts.len(), idle + 1);
    memory * 1024
}

fn an_idle_connection_costs_little(fewer: usize) {
    let (less, more) = (memory_with(fewer), memory_with(2 * fewer));
    let each = more.saturating_sub(less) / fewer as u64;
    println!(
        "{each} bytes for an idle connection ({fewer} and {})",
        2 * fewer
    );
    assert!(each <= MOST_PER_IDLE, "{less} {more}");
}

#[test]
fn two_thousand_connections_are_answered() {
    supervisor::limit::raise_descriptors().unwrap();
    all_are_answered(2000, 4);
}

#[test]
fn two_thousand_idle_connections_cost_little_memory() {
    supervisor::limit::raise_descriptors().unwrap();
    an_idle_connection_costs_little(1000);
}

#[test]
#[ignore = "needs a quiet machine with two cores: make prove"]
fn as_many_as_descriptors_allow() {
    let limit = supervisor::limit::raise_descriptors().unwrap();
    let most = limit.min(100_000) - OTHERS;
    let notes = all_are_answered(most, most.div_ceil(8000));
    let took = notes.accepts[most - 1] - notes.accepts[0];
    let rate = most as f64 / took.as_secs_f64();
    println!("{most} connections opened and answered, {rate:.0} connects a second");
    assert!(rate >= 10_000.0);
    an_idle_connection_costs_little(most / 2);
}

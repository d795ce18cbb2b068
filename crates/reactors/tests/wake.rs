//! How many loops wake for a new client: one, or with `--wake herd` all of them.

use std::fs;
use std::io::{Read, Write};
use std::thread;
use std::time::Duration;

use conformance::OwnServer;

const LOOPS: usize = 4;
const CLIENTS: usize = 50;

/// How often its threads have fallen asleep.
fn sleeps(server: &OwnServer) -> usize {
    let tasks = fs::read_dir(format!("/proc/{}/task", server.pid())).expect("it runs");
    let statuses = tasks.map(|task| {
        let task = task.expect("it can be listed").path();
        fs::read_to_string(task.join("status")).expect("no thread ends")
    });
    let sleeps = statuses.map(|status| {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        let count = line.and_then(|count| count.trim().parse::<usize>().ok());
        count.expect("the kernel counts them")
    });
    sleeps.sum()
}

/// The same, after nothing has changed for a moment.
fn sleeps_at_rest(server: &OwnServer) -> usize {
    let mut last = sleeps(server);
    let mut same = 0;
    while same < 5 {
        thread::sleep(Duration::from_millis(1));
        let now = sleeps(server);
        same = if now == last { same + 1 } else { 0 };
        last = now;
    }
    last
}

/// How many threads wake for a client that connects, asks once and stays.
fn wakes_for_a_client(wake: &str) -> f64 {
    let flags = format!("--wake {wake} --workers {LOOPS}");
    let server = OwnServer::start(env!("CARGO_BIN_EXE_reactors-server"), &flags);
    let before = sleeps_at_rest(&server);
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = server.connect();
        client.write_all(b"a").expect("room");
        client.read_exact(&mut [0]).expect("an answer");
        clients.push(client);
        sleeps_at_rest(&server);
    }
    (sleeps(&server) - before) as f64 / CLIENTS as f64
}

#[test]
fn one_loop_wakes_for_a_client_and_of_a_herd_all() {
    let [alone, exclusive, herd] = ["reuseport", "exclusive", "herd"].map(wakes_for_a_client);
    // The loop that takes the client may sleep once more before its first byte.
    for one in [alone, exclusive] {
        assert!((0.9..2.5).contains(&one), "{one} wakes for a client");
    }
    let others = (LOOPS - 1) as f64;
    assert!(
        herd - exclusive > others / 2.0,
        "{herd} wakes of a herd, {exclusive} of exclusive loops"
    );
}

//! What the protocols make of answers that end, and of those that do not.

use std::time::Duration;

use loadgen::report::style::Style;
use loadgen::report::trial_table;
use loadgen::verdict::cause::Verdict;
use loadgen::workload::load::{Arrivals, Load, Mode, Workload};
use loadgen::workload::percentile::Percentile;
use loadgen::workload::target::{Addresses, Scheme, Target};

use crate::scripted::{OK, Script, Server};
use crate::{loads, open, run, workload};

#[test]
fn once_is_a_connection_for_each_request() {
    const GREETING: &[u8] = b"Hello from server!\n";
    for load in [Load::Closed, open(500.0, Arrivals::Poisson)] {
        let server = Server::start(Script::Once(GREETING));
        let (trial, _) = run(&Workload {
            mode: Mode::Once,
            load,
            ..workload(server.address)
        });
        assert!(trial.answered > 0 && trial.errors.is_empty(), "{trial:#?}");
        // Those of a closed loop that began in the warm-up may have been connected in it.
        let connected = trial.answered - 4..=trial.answered + trial.in_flight;
        assert!(connected.contains(&trial.connect_us.count), "{trial:#?}");
        assert!(server.accepted() as u64 > trial.answered);
    }
    for (answer, kind) in [(&GREETING[..5], "closed-early"), (b"Hello!\n", "mismatch")] {
        let server = Server::start(Script::Once(answer));
        let (trial, _) = run(&Workload {
            mode: Mode::Once,
            ..workload(server.address)
        });
        assert!(trial.answered == 0 && trial.failed > 0, "{trial:#?}");
        assert_eq!(trial.errors.keys().collect::<Vec<_>>(), [kind]);
    }
}

#[test]
fn http_is_checked_by_status_and_length() {
    let http = |answer: &'static [u8], keep_alive: bool, pipeline: usize, load: Load| {
        let server = Server::start(Script::Http(answer));
        let mut workload = workload(server.address);
        workload.mode = Mode::Http;
        workload.http.keep_alive = keep_alive;
        workload.pipeline = pipeline;
        workload.load = load;
        (run(&workload).0, server.accepted() as u64)
    };
    for (load, pipeline) in loads() {
        let (trial, accepted) = http(OK, true, pipeline, load);
        assert!(trial.answered > 0 && trial.errors.is_empty(), "{trial:#?}");
        assert_eq!(accepted, 4);
    }
    let (trial, accepted) = http(OK, false, 1, Load::Closed);
    assert!(trial.answered > 0 && trial.errors.is_empty(), "{trial:#?}");
    assert!(accepted > trial.answered);

    let missing = b"HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    let (trial, _) = http(missing, true, 1, Load::Closed);
    assert_eq!(trial.errors.keys().collect::<Vec<_>>(), ["status-404"]);

    let missing = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
    let (trial, accepted) = http(missing, true, 1, Load::Closed);
    assert!(
        trial.answered == 0 && trial.errors["status-404"] == trial.failed,
        "{trial:#?}"
    );
    assert_eq!(accepted, 4);
}

/// A server that counts wrongly sends more than it says. A server may tell an idle client that it closes the connection;
/// what comes with an answer is no such word.
#[test]
fn what_comes_behind_an_answer_is_wrong() {
    let longer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokXX";
    let mut workload = workload(Server::start(Script::Http(longer)).address);
    workload.mode = Mode::Http;
    let (trial, _) = run(&workload);
    assert_eq!(trial.verdict, Verdict::Failed, "{trial:#?}");
    assert!(trial.mismatches > 0, "{trial:#?}");
    assert_eq!(
        trial.mismatches, trial.errors["unasked-bytes"],
        "{trial:#?}"
    );
}

#[test]
fn a_unix_socket_is_loaded_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            std::thread::spawn(move || std::io::copy(&mut &stream, &mut &stream));
        }
    });
    let (trial, _) = run(&Workload {
        target: Target {
            scheme: Scheme::Plain,
            host: String::new(),
            addresses: Addresses::Unix(path),
        },
        ..workload(([127, 0, 0, 1], 1).into())
    });
    assert!(trial.answered > 0 && trial.errors.is_empty(), "{trial:#?}");
    // The kernel stamps no bytes of a Unix-domain socket.
    assert_eq!(trial.read_delay_us.count, 0);
    let table = trial_table::render(&trial, &Percentile::ALL, Style::Plain);
    let row = table.lines().find(|line| line.contains("read delay"));
    assert!(row.is_some_and(|row| row.contains("n/a")), "{table}");
}

#[test]
fn a_server_that_keeps_what_it_should_close_is_measured_all_the_same() {
    let server = Server::start(Script::HttpStays(OK));
    let mut workload = workload(server.address);
    workload.mode = Mode::Http;
    workload.http.keep_alive = false;
    let (trial, _) = run(&workload);
    assert!(
        trial.answered > 0 && trial.answered == trial.scheduled && trial.errors.is_empty(),
        "{trial:#?}"
    );
}

#[test]
fn what_is_pipelined_behind_an_announced_close_is_sent_again() {
    for load in [Load::Closed, open(2000.0, Arrivals::Poisson)] {
        let server = Server::start(Script::HttpTurns(10));
        let mut workload = workload(server.address);
        workload.mode = Mode::Http;
        workload.pipeline = 8;
        workload.load = load;
        workload.drain = Duration::from_secs(20);
        let (trial, _) = run(&workload);
        assert!(
            trial.answered > 10 && trial.answered == trial.scheduled && trial.errors.is_empty(),
            "{trial:#?}"
        );
        assert!(server.accepted() as u64 >= trial.answered / 10);
    }
}

//! Servers that do not keep up: what counts as answered, and as throughput.

use std::time::Duration;

use loadgen::verdict::cause::Cause;
use loadgen::workload::load::{Arrivals, Workload};

use crate::scripted::{Pace, Script, Server};
use crate::{open, run, workload};

#[test]
fn a_server_that_is_far_behind_has_answered_all_the_same() {
    // It answers 500 a second, and does so for those of the warm-up until the end.
    let server = Server::start(Script::Paced(Pace::new(Duration::from_millis(2))));
    let (trial, _) = run(&Workload {
        load: open(5000.0, Arrivals::Constant),
        warmup: Duration::from_secs(1),
        drain: Duration::ZERO,
        ..workload(server.address)
    });
    assert_eq!(trial.answered, 0);
    assert!(trial.rate > 0.0 && !trial.kept_up(), "{trial:#?}");
    assert!(!trial.causes.contains(&Cause::NoAnswer), "{trial:#?}");
}

#[test]
fn a_stall_that_begins_in_the_warm_up_of_a_closed_loop_is_seen() {
    let server = Server::start(Script::Silence);
    let (trial, _) = run(&workload(server.address));
    assert_eq!((trial.scheduled, trial.in_flight), (4, 4));
    // The measured time and the drain, and what passed of the warm-up.
    assert!(trial.response_us.min.unwrap() > 1.19e6, "{trial:#?}");
}

#[test]
fn catching_up_in_the_drain_is_no_throughput() {
    // It answers at most 500 requests a second.
    let server = Server::start(Script::Paced(Pace::new(Duration::from_millis(2))));
    let overload = Workload {
        load: open(600.0, Arrivals::Constant),
        drain: Duration::from_mins(1),
        ..workload(server.address)
    };
    let (trial, _) = run(&overload);
    assert_eq!(trial.answered, trial.scheduled, "the drain was long enough");
    assert!(trial.rate <= 501.0, "{trial:#?}");
    assert!(!trial.kept_up(), "{trial:#?}");
}

#[test]
fn what_is_on_its_way_at_the_end_is_not_behind() {
    // A fifth of all requests are on their way at the end, after a warm-up in which none was answered.
    let server = Server::start(Script::Delay(Duration::from_millis(200)));
    let (trial, _) = run(&Workload {
        load: open(200.0, Arrivals::Constant),
        connections: 60,
        drain: Duration::from_secs(20),
        ..workload(server.address)
    });
    assert_eq!(trial.answered, trial.scheduled, "{trial:#?}");
    assert!(trial.kept_up(), "{trial:#?}");
}

//! The generator against a server that behaves as a test asks it to.

#![allow(clippy::print_stdout, reason = "the proofs show their figures")]

mod addresses;
mod background;
mod claimed;
mod command;
mod compare;
mod courses;
mod failing;
mod falling_behind;
mod full_backlog;
mod goals;
mod habits;
mod hosts;
mod interval_logs;
mod limits;
mod live;
mod merge;
mod omission;
mod one_thread;
mod proofs;
mod protocols;
mod raw;
mod requests;
mod scale;
mod scripted;
mod search;
mod shards;
mod tls;
mod tls_server;
mod unable;
mod unchecked;
mod unread;

use std::net::SocketAddr;
use std::time::Duration;

use loadgen::engine;
use loadgen::engine::observer::{Interrupted, Observer, Phase};
use loadgen::measure::trial::judged;
use loadgen::observe::observed::{MachineShares, Observed};
use loadgen::recording::record::Recording;
use loadgen::results::trial::Trial;
use loadgen::verdict::cause::{Cause, Verdict};
use loadgen::verdict::note::Note;
use loadgen::workload::client::Client;
use loadgen::workload::course::Course;
use loadgen::workload::load::{Arrivals, Load, Mode, Neighbours, Shard, Timestamps, Workload};
use loadgen::workload::raw::RawRequest;
use loadgen::workload::requests::HttpLoad;
use scripted::{Script, Server};

/// Nobody watches.
struct Unwatched;

impl Observer for Unwatched {}

fn workload(address: SocketAddr) -> Workload {
    Workload {
        target: address.into(),
        mode: Mode::Echo,
        tls: None,
        load: Load::Closed,
        client: Client::default(),
        connections: 4,
        pipeline: 1,
        size: 64,
        warmup: Duration::from_millis(50),
        duration: Duration::from_secs(1),
        drain: Duration::from_millis(200),
        threads: 1,
        cpus: Vec::new(),
        source_addresses: 0,
        sources: Vec::new(),
        spin: false,
        timestamps: Timestamps::default(),
        seed: 1,
        neighbours: Neighbours::default(),
        http: HttpLoad::default(),
        raw: RawRequest::default(),
        course: Course::Steady,
        start_at: None,
        shard: Shard::default(),
    }
}

fn open(rate: f64, arrivals: Arrivals) -> Load {
    Load::Open { rate, arrivals }
}

/// The readings of a quiet machine.
fn quiet() -> Observed {
    Observed {
        machine: MachineShares {
            cpu_share: Some(0.5),
            foreign_share: Some(0.0),
            steal_share: Some(0.0),
            kernel_kib: None,
        },
        ..Observed::default()
    }
}

/// Runs a trial and checks that every scheduled request is accounted for.
fn run(workload: &Workload) -> (Trial, Recording) {
    let recording = engine::trial::run(workload, &mut Unwatched).unwrap();
    let trial = judged(workload, &recording, &quiet());
    let context = format!("{:?} {:?}\n{trial:#?}", workload.mode, workload.load);
    assert_eq!(
        trial.scheduled,
        trial.answered + trial.failed + trial.in_flight + trial.never_sent,
        "{context}"
    );
    assert_eq!(
        trial.response_us.count,
        trial.answered + trial.timed_out + trial.in_flight + trial.never_sent,
        "{context}"
    );
    assert_eq!(trial.service_us.count, trial.answered, "{context}");
    // One that was given up may have been sent or not.
    let sent = trial.lateness_us.count + trial.never_sent;
    assert!(
        (trial.scheduled - trial.timed_out..=trial.scheduled).contains(&sent),
        "{context}"
    );
    assert!(
        trial.errors.values().sum::<u64>() >= trial.failed,
        "{context}"
    );
    (trial, recording)
}

/// The closed and the open loop, each with one and with several requests in flight on a connection.
fn loads() -> Vec<(Load, usize)> {
    let poisson = open(2000.0, Arrivals::Poisson);
    let constant = open(2000.0, Arrivals::Constant);
    vec![
        (Load::Closed, 1),
        (Load::Closed, 3),
        (poisson, 1),
        (poisson, 3),
        (constant, 1),
    ]
}

fn each_load(script: &Script, check: impl Fn(&Trial, Load)) {
    for (load, pipeline) in loads() {
        let server = Server::start(script.clone());
        let (trial, _) = run(&Workload {
            load,
            pipeline,
            ..workload(server.address)
        });
        check(&trial, load);
    }
}

#[test]
fn an_echo_server_answers_all() {
    each_load(&Script::Echo, |trial, load| {
        assert_eq!(trial.answered, trial.scheduled);
        assert_eq!(trial.connections_answered, 4);
        assert_eq!(trial.connect_us.count, 4);
        assert!(trial.errors.is_empty(), "{:?}", trial.errors);
        if let Load::Open { rate, arrivals } = load {
            let expected = rate * trial.duration_s;
            let margin = match arrivals {
                Arrivals::Constant => 1.0,
                Arrivals::Poisson => 5.0 * expected.sqrt(),
            };
            assert!(
                (trial.scheduled as f64 - expected).abs() <= margin,
                "{trial:#?}"
            );
        }
    });
}

#[test]
fn answers_in_pieces_are_put_together() {
    each_load(&Script::Pieces(1), |trial, _| {
        assert!(trial.answered > 0);
        assert_eq!(trial.mismatches, 0);
        assert!(trial.errors.is_empty(), "{:?}", trial.errors);
    });
}

#[test]
fn messages_larger_than_all_buffers_come_back_whole() {
    let server = Server::start(Script::Echo);
    for (size, pipeline) in [(1, 7), (7, 1), (100_000, 1), (8 << 20, 2)] {
        let (trial, _) = run(&Workload {
            size,
            pipeline,
            connections: 2,
            warmup: Duration::ZERO,
            drain: Duration::from_secs(20),
            ..workload(server.address)
        });
        assert_eq!(trial.answered, trial.scheduled, "{size}");
        assert!(trial.answered > 0 && trial.errors.is_empty(), "{trial:#?}");
    }
}

#[test]
fn a_delay_is_service_time() {
    each_load(&Script::Delay(Duration::from_millis(5)), |trial, _| {
        assert!(trial.service_us.min.unwrap() >= 4_990.0, "{trial:#?}");
        assert!(trial.response_us.min.unwrap() >= 4_990.0, "{trial:#?}");
    });
}

#[test]
fn the_kernel_stamps_as_many_answers_as_are_asked_for() {
    for (load, pipeline) in loads() {
        let stamped = |timestamps| {
            let server = Server::start(Script::Echo);
            let (trial, _) = run(&Workload {
                load,
                pipeline,
                timestamps,
                ..workload(server.address)
            });
            let context = format!("{timestamps:?} {load:?} {pipeline}: {trial:#?}");
            (trial.read_delay_us.count, trial.answered, context)
        };
        let (none, _, context) = stamped(Timestamps::User);
        assert_eq!(none, 0, "{context}");
        let (all, answered, context) = stamped(Timestamps::Kernel);
        assert!(
            context.contains("when an answer arrives in the kernel\""),
            "{context}"
        );
        // Of several answers in one reading, the last one's delay is known.
        let least = if pipeline == 1 { answered } else { 1 };
        assert!((least..=answered).contains(&all), "{context}");
        let (some, answered, context) = stamped(Timestamps::Sampled);
        let most = answered / 16;
        let least = if pipeline == 1 { answered / 64 } else { 1 };
        assert!((least..=most).contains(&some), "{context}");
    }
}

#[test]
fn a_request_without_a_free_connection_waits_and_is_sent() {
    let server = Server::start(Script::Delay(Duration::from_millis(10)));
    // 4 connections take at most 400 of the 1,000 requests a second.
    let (trial, _) = run(&Workload {
        load: open(1000.0, Arrivals::Constant),
        ..workload(server.address)
    });
    assert!(trial.never_sent > 0, "{trial:#?}");
    assert!(trial.wait_us.max.unwrap() > 100_000.0, "{trial:#?}");
    assert!(trial.response_us.max.unwrap() > trial.service_us.max.unwrap());
    assert!(
        trial
            .notes
            .iter()
            .any(|note| matches!(note, Note::RateNotReached(_)))
    );
    assert!(!trial.causes.contains(&Cause::GeneratorSaturated));
}

#[test]
fn one_wrong_byte_in_a_million_is_a_mismatch() {
    const EVERY: usize = 1_000_000;
    for load in [Load::Closed, open(2000.0, Arrivals::Constant)] {
        let server = Server::start(Script::Corrupt(EVERY));
        let (trial, _) = run(&Workload {
            load,
            size: 4096,
            connections: 1,
            duration: Duration::from_secs(1),
            drain: Duration::from_secs(5),
            ..workload(server.address)
        });
        // Those of the warm-up shift it by one at most.
        let spoilt = (trial.answered + trial.failed) * 4096 / EVERY as u64;
        assert!(
            spoilt > 0 && spoilt.abs_diff(trial.mismatches) <= 1,
            "{trial:#?}"
        );
        assert_eq!(trial.failed, trial.mismatches);
        assert_eq!(trial.verdict, Verdict::Failed);
        assert!(trial.causes.contains(&Cause::WrongAnswers), "{trial:#?}");
    }
}

#[test]
fn an_echo_of_nothing_is_a_mismatch() {
    for load in [Load::Closed, open(200.0, Arrivals::Constant)] {
        // With the 20th answer of each connection; the next one takes its place.
        let server = Server::start(Script::Surplus(20 * 64));
        let (trial, _) = run(&Workload {
            load,
            connections: 1,
            ..workload(server.address)
        });
        assert!(trial.mismatches > 0, "{trial:#?}");
        assert!(trial.errors["unasked-bytes"] > 0, "{trial:#?}");
        assert_eq!(trial.verdict, Verdict::Failed);
        assert!(trial.causes.contains(&Cause::WrongAnswers), "{trial:#?}");
    }
}

#[test]
fn a_connection_that_ends_early_is_opened_anew() {
    for (script, kind) in [
        (Script::CloseAfter(1000), "closed-early"),
        (Script::ResetAfter(1000), "reset"),
    ] {
        each_load(&script, |trial, load| {
            assert!(trial.failed > 0 && trial.answered > 0, "{trial:#?}");
            assert!(trial.errors[kind] > 0, "{trial:#?}");
            // More than one connection can bring, so it was replaced.
            assert!(trial.answers_per_connection.max > 1000 / 64, "{trial:#?}");
            assert!(!trial.causes.contains(&Cause::ConnectionsMissing));
            if load == Load::Closed {
                assert_eq!(trial.in_flight, 0);
            }
        });
    }
}

#[test]
fn a_server_that_never_answers_is_shown_by_the_age_of_the_requests() {
    for script in [Script::Silence, Script::Deaf] {
        each_load(&script, |trial, _| {
            assert_eq!(trial.answered, 0);
            assert!(trial.causes.contains(&Cause::NoAnswer));
            assert_eq!(trial.verdict, Verdict::Failed);
        });
    }
    let server = Server::start(Script::Silence);
    let (trial, _) = run(&Workload {
        load: open(100.0, Arrivals::Constant),
        warmup: Duration::ZERO,
        duration: Duration::from_secs(1),
        drain: Duration::from_millis(500),
        ..workload(server.address)
    });
    // Of 100 requests due at 0, 10 .. 990 ms four found a connection; all are as old as 1.5 s minus that.
    assert_eq!(
        (trial.scheduled, trial.in_flight, trial.never_sent),
        (100, 4, 96)
    );
    let ms = |us: Option<f64>| us.unwrap() / 1e3;
    let times = trial.response_us;
    let (min, max) = (ms(times.min), ms(times.max));
    // However late the drain ended here; a histogram is exact to a thousandth.
    assert!(min > 509.0, "{trial:#?}");
    assert!((max - min - 990.0).abs() < max / 500.0, "{trial:#?}");
    assert!(
        (ms(times.mean) - f64::midpoint(min, max)).abs() < max / 500.0,
        "{trial:#?}"
    );
}

#[test]
fn a_server_that_is_not_there_is_an_error_at_once() {
    let nobody = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    for mode in [Mode::Echo, Mode::Once] {
        let refused = Workload {
            mode,
            duration: Duration::from_hours(1),
            ..workload(nobody)
        };
        let error = engine::trial::run(&refused, &mut Unwatched).unwrap_err();
        let text = format!("{error:#}");
        assert!(
            text.contains("refused") && text.contains(&nobody.to_string()),
            "{text}"
        );
    }
}

#[test]
fn threads_share_the_load_exactly() {
    let server = Server::start(Script::Echo);
    let alone = Workload {
        load: open(20.0, Arrivals::Constant),
        duration: Duration::from_secs(1),
        // It ends with the last answer, however late that is.
        drain: Duration::from_secs(20),
        connections: 5,
        ..workload(server.address)
    };
    let (trial, _) = run(&Workload {
        threads: 3,
        ..alone.clone()
    });
    assert_eq!((trial.scheduled, trial.answered), (20, 20));
    assert_eq!(trial.connect_us.count, 5);
    assert_eq!(trial.generator.threads, 3);
    // Two generators of a shard each take half.
    for index in 0..2 {
        let shard = Shard { index, of: 2 };
        let (trial, _) = run(&Workload {
            shard,
            ..alone.clone()
        });
        assert_eq!(trial.scheduled, 10);
        assert_eq!(trial.offered_rate, Some(10.0));
    }
}

/// To send a thousand first requests takes milliseconds. This does not count as lateness of the last one.
#[test]
fn the_clients_of_a_closed_loop_begin_one_after_the_other() {
    let server = Server::start(Script::Silence);
    let (trial, _) = run(&Workload {
        connections: 1000,
        // Time enough for all of them, however little of a core the generator gets.
        duration: Duration::from_secs(2),
        drain: Duration::ZERO,
        ..workload(server.address)
    });
    assert_eq!(trial.in_flight, 1000);
    assert!(trial.lateness_us.p99.unwrap() < 1e3, "{trial:#?}");
}

#[test]
fn an_observer_sees_the_phases_and_can_end_a_trial() {
    struct Impatient(Vec<Phase>);
    impl Observer for Impatient {
        fn phase(&mut self, phase: Phase) {
            self.0.push(phase);
        }
        fn cancelled(&mut self) -> bool {
            self.0.contains(&Phase::Measuring)
        }
    }
    let server = Server::start(Script::Echo);
    let endless = Workload {
        duration: Duration::from_hours(1),
        ..workload(server.address)
    };
    let mut observer = Impatient(Vec::new());
    let error = engine::trial::run(&endless, &mut observer).unwrap_err();
    assert!(error.is::<Interrupted>(), "{error:#}");
    assert_eq!(observer.0, [Phase::Open, Phase::Warmup, Phase::Measuring]);
}

#[test]
fn neighbours_disturb_and_are_not_measured() {
    let server = Server::start(Script::Echo);
    let mut workload = workload(server.address);
    workload.neighbours = Neighbours {
        idle: 20,
        slow_readers: 2,
        half_senders: 3,
        floods: 2,
        churn: 200.0,
    };
    let (trial, recording) = run(&workload);
    assert_eq!(trial.connect_us.count, 4);
    assert!(trial.answered > 0 && trial.errors.is_empty(), "{trial:#?}");
    assert_eq!(
        (recording.neighbours.asked, recording.neighbours.present),
        (27, 27)
    );
    // 31 that stay, and the churn.
    assert!(server.accepted() > 31 + 10, "{}", server.accepted());
}

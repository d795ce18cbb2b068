//! No client can spoil another's answers or stop its progress.
//!
//! Where a worker serves one client, the server gets as many workers as the case has clients.

use std::io::Write;
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread::ScopedJoinHandle;

use super::http::answer::Http1;
use super::http::dialogue::GET;
use crate::case::{Case, case, program_case};
use crate::client::{Client, Slices, in_parallel, pattern};
use crate::outcome::{Outcome, ensure, failed};
use crate::patience::{eventually, pause};
use crate::server::Server;
use crate::target::Target;
use supervisor::Mode::{Echo, Http};

pub const CASES: &[Case] = &[
    case(
        Echo,
        "isolation::never_reader",
        "a client that sends and never reads, beside 8 that do",
        never_reader,
    ),
    case(
        Echo,
        "isolation::many_never_readers",
        "20 that never read, beside 20 that do",
        many_never_readers,
    ),
    case(
        Echo,
        "isolation::silent_herd",
        "50 clients that say nothing, beside one that does",
        silent_herd,
    ),
    case(
        Echo,
        "isolation::slow_reader",
        "a client that takes a few bytes now and then gets every one",
        slow_reader,
    ),
    case(
        Echo,
        "isolation::greedy_senders",
        "3 clients that send without end do not starve a ping",
        greedy_senders,
    ),
    case(
        Echo,
        "isolation::connect_storm",
        "clients that come and go without end do not starve an old one",
        connect_storm,
    ),
    case(
        Echo,
        "isolation::newcomers",
        "8 busy old clients do not starve new ones",
        newcomers,
    ),
    case(
        Echo,
        "isolation::resets_beside_transfers",
        "resets do not harm transfers that are under way",
        resets_beside_transfers,
    ),
    program_case(
        Http,
        "isolation::pipelined_work",
        "650 pipelined requests, each with --work: another client is answered before they all are",
        pipelined_work,
    ),
    program_case(
        Echo,
        "isolation::bounded_memory",
        "a flood without reading costs little memory, and 100 others progress",
        bounded_memory,
    ),
];

/// Length of the bytes that a flood repeats.
const FLOOD: usize = 64 * 1024;

fn never_reader(target: &Target) -> Outcome {
    let server = target.serve_many(Echo, 9)?;
    let _stuck = server.stuck_clients(1, &pattern(7, FLOOD))?;
    in_parallel(server.connect_many(8)?, |seed, client| {
        client.exchange(&pattern(seed, 100_000), Slices::Whole)
    })
}

fn many_never_readers(target: &Target) -> Outcome {
    target.require_silence()?;
    let server = target.serve_many(Echo, 40)?;
    let mut polite = server.connect_many(20)?;
    let stuck = server.stuck_clients(20, &pattern(8, FLOOD))?;
    for round in 0..20 {
        polite
            .iter_mut()
            .try_for_each(|client| client.round_trip(&pattern(round, 1_000)))?;
    }
    drop(stuck);
    server.still_serves()
}

fn silent_herd(target: &Target) -> Outcome {
    target.require_silence()?;
    let server = target.serve_many(Echo, 51)?;
    let mut silent = server.connect_many(50)?;
    server
        .connect()?
        .exchange(&pattern(1, 50_000), Slices::Whole)?;
    // The silent clients are still served.
    silent
        .iter_mut()
        .try_for_each(|client| client.round_trip(b"good morning"))
}

fn slow_reader(target: &Target) -> Outcome {
    target.require_silence()?;
    let server = target.serve(Echo)?;
    let bytes = pattern(2, FLOOD);
    for (mut client, sent) in server.stuck_clients(1, &bytes)? {
        client.half_close()?;
        let all: Vec<u8> = bytes.iter().copied().cycle().take(sent).collect();
        // First in small pieces, so that the server can write a little now and then.
        let (sips, rest) = all.split_at(all.len().min(200_000));
        for sip in sips.chunks(1_000) {
            client.expect(sip)?;
            pause();
        }
        client.expect(rest)?;
        client.expect_end()?;
    }
    Ok(())
}

/// A client that sends and receives without end.
struct Greedy {
    client: Client,
    /// Bytes that came back and were right.
    received: AtomicUsize,
}

impl Greedy {
    /// Sends `bytes` over and over until the connection is shut down.
    fn send(&self, bytes: &[u8]) {
        while (&self.client.stream).write_all(bytes).is_ok() {}
    }

    /// Compares what comes back, until `done`. Before that the connection must not end.
    fn receive(&self, bytes: &[u8], done: &AtomicBool) -> Outcome {
        let expected = "every byte of a client that sends without end";
        let mut part = vec![0; bytes.len()];
        loop {
            let got = self.received.load(Relaxed);
            let seen = match self.client.receive(&mut part) {
                _ if done.load(Relaxed) => return Ok(()),
                Ok(0) => format!("the end of the connection after {got}"),
                Ok(n) => {
                    let (end, start) = bytes.split_at(got % bytes.len());
                    let pairs = part[..n].iter().zip(start.iter().chain(end));
                    let right = pairs.take_while(|(is, should)| is == should).count();
                    self.received.fetch_add(right, Relaxed);
                    if right == n {
                        continue;
                    }
                    format!("byte {} is another", got + right)
                }
                Err(e) => format!("{} after {got}", self.client.describe(&e)),
            };
            return failed(expected, seen);
        }
    }
}

/// Runs `work` while `clients` clients send and receive without end.
fn beside_greedy(server: &Server, clients: usize, work: impl FnOnce() -> Outcome) -> Outcome {
    let bytes = pattern(3, FLOOD);
    let done = AtomicBool::new(false);
    let clients = server.connect_many(clients)?.into_iter();
    let greedy: Vec<_> = clients
        .map(|client| Greedy {
            client,
            received: AtomicUsize::new(0),
        })
        .collect();
    std::thread::scope(|scope| {
        let (bytes, done) = (&bytes, &done);
        let receivers: Vec<_> = greedy
            .iter()
            .map(|greedy| {
                scope.spawn(move || greedy.send(bytes));
                scope.spawn(move || greedy.receive(bytes, done))
            })
            .collect();
        let all_served = eventually(server.patience, "every greedy client is served", || {
            let is_served = |client: &Greedy| client.received.load(Relaxed) > FLOOD;
            greedy.iter().all(is_served) || receivers.iter().any(ScopedJoinHandle::is_finished)
        });
        let worked = all_served.and_then(|()| work());
        done.store(true, Relaxed);
        for greedy in &greedy {
            let _ = greedy.client.stream.shutdown(Shutdown::Both);
        }
        receivers
            .into_iter()
            .map(|receiver| receiver.join().expect("no greedy client panics"))
            .fold(Ok(()), Outcome::and)
            .and(worked)
    })
}

fn greedy_senders(target: &Target) -> Outcome {
    let server = target.serve_many(Echo, 4)?;
    let mut ping = server.connect()?;
    ping.round_trip(b"before")?;
    beside_greedy(&server, 3, || {
        (0..100).try_for_each(|i| ping.round_trip(&pattern(i, 64)))
    })
}

fn newcomers(target: &Target) -> Outcome {
    let server = target.serve_many(Echo, 9)?;
    beside_greedy(&server, 8, || {
        (0..30).try_for_each(|i| server.connect()?.exchange(&pattern(i, 64), Slices::Whole))
    })
}

/// Runs `work` while one client after the other does what `visit` says; begins after ten of them.
fn beside_visits(
    server: &Server,
    visit: impl Fn(Client) -> Outcome + Sync,
    work: impl FnOnce() -> Outcome,
) -> Outcome {
    let (visits, done) = (AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let visitors = scope.spawn(|| {
            while !done.load(Relaxed) {
                visit(server.connect()?)?;
                visits.fetch_add(1, Relaxed);
            }
            Ok(())
        });
        let begun = eventually(server.patience, "clients come and go", || {
            visits.load(Relaxed) >= 10
        });
        let worked = begun.and_then(|()| work());
        done.store(true, Relaxed);
        worked.and(visitors.join().expect("no visitor panics"))
    })
}

fn connect_storm(target: &Target) -> Outcome {
    // A worker may notice only a little later that its client is gone.
    let server = target.serve_many(Echo, 32)?;
    let mut old = server.connect()?;
    old.round_trip(b"before")?;
    beside_visits(&server, Client::reset, || {
        (0..200).try_for_each(|i| old.round_trip(&pattern(i, 64)))
    })
}

fn resets_beside_transfers(target: &Target) -> Outcome {
    let server = target.serve_many(Echo, 32)?;
    let bytes = pattern(4, 3_000);
    let visit = |mut client: Client| {
        client.send(&bytes)?;
        client.reset()
    };
    beside_visits(&server, visit, || {
        in_parallel(server.connect_many(4)?, |seed, client| {
            client.exchange(&pattern(seed, 500_000), Slices::Whole)
        })
    })
}

fn bounded_memory(target: &Target) -> Outcome {
    const MOST_SENT: usize = 128 << 20;
    const MOST_GROWN: u64 = 16 << 20;
    target.require_silence()?;
    let server = target.serve_many(Echo, 101)?;
    let mut polite = server.connect_many(100)?;
    polite
        .iter_mut()
        .try_for_each(|client| client.round_trip(&pattern(1, 5_000)))?;
    let mut flood = server.connect()?;
    let before = server.memory()?;
    let bytes = pattern(2, 1 << 20);
    let mut sent = 0;
    for round in 0..20 {
        // Until the server takes no more, or has taken far more than it may keep.
        while sent < MOST_SENT {
            match flood.flood(&bytes)? {
                0 => break,
                n => sent += n,
            }
        }
        polite
            .iter_mut()
            .try_for_each(|client| client.round_trip(&pattern(round, 500)))?;
    }
    let grown = server.memory()?.saturating_sub(before);
    ensure(
        grown < MOST_GROWN,
        "at most 16 MiB more memory beside a client that sends and never reads",
        format!("{} MiB more after it sent {} MiB", grown >> 20, sent >> 20),
    )
}

/// Looks at the order of the answers, not at their time.
fn pipelined_work(target: &Target) -> Outcome {
    const REQUESTS: usize = 650;
    target.require_silence()?;
    let mut start = target.start(Http).flags(&["--work", "5ms"])?;
    start = start.for_clients(2)?;
    let serves_many = target.client_limit().is_none();
    if serves_many && target.offers("--workers")? && target.given("--workers").is_none() {
        // One worker serves both clients.
        start = start.flags(&["--workers", "1"])?;
    }
    let server = start.ready()?;
    let mut polite = server.connect()?;
    polite.send(GET.as_bytes())?;
    polite.expect_status(200)?;
    let mut greedy = server.connect()?;
    greedy.set_buffers(1 << 20)?;
    // Now the server has read some of them and works.
    greedy.send_alone(GET.repeat(REQUESTS).as_bytes())?;
    polite.send(GET.as_bytes())?;
    polite.expect_status(200)?;
    // What the server sent before that answer has arrived.
    let came = greedy.receive_without_waiting()?;
    let answers = came.windows(9).filter(|part| part == b"HTTP/1.1 ").count();
    ensure(
        answers < REQUESTS,
        format!("another client's answer before the last of {REQUESTS} pipelined ones"),
        format!("{answers} answers before it"),
    )
}

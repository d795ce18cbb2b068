//! No client is at another's mercy: neither for right answers nor for progress.
//!
//! A model whose worker serves one client gets as many workers as the case has clients.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::Scope;

use super::client::{Client, Slices, in_parallel, pattern};
use super::life::still_serves;
use super::process::pause;
use super::subject::Server;
use super::{Case, Subject, Tried, case, ensure, owning};
use crate::workload::Mode::Echo;

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
    owning(
        Echo,
        "isolation::bounded_memory",
        "a flood without reading costs little memory, and 100 others progress",
        bounded_memory,
    ),
];

/// A client that sends what it can and reads nothing.
fn never_reading(server: &Server) -> Tried<Client> {
    let mut client = server.connect()?;
    client.shrink_buffers(4_096)?;
    client.flood(&pattern(7, 64 * 1024))?;
    Ok(client)
}

fn never_reader(s: &Subject) -> Tried {
    let server = s.serve_many(Echo, 9)?;
    let _stuck = never_reading(&server)?;
    in_parallel(server.connect_many(8)?, |seed, client| {
        client.exchange(&pattern(seed, 100_000), Slices::Whole)
    })
}

fn many_never_readers(s: &Subject) -> Tried {
    let server = s.serve_many(Echo, 40)?;
    let mut polite = server.connect_many(20)?;
    let mut stuck = Vec::new();
    for _ in 0..20 {
        stuck.push(never_reading(&server)?);
    }
    for round in 0..20 {
        for client in &mut polite {
            client.round_trip(&pattern(round, 1_000))?;
        }
        for client in &mut stuck {
            client.flood(&pattern(8, 64 * 1024))?;
        }
    }
    drop(stuck);
    still_serves(&server)
}

fn silent_herd(s: &Subject) -> Tried {
    let server = s.serve_many(Echo, 51)?;
    let mut silent = server.connect_many(50)?;
    server
        .connect()?
        .exchange(&pattern(1, 50_000), Slices::Whole)?;
    // They were only silent, not gone.
    silent
        .iter_mut()
        .try_for_each(|client| client.round_trip(b"good morning"))
}

fn slow_reader(s: &Subject) -> Tried {
    let server = s.serve(Echo)?;
    let mut client = server.connect()?;
    client.shrink_buffers(16_384)?;
    let sent = client.flood(&pattern(2, 1 << 20))?;
    client.half_close()?;
    let bytes: Vec<u8> = pattern(2, 1 << 20).into_iter().cycle().take(sent).collect();
    for sip in bytes.chunks(3_000) {
        client.expect(sip)?;
        pause();
    }
    client.expect_end()
}

/// Sends and receives on `stream` without end, until it is shut down.
fn stream_without_end<'scope>(client: &'scope Client, scope: &'scope Scope<'scope, '_>) {
    scope.spawn(move || {
        let bytes = pattern(3, 64 * 1024);
        while (&client.stream).write(&bytes).is_ok_and(|n| n > 0) {}
    });
    scope.spawn(move || {
        let mut sink = vec![0; 64 * 1024];
        while (&client.stream).read(&mut sink).is_ok_and(|n| n > 0) {}
    });
}

/// Runs `work` while the `greedy` clients stream.
fn beside(greedy: &[Client], work: impl FnOnce() -> Tried) -> Tried {
    std::thread::scope(|scope| {
        for client in greedy {
            stream_without_end(client, scope);
        }
        let worked = work();
        for client in greedy {
            let _ = client.stream.shutdown(Shutdown::Both);
        }
        worked
    })
}

fn greedy_senders(s: &Subject) -> Tried {
    let server = s.serve_many(Echo, 4)?;
    let greedy = server.connect_many(3)?;
    let mut ping = server.connect()?;
    ping.round_trip(b"before")?;
    beside(&greedy, || {
        (0..100).try_for_each(|i| ping.round_trip(&pattern(i, 64)))
    })
}

fn newcomers(s: &Subject) -> Tried {
    let server = s.serve_many(Echo, 9)?;
    let greedy = server.connect_many(8)?;
    beside(&greedy, || {
        (0..30).try_for_each(|i| server.connect()?.exchange(&pattern(i, 64), Slices::Whole))
    })
}

fn connect_storm(s: &Subject) -> Tried {
    // Each client of the storm may wait to be noticed as gone.
    let server = s.serve_many(Echo, 32)?;
    let mut old = server.connect()?;
    old.round_trip(b"before")?;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let storm = scope.spawn(|| {
            while !done.load(Relaxed) {
                server.connect()?.reset()?;
            }
            Ok(())
        });
        let worked = (0..200).try_for_each(|i| old.round_trip(&pattern(i, 64)));
        done.store(true, Relaxed);
        worked.and(storm.join().expect("the storm does not panic"))
    })
}

fn resets_beside_transfers(s: &Subject) -> Tried {
    let server = s.serve_many(Echo, 32)?;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let resets = scope.spawn(|| {
            for i in 0.. {
                if done.load(Relaxed) {
                    break;
                }
                let mut client = server.connect()?;
                client.send(&pattern(i, 3_000))?;
                client.reset()?;
            }
            Ok(())
        });
        let worked = in_parallel(server.connect_many(4)?, |seed, client| {
            client.exchange(&pattern(seed, 500_000), Slices::Whole)
        });
        done.store(true, Relaxed);
        worked.and(resets.join().expect("the resets do not panic"))
    })
}

fn bounded_memory(s: &Subject) -> Tried {
    const MOST_SENT: usize = 128 << 20;
    const MOST_GROWN: u64 = 16 << 20;
    let server = s.serve_many(Echo, 101)?;
    let mut polite = server.connect_many(100)?;
    polite
        .iter_mut()
        .try_for_each(|client| client.round_trip(&pattern(1, 5_000)))?;
    let mut flood = server.connect()?;
    let before = server.tree()?.memory();
    let bytes = pattern(2, 1 << 20);
    let mut sent = 0;
    for round in 0..20 {
        // Until the server takes no more, or has taken far too much.
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
    let grown = server.tree()?.memory().saturating_sub(before);
    ensure(
        grown < MOST_GROWN,
        "at most 16 MiB more memory beside a client that sends and never reads",
        format!("{} MiB more after it sent {} MiB", grown >> 20, sent >> 20),
    )
}

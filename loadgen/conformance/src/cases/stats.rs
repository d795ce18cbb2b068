//! The counters that `--stats` prints at the end: every server counts the same ends of connections alike.
//!
//! `reset` counts the connections that were ended by an error, by `--idle-timeout` or by the end of `--grace` before
//! the server had sent everything and closed its sending side.

use supervisor::Mode::{Echo, Once};

use super::once::expect_answer;
use crate::case::{Case, program_case};
use crate::client::{Slices, pattern};
use crate::outcome::{Outcome, ensure};
use crate::server::Server;
use crate::stats::Stats;
use crate::target::Target;

pub const CASES: &[Case] = &[
    program_case(
        Echo,
        "stats::counters",
        "--stats: one JSON line whose counts are right",
        counters,
    ),
    program_case(
        Echo,
        "stats::end_of_input",
        "clients that close or half-close are not counted as reset",
        end_of_input,
    ),
    program_case(
        Echo,
        "stats::reset",
        "clients that reset are counted as reset, whether they were idle or had just sent",
        reset,
    ),
    program_case(
        Echo,
        "stats::idle_timeout",
        "a client that --idle-timeout ends is counted as reset",
        idle_timeout,
    ),
    program_case(
        Echo,
        "stats::stopped_when_idle",
        "a client that had all its answers when the server stops is not counted as reset",
        stopped_when_idle,
    ),
    program_case(
        Once,
        "stats::end_of_grace_answered",
        "a client that was answered and does not close when --grace is over is not counted as reset",
        end_of_grace_answered,
    ),
    program_case(
        Echo,
        "stats::end_of_grace_unsent",
        "a client that has not taken its answers when --grace is over is counted as reset",
        end_of_grace_unsent,
    ),
];

fn counters(target: &Target) -> Outcome {
    let server = target.start(Echo).flags(&["--stats"])?.ready()?;
    for seed in 0..3 {
        server
            .connect()?
            .exchange(&pattern(seed, 10_000), Slices::Whole)?;
    }
    let stats = Stats::of(&server.stop()?)?;
    let clean = (stats.reset, stats.refused, stats.accept_errors) == (0, 0, 0);
    ensure(
        clean
            && (stats.accepted, stats.closed) == (3, 3)
            && stats.per_worker.iter().sum::<u64>() == 3,
        "3 accepted and closed, also over all workers; none reset or refused, no accept error",
        format!("{stats:?}"),
    )?;
    ensure(
        (stats.bytes_in, stats.bytes_out) == (30_000, 30_000) && (1..=3).contains(&stats.peak_open),
        "30,000 bytes in and out, at most 3 open",
        format!("{stats:?}"),
    )
}

/// Stops the server and compares its counts of closed connections and, among them, of reset ones.
fn counted(server: Server, closed: u64, reset: u64) -> Outcome {
    let stats = Stats::of(&server.stop()?)?;
    ensure(
        (stats.accepted, stats.closed, stats.reset) == (closed, closed, reset),
        format!("{closed} accepted and closed, {reset} of them reset"),
        format!("{stats:?}"),
    )
}

fn end_of_input(target: &Target) -> Outcome {
    let server = target.start(Echo).flags(&["--stats"])?.ready()?;
    for _ in 0..3 {
        // Without a byte, with the last bytes, and after an answer.
        server.connect()?.exchange(b"", Slices::Whole)?;
        server.connect()?.exchange(b"hello", Slices::Whole)?;
        let mut client = server.connect()?;
        client.round_trip(b"hello")?;
        drop(client);
    }
    server.still_serves()?;
    counted(server, 10, 0)
}

fn reset(target: &Target) -> Outcome {
    let server = target.start(Echo).flags(&["--stats"])?.ready()?;
    for size in [0, 5, 50_000] {
        let mut client = server.connect()?;
        client.round_trip(b"hello")?;
        if size > 0 {
            client.send(&pattern(1, size))?;
        }
        client.reset()?;
    }
    server.still_serves()?;
    counted(server, 4, 3)
}

fn idle_timeout(target: &Target) -> Outcome {
    let start = target.start(Echo);
    let start = start.flags(&["--stats", "--idle-timeout", "300ms"])?;
    let server = start.ready()?;
    let mut client = server.connect()?;
    client.round_trip(b"hello")?;
    client.expect_gone()?;
    counted(server, 1, 1)
}

fn stopped_when_idle(target: &Target) -> Outcome {
    target.require_silence()?;
    let server = target.start(Echo).flags(&["--stats"])?.ready()?;
    let _client = server.served_clients(1)?;
    counted(server, 1, 0)
}

fn end_of_grace_answered(target: &Target) -> Outcome {
    let start = target.start(Once).flags(&["--stats", "--grace", "100ms"])?;
    let server = start.ready()?;
    let mut client = server.connect()?;
    client.send(b"hello")?;
    expect_answer(&mut client)?;
    // The client keeps its side open. The grace ends before the second for which the server waits for it.
    counted(server, 1, 0)
}

fn end_of_grace_unsent(target: &Target) -> Outcome {
    let start = target.start(Echo).flags(&["--stats", "--grace", "100ms"])?;
    let server = start.ready()?;
    let _stuck = server.stuck_clients(1, &pattern(1, 64 * 1024))?;
    counted(server, 1, 1)
}

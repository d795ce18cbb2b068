//! After many clients the server holds no more than before.

use crate::case::{Case, process_case};
use crate::client::{Client, pattern};
use crate::outcome::{Outcome, ensure};
use crate::resources::Holdings;
use crate::server::Server;
use crate::target::Target;
use supervisor::Mode::Echo;

pub const CASES: &[Case] = &[
    process_case(
        Echo,
        "leaks::after_5_000_clients",
        "after 5,000 clients descriptors, threads, processes and memory are as before",
        after_5_000_clients,
    ),
    process_case(
        Echo,
        "leaks::after_1_000_resets",
        "the same when the clients end by a reset",
        after_1_000_resets,
    ),
    process_case(
        Echo,
        "leaks::after_a_crowd",
        "the same when 200 clients, or as many as fit, were there at once",
        after_a_crowd,
    ),
];

/// Memory may grow by this much, bytes: allocators keep some.
const MOST_GROWN: u64 = 4 << 20;

fn after_5_000_clients(target: &Target) -> Outcome {
    returns_to_the_start(target, 5_000, |_, mut client| {
        client.round_trip(b"hello")?;
        client.half_close()?;
        client.expect_end()
    })
}

fn after_1_000_resets(target: &Target) -> Outcome {
    returns_to_the_start(target, 1_000, |i, mut client| {
        if i % 2 == 0 {
            client.send(&pattern(1, 3_000))?;
        }
        client.reset()
    })
}

fn after_a_crowd(target: &Target) -> Outcome {
    let (server, limit) = target.serve_up_to(Echo, 200)?;
    server.connect()?.round_trip(b"hello")?;
    let before = beforehand(target, &server)?;
    for _ in 0..5 {
        let mut clients = server.connect_many(limit)?;
        clients
            .iter_mut()
            .try_for_each(|client| client.round_trip(&pattern(2, 3_000)))?;
    }
    server.holds_no_more(before)
}

/// Lets `clients` clients do what `visit` says, one after the other, and compares what the server holds before and
/// after.
fn returns_to_the_start(
    target: &Target,
    clients: usize,
    visit: impl Fn(usize, Client) -> Outcome,
) -> Outcome {
    let server = target.serve(Echo)?;
    let crowd = |clients| {
        (0..clients).try_for_each(|i| {
            visit(i, server.connect()?)?;
            // Clients that do not wait come faster than a slow machine starts a program for each.
            if i % 100 == 99 {
                server.still_serves()?;
            }
            Ok(())
        })
    };
    crowd(clients / 20)?;
    let before = beforehand(target, &server)?;
    let memory = server.memory()?;
    crowd(clients)?;
    server.holds_no_more(before)?;
    if !target.keeps_contract() {
        return Ok(());
    }
    let grown = server.memory()?.saturating_sub(memory);
    ensure(
        grown < MOST_GROWN,
        format!("at most 4 MiB more memory after {clients} clients"),
        format!("{} KiB more", grown >> 10),
    )
}

/// What the server holds before the clients come. The runtime of a foreign server may start a few threads later.
fn beforehand(target: &Target, server: &Server) -> Outcome<Holdings> {
    let mut before = server.holdings_at_rest()?;
    if !target.keeps_contract() {
        before.threads += 16;
    }
    Ok(before)
}

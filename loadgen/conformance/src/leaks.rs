//! After a crowd the server holds what it held before.

use crate::client::{Client, eventually, pattern};
use crate::process::{Holdings, Tree};
use crate::subject::Server;
use crate::{Case, Outcome, Subject, Tried, ensure, watching};
use supervisor::Mode::Echo;

pub const CASES: &[Case] = &[
    watching(
        Echo,
        "leaks::after_5_000_clients",
        "descriptors, threads, processes and memory return to what they were",
        after_5_000_clients,
    ),
    watching(
        Echo,
        "leaks::after_1_000_resets",
        "the same when the clients end by a reset",
        after_1_000_resets,
    ),
    watching(
        Echo,
        "leaks::after_a_crowd",
        "the same when 200 clients, or as many as fit, were there at once",
        after_a_crowd,
    ),
];

/// Memory may grow by this over a crowd: allocators keep some.
const MOST_GROWN: u64 = 4 << 20;

fn after_5_000_clients(s: &Subject) -> Tried {
    returns_to_the_start(s, 5_000, |_, mut client| {
        client.round_trip(b"hello")?;
        client.half_close()?;
        client.expect_end()
    })
}

fn after_1_000_resets(s: &Subject) -> Tried {
    returns_to_the_start(s, 1_000, |i, mut client| {
        if i % 2 == 0 {
            client.send(&pattern(1, 3_000))?;
        }
        client.reset()
    })
}

fn after_a_crowd(s: &Subject) -> Tried {
    let (server, places) = s.serve_up_to(Echo, 200)?;
    server.connect()?.round_trip(b"hello")?;
    let before = beforehand(s, &server)?;
    for _ in 0..5 {
        let mut clients = server.connect_many(places)?;
        clients
            .iter_mut()
            .try_for_each(|client| client.round_trip(&pattern(2, 3_000)))?;
    }
    same_again(&server, before)
}

/// Serves `clients` one after the other as `visit` says, between two looks at what the server holds.
fn returns_to_the_start(
    s: &Subject,
    clients: usize,
    visit: impl Fn(usize, Client) -> Tried,
) -> Tried {
    let server = s.serve(Echo)?;
    let crowd = |clients| (0..clients).try_for_each(|i| visit(i, server.connect()?));
    crowd(clients / 20)?;
    let before = beforehand(s, &server)?;
    let memory = server.tree()?.memory();
    crowd(clients)?;
    same_again(&server, before)?;
    if !s.owns_process() {
        return Ok(());
    }
    let grown = server.tree()?.memory().saturating_sub(memory);
    ensure(
        grown < MOST_GROWN,
        format!("at most 4 MiB more memory after {clients} clients"),
        format!("{} KiB more", grown >> 10),
    )
}

/// What the server holds before the crowd. A stranger's runtime may start a few threads later, and collect
/// its garbage when it likes.
fn beforehand(s: &Subject, server: &Server) -> Tried<Holdings> {
    let mut before = settled(server)?;
    if !s.owns_process() {
        before.threads += 16;
    }
    Ok(before)
}

/// What the server holds once the last client was seen to leave: the least of many looks.
pub fn settled(server: &Server) -> Tried<Holdings> {
    let tree = server.tree()?;
    let mut last = tree.holdings();
    let mut same = 0;
    eventually(
        server.patience,
        "an idle server that holds the same from look to look",
        || {
            let now = tree.holdings();
            same = if now == last { same + 1 } else { 0 };
            last = now;
            same == 20
        },
    )?;
    Ok(last)
}

/// The server holds no more than `before`, once the last client was seen to leave.
pub fn same_again(server: &Server, before: Holdings) -> Tried {
    let tree: Tree = server.tree()?;
    eventually(server.patience, "", || tree.holdings().fits_in(before)).map_err(|_| {
        Outcome::Failed {
            expected: format!("after the clients left no more than before: {before}"),
            seen: tree.holdings().to_string(),
        }
    })
}

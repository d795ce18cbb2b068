//! Stopping, being stopped and being interrupted.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use supervisor::Mode::{Echo, Once};

use super::once::expect_answer;
use crate::case::{Case, program_case};
use crate::client::{Client, Slices, in_parallel, pattern};
use crate::outcome::{Outcome, ensure, failed, skipped};
use crate::patience::eventually;
use crate::server::Server;
use crate::target::Target;

pub const CASES: &[Case] = &[
    program_case(
        Echo,
        "signals::term_idle",
        "SIGTERM without clients: exit 0",
        term_idle,
    ),
    program_case(
        Echo,
        "signals::int_idle",
        "SIGINT without clients: exit 0",
        int_idle,
    ),
    program_case(
        Echo,
        "signals::term_with_clients",
        "SIGTERM with idle clients: they see the end, exit 0",
        term_with_clients,
    ),
    program_case(
        Echo,
        "signals::term_in_mid_stream",
        "SIGTERM with input unread: all that had arrived is answered first",
        term_in_mid_stream,
    ),
    program_case(
        Once,
        "signals::term_before_the_answer",
        "SIGTERM in mode once: a request that had arrived is answered",
        term_before_the_answer,
    ),
    program_case(
        Echo,
        "signals::term_with_stuck_clients",
        "SIGTERM with clients that never read: exit 0 when --grace is over",
        term_with_stuck_clients,
    ),
    program_case(
        Echo,
        "signals::term_at_capacity",
        "SIGTERM while clients wait for a place: exit 0",
        term_at_capacity,
    ),
    program_case(
        Echo,
        "signals::term_twice",
        "a second SIGTERM does not wait for --grace",
        term_twice,
    ),
    program_case(
        Echo,
        "signals::no_new_clients",
        "SIGTERM closes the listener while old clients are drained",
        no_new_clients,
    ),
    program_case(
        Echo,
        "signals::port_free_at_once",
        "the port can be used again as soon as the server has ended",
        port_free_at_once,
    ),
    program_case(
        Echo,
        "signals::interrupt_from_the_terminal",
        "SIGINT to the whole process group: exit 0",
        interrupt_from_the_terminal,
    ),
    program_case(
        Echo,
        "signals::stop_and_continue",
        "SIGSTOP and SIGCONT in the middle of transfers",
        stop_and_continue,
    ),
    program_case(
        Echo,
        "signals::interrupted_calls",
        "300 stops and continues while clients are served",
        interrupted_calls,
    ),
    program_case(
        Echo,
        "signals::killed_worker",
        "kill -9 of a worker process ends its client only",
        killed_worker,
    ),
    program_case(
        Echo,
        "signals::killed_parent",
        "kill -9 of the first process: no worker stays when its client has left",
        killed_parent,
    ),
];

/// Slack beside `--grace` on a busy machine.
const SLACK: Duration = Duration::from_secs(5);

fn term_idle(target: &Target) -> Outcome {
    let server = target.serve(Echo)?;
    server.still_serves()?;
    server.stop()?;
    Ok(())
}

fn int_idle(target: &Target) -> Outcome {
    let server = target.serve(Echo)?;
    server.group()?.signal_leader(Signal::SIGINT);
    server.ended_cleanly("SIGINT")?;
    Ok(())
}

/// So many clients that were each served once.
fn served(server: &Server, clients: usize) -> Outcome<Vec<Client>> {
    let mut clients = server.connect_many(clients)?;
    clients
        .iter_mut()
        .try_for_each(|client| client.round_trip(b"hello"))?;
    Ok(clients)
}

fn term_with_clients(target: &Target) -> Outcome {
    let (server, clients) = target.serve_up_to(Echo, 5)?;
    let clients = served(&server, clients)?;
    let start = Instant::now();
    server.stop()?;
    ensure(
        start.elapsed() < Duration::from_secs(5),
        "an end before --grace (5 target): nothing was left to do",
        format!("{:?}", start.elapsed()),
    )?;
    clients.into_iter().try_for_each(Client::expect_end)
}

fn term_in_mid_stream(target: &Target) -> Outcome {
    target.require_silence()?;
    let (server, clients) = target.serve_up_to(Echo, 5)?;
    let mut clients = served(&server, clients)?;
    let group = server.group()?;
    // While it is stopped, bytes and signal arrive in this order and are seen at once.
    group.signal(Signal::SIGSTOP);
    for (client, seed) in clients.iter_mut().zip(0..) {
        client.send(&pattern(seed, 30_000))?;
        client.wait_until_arrived()?;
    }
    group.signal_leader(Signal::SIGTERM);
    group.signal(Signal::SIGCONT);
    for (mut client, seed) in clients.into_iter().zip(0..) {
        client.expect(&pattern(seed, 30_000))?;
        client.expect_end()?;
    }
    server.ended_cleanly("SIGTERM")?;
    Ok(())
}

fn term_before_the_answer(target: &Target) -> Outcome {
    target.require_silence()?;
    let server = target.serve(Once)?;
    let mut first = server.connect()?;
    let group = server.group()?;
    first.wait_until_accepted()?;
    group.signal(Signal::SIGSTOP);
    first.send(b"hello")?;
    first.wait_until_arrived()?;
    group.signal_leader(Signal::SIGTERM);
    group.signal(Signal::SIGCONT);
    expect_answer(&mut first)?;
    first.expect_end()?;
    server.ended_cleanly("SIGTERM")?;
    Ok(())
}

fn term_with_stuck_clients(target: &Target) -> Outcome {
    let server = target.start(Echo).flags(&["--grace", "500ms"])?.ready()?;
    let _stuck = server.stuck_clients(target.clients_at_once(2), &pattern(1, 64 * 1024))?;
    let start = Instant::now();
    server.stop()?;
    let took = start.elapsed();
    ensure(
        took < SLACK,
        "an end soon after --grace 500ms",
        format!("{took:?}"),
    )
}

fn term_at_capacity(target: &Target) -> Outcome {
    let server = target
        .start(Echo)
        .flags(&["--max-connections", "1"])?
        .ready()?;
    let _served = served(&server, 1)?;
    let _waiting = server.connect_many(3)?;
    server.stop()?;
    Ok(())
}

fn term_twice(target: &Target) -> Outcome {
    // Where there are several loops the stuck client is now with one, now with another.
    for _ in 0..3 {
        let server = target.start(Echo).flags(&["--grace", "60s"])?.ready()?;
        let _stuck = server.stuck_clients(1, &pattern(1, 64 * 1024))?;
        let group = server.group()?;
        group.signal_leader(Signal::SIGTERM);
        // The first one was taken when the listener is closed.
        let closed = || server.connect().is_err();
        eventually(server.patience, "the listener is closed", closed)?;
        group.signal_leader(Signal::SIGTERM);
        let exit = server.wait()?;
        ensure(exit.left_behind == 0, "no process left behind", exit)?;
    }
    Ok(())
}

fn no_new_clients(target: &Target) -> Outcome {
    let server = target.start(Echo).flags(&["--grace", "2s"])?.ready()?;
    let _stuck = server.stuck_clients(1, &pattern(1, 64 * 1024))?;
    server.group()?.signal_leader(Signal::SIGTERM);
    eventually(server.patience, "the listener is closed", || {
        server.connect().is_err()
    })?;
    server.ended_cleanly("SIGTERM")?;
    Ok(())
}

fn port_free_at_once(target: &Target) -> Outcome {
    let server = target.serve(Echo)?;
    let address = server.address;
    let _client = served(&server, 1)?;
    server.stop()?;
    let again = target.start(Echo).listen(&address.to_string()).ready()?;
    again.still_serves()
}

fn interrupt_from_the_terminal(target: &Target) -> Outcome {
    let (server, clients) = target.serve_up_to(Echo, 3)?;
    let clients = served(&server, clients)?;
    server.group()?.signal(Signal::SIGINT);
    server.ended_cleanly("SIGINT to the group")?;
    clients.into_iter().try_for_each(Client::expect_end)
}

fn stop_and_continue(target: &Target) -> Outcome {
    target.require_silence()?;
    let (server, clients) = target.serve_up_to(Echo, 4)?;
    let group = server.group()?;
    let mut clients = served(&server, clients)?;
    group.signal(Signal::SIGSTOP);
    for (client, seed) in clients.iter_mut().zip(0..) {
        client.send(&pattern(seed, 20_000))?;
    }
    group.signal(Signal::SIGCONT);
    for (mut client, seed) in clients.into_iter().zip(0..) {
        client.expect(&pattern(seed, 20_000))?;
        client.half_close()?;
        client.expect_end()?;
    }
    Ok(())
}

fn interrupted_calls(target: &Target) -> Outcome {
    let (server, places) = target.serve_up_to(Echo, 5)?;
    let group = server.group()?;
    // Each has been served, so that no process is being forked for one: Linux gives a SIGSTOP for the group
    // to the new child as well, but not the SIGCONT that follows at once, as the parent ignores that.
    let mut clients = served(&server, places)?;
    let mut ping = clients.pop().expect("a server has room for one client");
    std::thread::scope(|scope| {
        let transfers = scope.spawn(|| {
            in_parallel(clients, |seed, client| {
                client.exchange(
                    &pattern(seed, 300_000),
                    Slices::Random { seed, most: 3_000 },
                )
            })
        });
        for i in 0..300 {
            group.signal(Signal::SIGSTOP);
            group.signal(Signal::SIGCONT);
            if i % 10 == 0 {
                ping.round_trip(&pattern(i, 100))?;
            }
        }
        transfers.join().expect("the transfers do not panic")
    })
}

fn killed_worker(target: &Target) -> Outcome {
    let (server, places) = target.serve_up_to(Echo, 4)?;
    // One place is left for those that come after.
    let mut clients = served(&server, places - 1)?;
    let Some(&victim) = server.group()?.children().first() else {
        return skipped("has one process");
    };
    let _ = kill(victim, Signal::SIGKILL);
    // At most one of them was the victim's.
    let lost = clients
        .iter_mut()
        .filter_map(|client| client.round_trip(b"still in").err())
        .count();
    ensure(lost <= 1, "one client lost at most", format!("{lost} lost"))?;
    drop(clients);
    for _ in 0..10 {
        server.still_serves()?;
    }
    server.stop()?;
    Ok(())
}

fn killed_parent(target: &Target) -> Outcome {
    let (server, places) = target.serve_up_to(Echo, 2)?;
    let clients = served(&server, places)?;
    let group = server.group()?;
    if group.children().is_empty() {
        return skipped("has one process");
    }
    group.signal_leader(Signal::SIGKILL);
    drop(clients);
    if eventually(server.patience, "", || group.alive() == 0).is_err() {
        let seen = format!("{} are left", group.alive());
        return failed("no worker without its parent", seen);
    }
    Ok(())
}

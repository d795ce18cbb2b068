//! Signals that are no request to stop: SIGSTOP, SIGCONT, and the SIGKILL of one process of several.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use supervisor::Group;
use supervisor::Mode::Echo;

use crate::case::{Case, program_case};
use crate::client::{Slices, in_parallel, pattern};
use crate::outcome::{Outcome, ensure, failed, skipped};
use crate::patience::eventually;
use crate::target::Target;

pub const CASES: &[Case] = &[
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
        "signals::worker_killed_by_a_real_time_signal",
        "a signal without a name that kills a worker process: as any other",
        worker_killed_by_a_real_time_signal,
    ),
    program_case(
        Echo,
        "signals::killed_parent",
        "kill -9 of the first process: no worker stays when its client has left",
        killed_parent,
    ),
];

fn stop_and_continue(target: &Target) -> Outcome {
    target.require_silence()?;
    let (server, clients) = target.serve_up_to(Echo, 4)?;
    let group = server.group()?;
    let mut clients = server.served_clients(clients)?;
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
    let (server, limit) = target.serve_up_to(Echo, 5)?;
    let group = server.group()?;
    // Each has been served, so no process is being forked. A child that is forked meanwhile would get the SIGSTOP of the
    // group, but not the SIGCONT that follows at once.
    let mut clients = server.served_clients(limit)?;
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
    loses_one_client_only(target, |worker| {
        let _ = kill(worker, Signal::SIGKILL);
    })
}

fn worker_killed_by_a_real_time_signal(target: &Target) -> Outcome {
    loses_one_client_only(target, Group::kill_by_real_time_signal)
}

fn loses_one_client_only(target: &Target, kill: fn(Pid)) -> Outcome {
    let (server, limit) = target.serve_up_to(Echo, 4)?;
    // One fewer than the limit, for those that come after.
    let mut clients = server.served_clients(limit - 1)?;
    let Some(&victim) = server.group()?.children().first() else {
        return skipped("has one process");
    };
    kill(victim);
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
    let (server, limit) = target.serve_up_to(Echo, 2)?;
    let clients = server.served_clients(limit)?;
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

//! What a server inherits from its parent: signals, an alarm, a child, descriptors.

use std::os::unix::process::ExitStatusExt;

use nix::sys::signal::Signal;
use supervisor::Inheritance;
use supervisor::Mode::Echo;
use supervisor::limit::{Limit, Resource};

use crate::case::{Case, program_case};
use crate::client::pattern;
use crate::outcome::{Outcome, ensure, failed, skipped};
use crate::patience::eventually;
use crate::server::Server;
use crate::start::Start;
use crate::target::Target;

pub const CASES: &[Case] = &[
    program_case(
        Echo,
        "inherited::signals_ignored",
        "started with SIGTERM, SIGCHLD, SIGALRM and others ignored: it stops all the same",
        signals_ignored,
    ),
    program_case(
        Echo,
        "inherited::interrupt_ignored",
        "started with SIGINT and SIGHUP ignored, as by a script or nohup: they stay ignored, SIGTERM stops it",
        interrupt_ignored,
    ),
    program_case(
        Echo,
        "inherited::signals_blocked",
        "started with SIGTERM, SIGINT, SIGCHLD, SIGALRM and others blocked: it stops all the same",
        signals_blocked,
    ),
    program_case(
        Echo,
        "inherited::second_signal",
        "a second signal does not wait for --grace, though the parent ignored it",
        second_signal,
    ),
    program_case(
        Echo,
        "inherited::dead_children",
        "started with SIGCHLD ignored: the next clients are served, a dead worker is replaced",
        dead_children,
    ),
    program_case(
        Echo,
        "inherited::alarm",
        "an alarm that the parent has set still ends the server",
        alarm,
    ),
    program_case(
        Echo,
        "inherited::child",
        "a child that the server has not started is no client, and no reason to wait at the stop",
        child,
    ),
    program_case(
        Echo,
        "inherited::first_process",
        "as the first process of a namespace: SIGTERM ends it, a second one at once",
        first_process,
    ),
    program_case(
        Echo,
        "inherited::descriptors",
        "inherited descriptors with numbers above the limit take no room from the clients",
        descriptors,
    ),
];

/// What servers use, and what nohup and shells ignore.
const SIGNALS: [Signal; 8] = [
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGCHLD,
    Signal::SIGALRM,
    Signal::SIGHUP,
    Signal::SIGIO,
    Signal::SIGUSR1,
    Signal::SIGPIPE,
];

/// Much longer than a case waits.
const GRACE: &str = "60s";

fn numbers(signals: &[Signal]) -> Vec<i32> {
    signals.iter().map(|&signal| signal as i32).collect()
}

fn ignoring(signals: &[Signal]) -> Inheritance {
    Inheritance {
        ignored: numbers(signals),
        ..Inheritance::default()
    }
}

fn blocking(signals: &[Signal]) -> Inheritance {
    Inheritance {
        blocked: numbers(signals),
        ..Inheritance::default()
    }
}

fn start(target: &Target, inheritance: Inheritance) -> Outcome<Start<'_>> {
    let start = target.start(Echo).flags(&["--grace", GRACE])?;
    Ok(start.inheriting(inheritance))
}

/// It serves clients, and ends on each of these signals while they are connected.
fn serves_and_stops(target: &Target, inheritance: &Inheritance, signals: &[Signal]) -> Outcome {
    for &signal in signals {
        let server = start(target, inheritance.clone())?.ready()?;
        let mut clients = server.connect_many(target.clients_at_once(5))?;
        for client in &mut clients {
            client.round_trip(b"hello")?;
        }
        server.group()?.signal_leader(signal);
        server.ended_cleanly(signal.as_str())?;
    }
    Ok(())
}

fn signals_ignored(target: &Target) -> Outcome {
    serves_and_stops(target, &ignoring(&SIGNALS), &[Signal::SIGTERM])
}

fn interrupt_ignored(target: &Target) -> Outcome {
    let ignored = [Signal::SIGINT, Signal::SIGHUP];
    let server = start(target, ignoring(&ignored))?.ready()?;
    for signal in ignored {
        server.group()?.signal_leader(signal);
        // A server that stops may still serve the first one.
        for _ in 0..3 {
            server.still_serves()?;
        }
    }
    server.group()?.signal_leader(Signal::SIGTERM);
    server.ended_cleanly("SIGTERM").map(drop)
}

fn signals_blocked(target: &Target) -> Outcome {
    let signals = [Signal::SIGTERM, Signal::SIGINT];
    serves_and_stops(target, &blocking(&SIGNALS), &signals)
}

fn second_signal_ends(server: Server) -> Outcome {
    let _stuck = server.stuck_clients(1, &pattern(1, 64 * 1024))?;
    let group = server.group()?;
    group.signal_leader(Signal::SIGTERM);
    // A closed listener shows that the server has taken the first signal.
    let closed = || server.connect().is_err();
    eventually(server.patience, "the listener is closed", closed)?;
    group.signal_leader(Signal::SIGTERM);
    let exit = server.wait()?;
    ensure(exit.left_behind == 0, "no process left behind", exit)
}

fn second_signal(target: &Target) -> Outcome {
    for inheritance in [ignoring(&SIGNALS), blocking(&SIGNALS)] {
        second_signal_ends(start(target, inheritance)?.ready()?)?;
    }
    Ok(())
}

fn dead_children(target: &Target) -> Outcome {
    for inheritance in [
        ignoring(&[Signal::SIGCHLD]),
        blocking(&[Signal::SIGCHLD, Signal::SIGALRM]),
    ] {
        let server = start(target, inheritance)?
            .flags(&["--max-connections", "2"])?
            .ready()?;
        for _ in 0..5 {
            server.still_serves()?;
        }
        let group = server.group()?;
        let killed = group.children();
        for &worker in &killed {
            let _ = nix::sys::signal::kill(worker, Signal::SIGKILL);
        }
        // A worker that has not quite ended may still take a client with it.
        eventually(server.patience, "the killed workers have ended", || {
            let alive = group.processes().into_iter();
            let mut alive = alive.filter(|stat| stat.state != 'Z');
            !alive.any(|stat| killed.contains(&nix::unistd::Pid::from_raw(stat.pid)))
        })?;
        for _ in 0..5 {
            server.still_serves()?;
        }
        group.signal_leader(Signal::SIGTERM);
        server.ended_cleanly("SIGTERM")?;
    }
    Ok(())
}

fn alarm(target: &Target) -> Outcome {
    let inheritance = Inheritance {
        alarm: Some(1),
        ..Inheritance::default()
    };
    let exit = match start(target, inheritance)?.ready_or_exit()? {
        Ok(server) => server.wait()?,
        Err(exit) => exit,
    };
    ensure(
        exit.status.signal() == Some(Signal::SIGALRM as i32),
        "an end by SIGALRM, which the parent has asked for",
        exit,
    )
}

fn child(target: &Target) -> Outcome {
    let inheritance = Inheritance {
        child: true,
        ..Inheritance::default()
    };
    let server = start(target, inheritance)?
        .flags(&["--max-connections", "1"])?
        .ready()?;
    for _ in 0..3 {
        server.still_serves()?;
    }
    server.group()?.signal_leader(Signal::SIGTERM);
    server.ended_cleanly("SIGTERM").map(drop)
}

fn first_process(target: &Target) -> Outcome {
    let start = || {
        let inheritance = Inheritance {
            first_process: true,
            ..Inheritance::default()
        };
        match start(target, inheritance)?.ready_or_exit()? {
            Ok(server) => Ok(server),
            Err(exit) if exit.stderr.contains("EPERM") => {
                skipped("this process may not make a process namespace")
            }
            Err(exit) => failed("the server starts", exit),
        }
    };
    let server = start()?;
    server.still_serves()?;
    server.group()?.signal_leader(Signal::SIGTERM);
    server.ended_cleanly("SIGTERM")?;
    second_signal_ends(start()?)
}

fn descriptors(target: &Target) -> Outcome {
    const LIMIT: u64 = 64;
    let server = start(
        target,
        Inheritance {
            descriptors: Some((200, 100)),
            ..Inheritance::default()
        },
    )?
    .limit(Limit::hard(Resource::Descriptors, LIMIT));
    match server.ready_or_exit()? {
        Ok(server) => server.still_serves(),
        Err(exit) => {
            // Some models need more than that for themselves.
            let plain = target.start(Echo);
            let plain = plain.limit(Limit::hard(Resource::Descriptors, LIMIT));
            match plain.ready_or_exit()? {
                Err(_) => skipped(format!("does not start with {LIMIT} descriptors")),
                Ok(_) => failed("it starts as without the inherited descriptors", exit),
            }
        }
    }
}

//! Nobody reads what the server prints, or the device is full.

use supervisor::Mode::Echo;
use supervisor::{Exit, Launch, Outlet};

use crate::case::{Case, program_case};
use crate::client::{Slices, in_parallel, pattern};
use crate::outcome::{Outcome, ensure};
use crate::target::{Target, wait_for_end};

pub const CASES: &[Case] = &[
    program_case(
        Echo,
        "readers::trace_unread",
        "--trace to a pipe that nobody reads: clients are served, and the server stops",
        trace_unread,
    ),
    program_case(
        Echo,
        "readers::stdout_unread",
        "the ready line and --stats to a pipe that nobody reads: it serves and stops",
        stdout_unread,
    ),
    program_case(
        Echo,
        "readers::full_device",
        "--describe and --help that cannot be written: code 1",
        full_device,
    ),
    program_case(
        Echo,
        "readers::messages_unwritten",
        "a message that cannot be written does not change the exit code",
        messages_unwritten,
    ),
];

fn trace_unread(target: &Target) -> Outcome {
    let server = target
        .start(Echo)
        .flags(&["--trace"])?
        .saying_to(Outlet::Read, Outlet::Unread)
        .ready()?;
    let clients = server.connect_many(target.clients_at_once(4))?;
    in_parallel(clients, |seed, client| {
        client.exchange(&pattern(seed, 100_000), Slices::Of(1_000))
    })?;
    server.stop()?;
    Ok(())
}

fn stdout_unread(target: &Target) -> Outcome {
    let server = target
        .start(Echo)
        .flags(&["--stats"])?
        .saying_to(Outlet::Unread, Outlet::Read)
        .ready_at_a_port()?;
    server.still_serves()?;
    server.stop()?;
    Ok(())
}

/// Runs the program with these flags, and its output going there.
fn run(target: &Target, flags: &[&str], stdout: Outlet, stderr: Outlet) -> Outcome<Exit> {
    let mut command = target.command()?;
    command.extend(flags.iter().map(Into::into));
    let launch = Launch {
        stdout,
        stderr,
        ..Launch::new(command)
    };
    wait_for_end(target.spawn(&launch)?, target.patience)
}

fn full_device(target: &Target) -> Outcome {
    for flag in ["--describe", "--help", "--version"] {
        let exit = run(target, &[flag], Outlet::FullDevice, Outlet::Read)?;
        ensure(
            exit.code() == Some(1) && exit.stderr.lines().count() == 1,
            format!("{flag} that cannot be written: code 1 and one line on stderr"),
            format!("{exit}, stderr {:?}", exit.stderr),
        )?;
    }
    Ok(())
}

fn messages_unwritten(target: &Target) -> Outcome {
    for stderr in [Outlet::FullDevice, Outlet::Unread] {
        for (flags, code) in [
            (["--no-such-flag", "1"], 2),
            // No address of this machine (RFC 5737).
            (["--listen", "192.0.2.1:1"], 1),
        ] {
            let exit = run(target, &flags, Outlet::Read, stderr)?;
            ensure(
                exit.code() == Some(code),
                format!("code {code} for {} with {stderr:?} as stderr", flags[0]),
                exit,
            )?;
        }
    }
    Ok(())
}

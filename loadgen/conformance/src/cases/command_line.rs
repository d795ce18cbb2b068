//! Flags, addresses, and what is printed on stdout and stderr.

use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};

use crate::case::{Case, program_case};
use crate::client::{Slices, pattern};
use crate::outcome::{Outcome, ensure, skipped};
use crate::target::Target;
use supervisor::Exit;
use supervisor::Mode::Echo;

pub const CASES: &[Case] = &[
    program_case(
        Echo,
        "command_line::unknown_flag",
        "an unknown flag: one line on stderr, exit 2",
        |target| refused(target, &["--no-such-flag"], 2),
    ),
    program_case(
        Echo,
        "command_line::surplus_argument",
        "an argument too many: one line on stderr, exit 2",
        |target| refused(target, &["surplus"], 2),
    ),
    program_case(
        Echo,
        "command_line::bad_mode",
        "an unknown mode: one line on stderr, exit 2",
        |target| refused(target, &["--mode", "shout"], 2),
    ),
    program_case(
        Echo,
        "command_line::bad_address",
        "malformed addresses: one line on stderr, exit 2",
        bad_address,
    ),
    program_case(
        Echo,
        "command_line::bad_numbers",
        "wrong counts: one line on stderr, exit 2",
        bad_numbers,
    ),
    program_case(
        Echo,
        "command_line::bad_durations",
        "wrong durations: one line on stderr, exit 2",
        bad_durations,
    ),
    program_case(
        Echo,
        "command_line::port_in_use",
        "an address in use: one line on stderr, exit 1",
        port_in_use,
    ),
    program_case(
        Echo,
        "command_line::foreign_address",
        "an address of another machine: one line on stderr, exit 1",
        foreign_address,
    ),
    program_case(Echo, "command_line::ipv6", "--listen [::1]:0", ipv6),
    program_case(
        Echo,
        "command_line::any_address",
        "--listen 0.0.0.0:0",
        any_address,
    ),
    program_case(
        Echo,
        "command_line::no_other_address",
        "--listen 127.0.0.1:0: other addresses of the machine are closed",
        no_other_address,
    ),
    program_case(
        Echo,
        "command_line::ready_line",
        "the ready line is the only output on stdout",
        ready_line,
    ),
    program_case(
        Echo,
        "command_line::help",
        "--help lists the flags and exits 0",
        help,
    ),
    program_case(
        Echo,
        "command_line::describe",
        "--describe: name, family, summary, all flags of the contract, limits",
        describe,
    ),
    program_case(
        Echo,
        "command_line::trace",
        "--trace prints on stderr what the server waits for, and changes nothing else",
        trace,
    ),
];

/// Runs the program, which must refuse with one clear line and this exit code.
fn refused(target: &Target, flags: &[&str], code: i32) -> Outcome {
    let exit = target.run(flags)?;
    refused_clearly(&exit, code, &flags.join(" "))
}

fn refused_clearly(exit: &Exit, code: i32, flags: &str) -> Outcome {
    let one_line = exit.stderr.trim_end().lines().count() == 1 && exit.stderr.trim().len() > 10;
    ensure(
        exit.code() == Some(code) && one_line && exit.stdout.is_empty(),
        format!("`{flags}`: one clear line on stderr, nothing on stdout, exit {code}"),
        format!("{exit}, stdout {:?}, stderr {:?}", exit.stdout, exit.stderr),
    )
}

fn bad_address(target: &Target) -> Outcome {
    ["nonsense", "127.0.0.1", "127.0.0.1:70000", "[::1]", ""]
        .iter()
        .try_for_each(|address| refused(target, &["--listen", address], 2))
}

/// Tries wrong values for each of the flags that the server has.
fn refuses_values(target: &Target, flags: &[&str], values: &[&str]) -> Outcome {
    for flag in flags {
        if target.offers(flag)? {
            for value in values {
                refused(target, &[flag, value], 2)?;
            }
        }
    }
    Ok(())
}

fn bad_numbers(target: &Target) -> Outcome {
    let flags = [
        "--max-connections",
        "--buffer-size",
        "--backlog",
        "--workers",
    ];
    refuses_values(
        target,
        &flags,
        &["0", "-1", "many", "99999999999999999999", ""],
    )
}

fn bad_durations(target: &Target) -> Outcome {
    refuses_values(
        target,
        &["--work", "--block", "--idle-timeout", "--grace"],
        &["-1s", "soon", "5 parsecs", ""],
    )?;
    refuses_values(
        target,
        &["--work", "--block"],
        &[
            "exp:", "exp:soon", "1ms@", "1ms@0%", "1ms@101%", "1ms@1", "@1%",
        ],
    )
}

fn port_in_use(target: &Target) -> Outcome {
    let Ok(taken) = TcpListener::bind("127.0.0.1:0") else {
        return skipped("no port on 127.0.0.1");
    };
    let Ok(address) = taken.local_addr() else {
        return skipped("no port on 127.0.0.1");
    };
    refused(target, &["--listen", &address.to_string()], 1)?;
    // Also when the other server is the same program.
    let server = target.serve(Echo)?;
    refused(target, &["--listen", &server.address.to_string()], 1)?;
    server.still_serves()
}

fn foreign_address(target: &Target) -> Outcome {
    // 192.0.2.0/24 is set aside for documentation.
    refused(target, &["--listen", "192.0.2.1:0"], 1)
}

fn ipv6(target: &Target) -> Outcome {
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        return skipped("this machine has no IPv6");
    }
    let server = target.start(Echo).listen("[::1]:0").ready()?;
    let right = server.address.ip() == Ipv6Addr::LOCALHOST && server.address.port() != 0;
    ensure(right, "listening on [::1]:PORT", server.address)?;
    server
        .connect()?
        .exchange(&pattern(1, 10_000), Slices::Whole)
}

fn any_address(target: &Target) -> Outcome {
    let mut server = target.start(Echo).listen("0.0.0.0:0").ready()?;
    server.address = SocketAddr::from(([127, 0, 0, 1], server.address.port()));
    server.still_serves()
}

fn no_other_address(target: &Target) -> Outcome {
    let server = target.serve(Echo)?;
    // All of 127.0.0.0/8 is this machine.
    let other = SocketAddr::from(([127, 0, 0, 2], server.address.port()));
    let reached = TcpStream::connect(other).is_ok();
    ensure(
        !reached,
        "a refused connection",
        format!("a connection to {other}"),
    )?;
    server.still_serves()
}

fn ready_line(target: &Target) -> Outcome {
    let server = target.serve(Echo)?;
    let line = format!("listening on {}\n", server.address);
    server.still_serves()?;
    let exit = server.stop()?;
    ensure(
        exit.stdout == line,
        format!("{line:?} on stdout"),
        format!("{:?}", exit.stdout),
    )
}

fn help(target: &Target) -> Outcome {
    let exit = target.run(&["--help"])?;
    ensure(
        exit.code() == Some(0) && exit.stdout.contains("--listen"),
        "the flags, exit 0",
        exit,
    )
}

const FLAGS: &[&str] = &[
    "--listen",
    "--mode",
    "--max-connections",
    "--buffer-size",
    "--backlog",
    "--work",
    "--block",
    "--idle-timeout",
    "--grace",
    "--cpu",
    "--trace",
    "--trace-to",
    "--stats",
    "--describe",
];

fn describe(target: &Target) -> Outcome {
    let description = target.describe_with(&[])?;
    for (key, value) in [
        ("name", &description.name),
        ("family", &description.family),
        ("summary", &description.summary),
    ] {
        ensure(!value.trim().is_empty(), format!("a {key}"), "nothing")?;
    }
    for flag in FLAGS {
        ensure(
            description.flags.iter().any(|f| f == flag),
            format!("{flag} in `flags`"),
            format!("{:?}", description.flags),
        )?;
    }
    if description.limits.clients.is_some() {
        let why = description.limits.why.unwrap_or_default();
        ensure(
            !why.trim().is_empty(),
            "`limits.why` beside `limits.clients`",
            "nothing",
        )?;
    }
    Ok(())
}

fn trace(target: &Target) -> Outcome {
    let server = target.start(Echo).flags(&["--trace"])?.ready()?;
    let line = format!("listening on {}\n", server.address);
    server
        .connect()?
        .exchange(&pattern(1, 10_000), Slices::Whole)?;
    let exit = server.stop()?;
    ensure(
        exit.stdout == line,
        format!("{line:?} on stdout"),
        format!("{:?}", exit.stdout),
    )?;
    let lines = exit.stderr.lines().count();
    ensure(lines >= 3, "some lines on stderr", format!("{lines}"))
}

//! Flags, what is said on stdout and stderr, and addresses.

use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};

use crate::client::{Slices, pattern};
use crate::life::still_serves;
use crate::process::Exit;
use crate::{Case, Subject, Tried, ensure, owning, skipped};
use supervisor::Mode::Echo;

pub const CASES: &[Case] = &[
    owning(
        Echo,
        "command_line::unknown_flag",
        "an unknown flag: one line on stderr, exit 2",
        |s| refused(s, &["--no-such-flag"], 2),
    ),
    owning(
        Echo,
        "command_line::surplus_argument",
        "an argument too many: one line on stderr, exit 2",
        |s| refused(s, &["surplus"], 2),
    ),
    owning(
        Echo,
        "command_line::bad_mode",
        "an unknown mode: one line on stderr, exit 2",
        |s| refused(s, &["--mode", "shout"], 2),
    ),
    owning(
        Echo,
        "command_line::bad_address",
        "addresses that are none: one line on stderr, exit 2",
        bad_address,
    ),
    owning(
        Echo,
        "command_line::bad_numbers",
        "counts that are none: one line on stderr, exit 2",
        bad_numbers,
    ),
    owning(
        Echo,
        "command_line::bad_durations",
        "durations that are none: one line on stderr, exit 2",
        bad_durations,
    ),
    owning(
        Echo,
        "command_line::port_in_use",
        "an address in use: one line on stderr, exit 1",
        port_in_use,
    ),
    owning(
        Echo,
        "command_line::foreign_address",
        "an address of another machine: one line on stderr, exit 1",
        foreign_address,
    ),
    owning(Echo, "command_line::ipv6", "--listen [::1]:0", ipv6),
    owning(
        Echo,
        "command_line::any_address",
        "--listen 0.0.0.0:0",
        any_address,
    ),
    owning(
        Echo,
        "command_line::no_other_address",
        "--listen 127.0.0.1:0: nobody is let in by another address of the machine",
        no_other_address,
    ),
    owning(
        Echo,
        "command_line::ready_line",
        "the ready line is all that is said on stdout",
        ready_line,
    ),
    owning(
        Echo,
        "command_line::help",
        "--help tells the flags and exits 0",
        help,
    ),
    owning(
        Echo,
        "command_line::describe",
        "--describe: name, family, summary, all flags of the contract, limits",
        describe,
    ),
    owning(
        Echo,
        "command_line::stats",
        "--stats: one JSON line whose counts are right",
        stats,
    ),
    owning(
        Echo,
        "command_line::trace",
        "--trace tells on stderr what is waited for, and changes nothing else",
        trace,
    ),
];

/// Runs the program, which must refuse with one clear line and this exit code.
fn refused(s: &Subject, flags: &[&str], code: i32) -> Tried {
    let exit = s.run(flags)?;
    refused_clearly(&exit, code, &flags.join(" "))
}

fn refused_clearly(exit: &Exit, code: i32, flags: &str) -> Tried {
    let one_line = exit.stderr.trim_end().lines().count() == 1 && exit.stderr.trim().len() > 10;
    ensure(
        exit.code() == Some(code) && one_line && exit.stdout.is_empty(),
        format!("`{flags}`: one clear line on stderr, nothing on stdout, exit {code}"),
        format!("{exit}, stdout {:?}, stderr {:?}", exit.stdout, exit.stderr),
    )
}

fn bad_address(s: &Subject) -> Tried {
    ["nonsense", "127.0.0.1", "127.0.0.1:70000", "[::1]", ""]
        .iter()
        .try_for_each(|address| refused(s, &["--listen", address], 2))
}

/// Tries wrong values for those of the flags that the server has.
fn refuses_values(s: &Subject, flags: &[&str], values: &[&str]) -> Tried {
    for flag in flags {
        if s.offers(flag)? {
            for value in values {
                refused(s, &[flag, value], 2)?;
            }
        }
    }
    Ok(())
}

fn bad_numbers(s: &Subject) -> Tried {
    let flags = [
        "--max-connections",
        "--buffer-size",
        "--backlog",
        "--workers",
    ];
    refuses_values(s, &flags, &["0", "-1", "many", "99999999999999999999", ""])
}

fn bad_durations(s: &Subject) -> Tried {
    refuses_values(
        s,
        &["--work", "--idle-timeout", "--grace"],
        &["-1s", "soon", "5 parsecs", ""],
    )
}

fn port_in_use(s: &Subject) -> Tried {
    let Ok(taken) = TcpListener::bind("127.0.0.1:0") else {
        return skipped("no port on 127.0.0.1");
    };
    let Ok(address) = taken.local_addr() else {
        return skipped("no port on 127.0.0.1");
    };
    refused(s, &["--listen", &address.to_string()], 1)?;
    // Nor beside another server of its own kind.
    let server = s.serve(Echo)?;
    refused(s, &["--listen", &server.address.to_string()], 1)?;
    still_serves(&server)
}

fn foreign_address(s: &Subject) -> Tried {
    // 192.0.2.0/24 is set aside for documentation.
    refused(s, &["--listen", "192.0.2.1:0"], 1)
}

fn ipv6(s: &Subject) -> Tried {
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        return skipped("this machine has no IPv6");
    }
    let server = s.launch(Echo).listen("[::1]:0").start()?;
    let right = server.address.ip() == Ipv6Addr::LOCALHOST && server.address.port() != 0;
    ensure(right, "listening on [::1]:PORT", server.address)?;
    server
        .connect()?
        .exchange(&pattern(1, 10_000), Slices::Whole)
}

fn any_address(s: &Subject) -> Tried {
    let mut server = s.launch(Echo).listen("0.0.0.0:0").start()?;
    server.address = SocketAddr::from(([127, 0, 0, 1], server.address.port()));
    still_serves(&server)
}

fn no_other_address(s: &Subject) -> Tried {
    let server = s.serve(Echo)?;
    // All of 127.0.0.0/8 is this machine.
    let other = SocketAddr::from(([127, 0, 0, 2], server.address.port()));
    let reached = TcpStream::connect(other).is_ok();
    ensure(
        !reached,
        "a refused connection",
        format!("a connection to {other}"),
    )?;
    still_serves(&server)
}

fn ready_line(s: &Subject) -> Tried {
    let server = s.serve(Echo)?;
    let line = format!("listening on {}\n", server.address);
    still_serves(&server)?;
    let exit = server.stop()?;
    ensure(
        exit.stdout == line,
        format!("{line:?} on stdout"),
        format!("{:?}", exit.stdout),
    )
}

fn help(s: &Subject) -> Tried {
    let exit = s.run(&["--help"])?;
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
    "--idle-timeout",
    "--grace",
    "--cpu",
    "--trace",
    "--stats",
    "--describe",
];

fn describe(s: &Subject) -> Tried {
    let description = s.describe(&[])?;
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

fn stats(s: &Subject) -> Tried {
    let server = s.launch(Echo).flags(&["--stats"])?.start()?;
    for seed in 0..3 {
        server
            .connect()?
            .exchange(&pattern(seed, 10_000), Slices::Whole)?;
    }
    let exit = server.stop()?;
    let stats = exit.stats()?;
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

fn trace(s: &Subject) -> Tried {
    let server = s.launch(Echo).flags(&["--trace"])?.start()?;
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

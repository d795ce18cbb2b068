//! `loadgen check`: the suite from the command line.

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{anyhow, bail};
use conformance::{Case, PATIENCE, Target, cases};
use supervisor::{Mode, Unable, has_placeholder};

use super::EXIT_USAGE;
use crate::workload::address::{Address, parse_address};
use crate::workload::target::{self as server, Addresses, Scheme};
use crate::{check, console};

/// Check a server against the contract, case by case
///
/// With an address the cases that must start the server themselves are skipped. With --server each case starts the
/// program for itself. A program that does not have the flags of the server contract needs {port} or {addr} among
/// its arguments, which says where to listen.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  loadgen check 127.0.0.1:7000
  loadgen check --server target/release/epoll-server
  loadgen check --server socat 'TCP-LISTEN:{port},fork,reuseaddr' EXEC:cat

Exit codes: 0 no case failed, 1 some did or no server is there, 2 bad usage, 3 this machine cannot try them.")]
pub struct Args {
    /// A server that runs already: host:port, [v6]:port, a port of this machine or an http:// URL
    #[arg(value_name = "ADDR", conflicts_with = "server", value_parser = parse_address)]
    address: Option<Address>,

    /// Only cases whose name contains this; may be given several times
    #[arg(long, value_name = "PATTERN")]
    case: Vec<String>,

    /// Only cases of this group, such as life; may be given several times
    #[arg(long, value_name = "GROUP")]
    group: Vec<String>,

    /// The protocol of a server that is not of this project: only the cases of that protocol are tried [default:
    /// echo, or http for a URL]
    #[arg(long, value_enum, value_name = "MODE")]
    mode: Option<Mode>,

    /// Print one JSON object a line for each case
    #[arg(long)]
    json: bool,

    /// Print the cases and what they try, and exit
    #[arg(long)]
    list: bool,

    /// Instead of the cases, load the server for this long, such as 2m, with hostile and with well-behaved
    /// clients; every answer to a well-behaved client is verified
    #[arg(long, value_name = "DURATION", value_parser = some_time, requires = "server", conflicts_with_all = ["address", "case", "group", "list", "json"])]
    soak: Option<Duration>,

    /// A server program and its arguments; must come last
    #[arg(long, value_name = "PROGRAM [ARGS]", num_args = 1.., allow_hyphen_values = true)]
    server: Option<Vec<OsString>>,
}

/// Flags of `check` that are refused behind --server: no server of the contract has them.
const OWN_FLAGS: &[&str] = &["--case", "--group", "--json", "--list", "--soak"];

fn some_time(text: &str) -> anyhow::Result<Duration> {
    match humantime::parse_duration(text)? {
        Duration::ZERO => bail!("must be above 0, such as 2m"),
        time => Ok(time),
    }
}

/// Tries the chosen cases, or the soak, and prints the result.
///
/// # Errors
/// When the server cannot be reached, or standard output cannot be written; [`Unable`] when a case could not be tried.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let usage = |error: anyhow::Error| {
        console::say(&format!("loadgen check: {error:#}"));
        Ok(ExitCode::from(EXIT_USAGE))
    };
    let mut chosen = match choose(args) {
        Ok(chosen) => chosen,
        Err(error) => return usage(error),
    };
    if args.list {
        check::list(&chosen)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut target = match target(args) {
        Ok(target) => target,
        Err(error) => return usage(error),
    };
    let at_once = conformance::prepare()?;
    target.ensure_there()?;
    match target.ensure_contract() {
        Err(error) if error.is::<Unable>() => return Err(error),
        Err(error) => return usage(error),
        Ok(()) => {}
    }
    if let Some(mode) = target.only_mode() {
        chosen.retain(|case| case.mode == mode);
        if chosen.is_empty() {
            return usage(anyhow!(
                "none of the chosen cases is for this --mode: see `loadgen check --list`"
            ));
        }
    }
    let passed = if let Some(duration) = args.soak {
        check::soaked(&target, duration)?
    } else {
        // A server at an address may have other users, so it gets one case at a time.
        let threads = if args.server.is_some() { at_once } else { 1 };
        check::check(&chosen, &target, threads, args.json)?
    };
    Ok(if passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn choose(args: &Args) -> anyhow::Result<Vec<Case>> {
    let all = cases();
    for group in &args.group {
        if !all.iter().any(|case| case.group() == group) {
            let mut groups: Vec<_> = all.iter().map(Case::group).collect();
            groups.dedup();
            bail!(
                "no group is called {group}; there are {}",
                groups.join(", ")
            );
        }
    }
    let chosen: Vec<Case> = all
        .into_iter()
        .filter(|case| {
            args.group.is_empty() || args.group.iter().any(|group| case.group() == group)
        })
        .filter(|case| {
            args.case.is_empty() || args.case.iter().any(|part| case.name.contains(part))
        })
        .collect();
    if chosen.is_empty() {
        bail!("no case matches --case and --group: see `loadgen check --list`");
    }
    Ok(chosen)
}

fn target(args: &Args) -> anyhow::Result<Target> {
    match (&args.server, &args.address) {
        (Some(command), _) => {
            let command = command.clone();
            for argument in &command[1..] {
                let word = argument.to_string_lossy();
                let flag = word.split('=').next().unwrap_or_default();
                if OWN_FLAGS.contains(&flag) {
                    bail!("{flag} must come before --server: all that follows is the server's");
                }
            }
            let is_foreign = command.iter().any(|word| has_placeholder(word));
            if is_foreign && args.soak.is_some() {
                bail!("--soak needs a program that has the flags of the server contract");
            }
            Ok(if is_foreign {
                Target::foreign(command, args.mode.unwrap_or(Mode::Echo), PATIENCE)
            } else {
                Target::program(command, PATIENCE)
            })
        }
        (None, Some(address)) => at_address(&address.target, args.mode),
        (None, None) => bail!("give an address, or --server PROGRAM"),
    }
}

fn at_address(server: &server::Target, mode: Option<Mode>) -> anyhow::Result<Target> {
    let Addresses::Tcp(addresses) = &server.addresses else {
        bail!("the cases need TCP: give host:port");
    };
    let mode = match (server.scheme, mode) {
        (Scheme::Plain, mode) => mode.unwrap_or(Mode::Echo),
        (Scheme::Http, None | Some(Mode::Http)) => Mode::Http,
        (Scheme::Http, Some(_)) => {
            bail!("a URL means --mode http: for another mode give host:port")
        }
        (Scheme::Https, _) => bail!("the cases do not speak TLS: give the server's http:// URL"),
    };
    Ok(Target::address(addresses.clone(), mode, PATIENCE))
}

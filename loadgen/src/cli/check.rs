//! `loadgen check`: the suite from the command line.

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use conformance::{Case, Needs, NotPassed, Outcome, PATIENCE, Target, cases, cores, soak};
use serde::Serialize;
use supervisor::{Mode, has_placeholder};

/// Checks a server against the contract, case by case
///
/// With an address the cases that must start the server themselves are skipped. With --server each
/// case starts the program for itself. A program that does not have the flags of the server contract is
/// told where to listen by {port} or {addr} among its arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  loadgen check 127.0.0.1:7000
  loadgen check --server target/release/epoll-server
  loadgen check --server socat 'TCP-LISTEN:{port},fork,reuseaddr' EXEC:cat

Exit codes: 0 no case failed, 1 some did, 2 bad usage.")]
pub struct Args {
    /// A server that runs already: HOST:PORT or [V6]:PORT
    #[arg(value_name = "ADDR", conflicts_with = "server")]
    address: Option<String>,

    /// Only cases whose name contains this; may be given several times
    #[arg(long, value_name = "PATTERN")]
    case: Vec<String>,

    /// Only cases of this group, such as life; may be given several times
    #[arg(long, value_name = "GROUP")]
    group: Vec<String>,

    /// What a server speaks that does not keep the server contract: only these cases are tried
    #[arg(long, value_enum, value_name = "MODE", default_value = "echo")]
    mode: Mode,

    /// Print one JSON object a line for each case
    #[arg(long)]
    json: bool,

    /// Print the cases and what they try, and exit
    #[arg(long)]
    list: bool,

    /// Instead of the cases, mixed hostile load for this long, such as 2m; every polite byte is verified
    #[arg(long, value_name = "DURATION", value_parser = some_time, requires = "server", conflicts_with_all = ["address", "case", "group", "list", "json"])]
    soak: Option<Duration>,

    /// A server program and its arguments; must come last
    #[arg(long, value_name = "PROGRAM [ARGS]", num_args = 1.., allow_hyphen_values = true)]
    server: Option<Vec<OsString>>,
}

/// Flags that are meant for the suite wherever they are: no server of the contract has them.
const OWN_FLAGS: &[&str] = &["--case", "--group", "--json", "--list", "--soak"];

fn some_time(text: &str) -> anyhow::Result<Duration> {
    match humantime::parse_duration(text)? {
        Duration::ZERO => bail!("longer than nothing, such as 2m"),
        time => Ok(time),
    }
}

/// A case's result as `--json` prints it.
#[derive(Debug, Serialize)]
struct Line<'a> {
    case: &'a str,
    about: &'a str,
    /// `pass`, `fail` or `skip`.
    result: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seen: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'a str>,
    /// Seconds.
    seconds: f64,
}

/// Runs the chosen cases and prints a line for each.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let usage = |error: anyhow::Error| {
        eprintln!("loadgen check: {error:#}");
        Ok(ExitCode::from(2))
    };
    let mut chosen = match choose(args) {
        Ok(chosen) => chosen,
        Err(error) => return usage(error),
    };
    if args.list {
        list(&chosen);
        return Ok(ExitCode::SUCCESS);
    }
    let target = match target(args) {
        Ok(target) => target,
        Err(error) => return usage(error),
    };
    conformance::prepare()?;
    target.ensure_there()?;
    if let Err(error) = target.ensure_contract() {
        return usage(error);
    }
    if let Some(mode) = target.only_mode() {
        chosen.retain(|case| case.mode == mode);
        if chosen.is_empty() {
            return usage(anyhow!(
                "none of these cases is for what --mode says is spoken"
            ));
        }
    }
    if let Some(duration) = args.soak {
        return soaked(&target, duration);
    }
    // A server at an address may be anyone's: it gets one case at a time.
    let threads = if args.server.is_some() {
        2 * cores()
    } else {
        1
    };
    let start = Instant::now();
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    let mut printed = Ok(());
    try_all(&chosen, &target, threads, |case, outcome, took| {
        match outcome {
            Ok(()) => passed += 1,
            Err(NotPassed::Failed { .. }) => failed += 1,
            Err(NotPassed::Skipped(_)) => skipped += 1,
        }
        let line = if args.json {
            json(case, outcome, took)
        } else {
            text(case, outcome)
        };
        printed = std::mem::replace(&mut printed, Ok(())).and(print(&line));
    });
    printed.context("cannot write the results")?;
    if !args.json {
        let seconds = start.elapsed().as_secs_f64();
        print(&format!(
            "{passed} passed, {failed} failed, {skipped} skipped in {seconds:.1} s"
        ))?;
    }
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn soaked(target: &Target, duration: Duration) -> anyhow::Result<ExitCode> {
    match soak(target, duration) {
        Ok(soaked) => {
            print(&soaked.to_string())?;
            Ok(ExitCode::SUCCESS)
        }
        Err(NotPassed::Skipped(why)) => {
            print(&format!("skip ({why})"))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(NotPassed::Failed { expected, seen }) => {
            let last_words = target.last_words();
            print(&format!(
                "FAIL: expected {expected}; seen {seen}{last_words}"
            ))?;
            Ok(ExitCode::FAILURE)
        }
    }
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
        bail!("no case is called so; see `loadgen check --list`");
    }
    Ok(chosen)
}

fn list(cases: &[Case]) {
    for case in cases {
        let with = match case.needs {
            Needs::Address => "",
            Needs::Process | Needs::Program => " (with --server)",
        };
        println!("{}: {}{with}", case.name, case.about);
    }
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
                Target::foreign(command, args.mode, PATIENCE)
            } else {
                Target::program(command, PATIENCE)
            })
        }
        (None, Some(address)) => Ok(Target::address(resolve(address)?, args.mode, PATIENCE)),
        (None, None) => bail!("an address or --server PROGRAM is needed"),
    }
}

fn resolve(address: &str) -> anyhow::Result<SocketAddr> {
    let expected = "expected HOST:PORT, such as 127.0.0.1:7000 or [::1]:7000";
    address
        .to_socket_addrs()
        .with_context(|| format!("{address}: {expected}"))?
        .next()
        .with_context(|| format!("{address}: {expected}"))
}

/// Tries the cases in their order, so many at a time, and reports each when it ends.
fn try_all(
    cases: &[Case],
    target: &Target,
    threads: usize,
    mut report: impl FnMut(&Case, &Outcome, Duration),
) {
    let next = AtomicUsize::new(0);
    let (sender, results) = channel();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                while let Some(case) = cases.get(next.fetch_add(1, Relaxed)) {
                    let start = Instant::now();
                    let outcome = case.try_on(target);
                    if sender.send((case, outcome, start.elapsed())).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        for (case, outcome, took) in results {
            report(case, &outcome, took);
        }
    });
}

fn text(case: &Case, outcome: &Outcome) -> String {
    let bold = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    match outcome {
        Ok(()) => format!("pass {}", case.name),
        Err(NotPassed::Skipped(why)) => format!("skip {} ({why})", case.name),
        Err(NotPassed::Failed { expected, seen }) => {
            let (on, off) = if bold {
                ("\x1b[1;31m", "\x1b[0m")
            } else {
                ("", "")
            };
            format!(
                "{on}FAIL{off} {}: {}; expected {expected}; seen {seen}",
                case.name, case.about
            )
        }
    }
}

fn json(case: &Case, outcome: &Outcome, took: Duration) -> String {
    let mut line = Line {
        case: case.name,
        about: case.about,
        result: "pass",
        expected: None,
        seen: None,
        why: None,
        seconds: took.as_secs_f64(),
    };
    match outcome {
        Ok(()) => {}
        Err(NotPassed::Skipped(why)) => (line.result, line.why) = ("skip", Some(why.as_str())),
        Err(NotPassed::Failed { expected, seen }) => {
            (line.result, line.expected, line.seen) =
                ("fail", Some(expected.as_str()), Some(seen.as_str()));
        }
    }
    serde_json::to_string(&line).expect("texts and a number are JSON")
}

fn print(line: &str) -> std::io::Result<()> {
    writeln!(std::io::stdout(), "{line}")
}

//! From the command line to the server's own `serve`, and from its end to the exit code.

use std::ffi::OsString;
use std::io::{self, ErrorKind, Write, stdout};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::panic;
use std::process::{Command, ExitCode};
use std::sync::Once;

use anyhow::Context as _;
use clap::{Arg, Args, CommandFactory, FromArgMatches, Parser};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::prctl::set_timerslack;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::Pid;
use serde_json::json;

use crate::console;
use crate::listener;
use crate::options::Options;
use crate::pace::Pace;
use crate::shared::Shared;
use crate::stats::Stats;
use crate::stop;
use crate::trace::{self, Event};

/// Descriptors kept for the server itself: the listener, the poller, the stop signal and what a
/// library opens for a moment.
const OWN_DESCRIPTORS: usize = 8;

/// What a server is, for `--describe` and `--help`.
#[derive(Debug)]
pub struct Model<F> {
    /// Its name in tables; the program is `<name>-server`.
    pub name: &'static str,
    /// Its family: what does the waiting.
    pub family: &'static str,
    /// One sentence on how it waits.
    pub summary: &'static str,
    /// How many clients it serves at once, and why not more.
    pub limits: fn(&Context, &F) -> Limits,
}

/// How many clients are served at once.
#[derive(Debug)]
pub struct Limits {
    /// How many.
    pub clients: usize,
    /// What sets the limit, and what a stuck client does to the others.
    pub why: String,
}

/// For servers without flags of their own.
#[derive(Debug, Clone, Copy, Args)]
pub struct NoFlags {}

/// What every part of a server can ask for. It lives as long as the process.
#[derive(Debug)]
pub struct Context {
    /// The common flags.
    pub options: Options,
    /// The counters of all processes.
    pub stats: &'static Stats,
    /// What the processes share.
    pub(crate) shared: &'static Shared,
    /// Where the programs that this process starts find it.
    shared_at: Option<OwnedFd>,
    /// The program's name, for what is said on stderr.
    program: String,
    /// How fast `--work` computes.
    pub pace: Pace,
    ended: Once,
    /// Those that are left for clients.
    pub descriptors: usize,
}

impl Context {
    /// How many clients may be open at once: `--max-connections`, or else what the descriptors
    /// allow.
    pub fn max_connections(&self) -> usize {
        let wanted = self.options.max_connections.unwrap_or(usize::MAX);
        wanted.min(self.descriptors)
    }

    /// Some requests demand something before they are answered: `--work` or `--block`.
    pub fn demands(&self) -> bool {
        !self.options.work.is_none() || !self.options.block.is_none()
    }

    /// The limits of a model that nothing but descriptors limits.
    pub fn descriptor_limits(&self) -> Limits {
        let why = "one descriptor for each client (ulimit -Hn), or --max-connections; a stuck client \
                   holds up nobody else";
        Limits {
            clients: self.max_connections(),
            why: why.to_owned(),
        }
    }

    /// Writes one line to stderr, with the program's name.
    pub fn complain(&self, line: std::fmt::Arguments<'_>) {
        console::complain(format_args!("{}: {line}\n", self.program));
    }

    /// Ends the process with its counters printed, whatever its threads are still doing.
    pub fn exit(&self) -> ! {
        self.end();
        std::process::exit(0)
    }

    /// This program once more, with the same flags: the program of a server of [`main_of_programs`],
    /// whatever has become of its file since it was started.
    pub fn program(&self) -> Command {
        let mut command = Command::new("/proc/self/exe");
        let mut words = std::env::args_os();
        command.arg0(words.next().unwrap_or_else(|| self.program.clone().into()));
        command.args(words);
        for variable in listener::ACTIVATION {
            command.env_remove(variable);
        }
        if let Some(memory) = &self.shared_at {
            command.arg("--shared").arg(memory.as_raw_fd().to_string());
        }
        command
    }

    /// Such as `epoll-server`.
    pub(crate) fn program_name(&self) -> &str {
        &self.program
    }

    /// The context of a server with these flags.
    #[cfg(test)]
    pub fn of_flags(flags: &[&str]) -> &'static Self {
        let cli = Cli::<NoFlags>::parse_from([&["server"], flags].concat());
        let shared = Shared::new().expect("memory");
        context("server", cli.options, shared, None).expect("flags that are right")
    }

    /// Once: a server may end while its last threads are left behind.
    fn end(&self) {
        if self.shared.parent().is_some() {
            return;
        }
        self.ended.call_once(|| {
            trace::tell(|| Event::Exit {
                why: "the server has stopped",
            });
            trace::end(&self.program);
            if self.options.stats {
                self.stats.end();
                console::print("--stats", &format!("{}\n", self.stats.to_json()));
            }
        });
    }
}

#[derive(Parser)]
#[command(version)]
struct Cli<F: Args> {
    #[command(flatten)]
    options: Options,
    #[command(flatten)]
    flags: F,
}

/// Parses the command line, answers `--describe`, and runs `serve` until it ends.
///
/// Exit codes: 0 after a stop, 1 when serving failed, 2 for wrong flags.
pub fn main<F: Args>(
    model: &Model<F>,
    serve: fn(&'static Context, F) -> anyhow::Result<()>,
) -> ExitCode {
    run(model, |_| Ok((Shared::new()?, None)), serve)
}

/// The hidden flags that tell [`Context::program`] what to do.
#[derive(Debug, Clone, Copy, Args)]
pub struct ProgramFlags {
    /// It serves this client
    #[arg(long, hide = true, requires = "shared")]
    client: Option<u64>,
    /// Where it finds what it shares with its parent
    #[arg(long, hide = true, requires = "client")]
    shared: Option<RawFd>,
}

/// As [`main`], for a server that starts [`Context::program`] for each client: that one runs
/// `serve_client`, with the client's number.
pub fn main_of_programs(
    model: &Model<ProgramFlags>,
    serve: fn(&'static Context) -> anyhow::Result<()>,
    serve_client: fn(&'static Context, u64) -> anyhow::Result<()>,
) -> ExitCode {
    run(
        model,
        |flags| match flags.shared {
            Some(number) => Ok((Shared::inherited(number)?, None)),
            None => Shared::for_programs().map(|(shared, at)| (shared, Some(at))),
        },
        |context, flags| match flags.client {
            Some(number) => serve_client(context, number),
            None => serve(context),
        },
    )
}

fn run<F: Args>(
    model: &Model<F>,
    share: impl FnOnce(&F) -> anyhow::Result<(&'static Shared, Option<OwnedFd>)>,
    serve: impl FnOnce(&'static Context, F) -> anyhow::Result<()>,
) -> ExitCode {
    panic_without_backtrace();
    let program = format!("{}-server", model.name);
    let command = Cli::<F>::command()
        .name(program.clone())
        .bin_name(program.clone())
        .about(model.summary);
    let shown = command.get_arguments().filter(|flag| !flag.is_hide_set());
    let flags: Vec<String> = shown
        .filter_map(Arg::get_long)
        .map(|long| format!("--{long}"))
        .collect();
    let fail = |error: anyhow::Error, code| {
        console::complain(format_args!("{program}: {error:#}\n"));
        ExitCode::from(code)
    };
    let cli = command
        .try_get_matches()
        .and_then(|matches| Cli::<F>::from_arg_matches(&matches));
    let Cli {
        mut options,
        flags: own,
    } = match cli {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => {
            console::complain(format_args!("{program}: {}\n", one_line(&error)));
            return ExitCode::from(2);
        }
        Err(help) => {
            return check(help.print()).map_or_else(|error| fail(error, 1), |()| ExitCode::SUCCESS);
        }
    };
    if options.listen.is_none() {
        match listener::passed() {
            Ok(passed) => options.listen = passed,
            Err(error) => return fail(error, 2),
        }
    }
    let looked = listener::look(options.listen);
    let (shared, shared_at) = match share(&own).context("no shared memory") {
        Ok(shared) => shared,
        Err(error) => return fail(error, 1),
    };
    let result = if options.describe {
        context(&program, options, shared, shared_at)
            .and_then(|context| describe(model, &flags, context, &own))
    } else if shared.parent().is_none()
        && let Err(error) = looked
    {
        // A program of the server does not listen.
        return fail(error, 1);
    } else if let Err(error) = trace::open(model.name, &options, &shared.trace) {
        return fail(error, 2);
    } else {
        context(&program, options, shared, shared_at).and_then(|context| {
            serve(context, own)?;
            context.end();
            Ok(())
        })
    };
    result.map_or_else(|error| fail(error, 1), |()| ExitCode::SUCCESS)
}

/// A panic is reported without a backtrace (`RUST_BACKTRACE`). A backtrace needs memory: if there is none, the standard
/// library waits forever for a lock that it holds itself, and the server hangs.
fn panic_without_backtrace() {
    panic::set_hook(Box::new(|panic| {
        // An error has no other place to be reported.
        let _ = writeln!(io::stderr(), "{panic}");
    }));
}

fn describe<F>(
    model: &Model<F>,
    names: &[String],
    context: &Context,
    flags: &F,
) -> anyhow::Result<()> {
    let limits = (model.limits)(context, flags);
    let description = json!({
        "name": model.name,
        "family": model.family,
        "summary": model.summary,
        "flags": names,
        "limits": { "clients": limits.clients, "why": limits.why },
    });
    check(writeln!(stdout(), "{description:#}"))
}

/// The text that was asked for was written, or the reader has closed its end.
fn check(written: io::Result<()>) -> anyhow::Result<()> {
    match written.and_then(|()| stdout().flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error).context("stdout"),
        _ => Ok(()),
    }
}

fn context(
    program: &str,
    options: Options,
    shared: &'static Shared,
    shared_at: Option<OwnedFd>,
) -> anyhow::Result<&'static Context> {
    // A program inherits the rest from its parent: limits, cores and pending signals.
    let descriptors = if shared.parent().is_some() {
        1
    } else {
        prepare(&options)?;
        descriptors_left()?
    };
    let pace = if options.work.is_none() {
        Pace::UNKNOWN
    } else {
        Pace::shared(&shared.pace).context("--work: cannot read the clock of CPU time")?
    };
    Ok(Box::leak(Box::new(Context {
        options,
        stats: &shared.stats,
        shared,
        shared_at,
        program: program.to_owned(),
        pace,
        ended: Once::new(),
        descriptors,
    })))
}

/// Undoes inherited settings, and sets what threads, children and programs inherit.
fn prepare(options: &Options) -> anyhow::Result<()> {
    stop::reset_inherited_signals().context("cannot reset the signals")?;
    let cores = || options.cpu.iter().cloned().flatten();
    // First one by one: in a set the kernel ignores cores that do not exist.
    for core in cores() {
        pin([core]).with_context(|| format!("--cpu: cannot be pinned to core {core}"))?;
    }
    if !options.cpu.is_empty() {
        pin(cores()).context("--cpu: cannot be pinned to these cores")?;
    }
    if !options.block.is_none() {
        // A sleep takes 50 us longer than was asked for, unless the timer is to be exact.
        set_timerslack(1).context("--block: cannot make the timer exact")?;
    }
    Ok(())
}

/// Pins the calling thread, and those it starts, to these cores.
pub fn pin(cores: impl IntoIterator<Item = usize>) -> nix::Result<()> {
    let mut set = CpuSet::new();
    for core in cores {
        set.set(core)?;
    }
    sched_setaffinity(Pid::from_raw(0), &set)
}

/// Raises the soft descriptor limit to the hard one; returns how many there are for clients.
fn descriptors_left() -> anyhow::Result<usize> {
    let (_, limit) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, limit, limit).context("cannot set the descriptor limit")?;
    // Inherited descriptors with a number below the limit count, because they take room there.
    let in_use = std::fs::read_dir("/proc/self/fd").map_or(3, |entries| {
        let fd = |name: OsString| name.to_str()?.parse::<u64>().ok();
        let fds = entries.filter_map(|entry| fd(entry.ok()?.file_name()));
        fds.filter(|&fd| fd < limit).count()
    });
    (limit as usize)
        .checked_sub(in_use + OWN_DESCRIPTORS)
        .filter(|&left| left > 0)
        .with_context(|| format!("a limit of {limit} descriptors is too low: raise it (ulimit -n)"))
}

/// Clap explains an error in paragraphs; a wrong flag gets one line.
fn one_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let lines = text.lines().map(str::trim);
    let rest = ["Usage:", "For more information"];
    let told =
        lines.filter(|line| !line.is_empty() && !rest.iter().any(|rest| line.starts_with(rest)));
    let told = told.collect::<Vec<_>>().join("; ");
    let told = told.trim_start_matches("error: ");
    format!("{told} (--help lists the flags)")
}

//! From the command line to the server's own `serve`, and from its end to the exit code.

use std::io::{ErrorKind, Write};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context as _;
use clap::{Args, CommandFactory, FromArgMatches, Parser};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::json;

use crate::console;
use crate::options::Options;
use crate::stats::Stats;
use crate::stop;

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
    /// Descriptors it can use at most, from 0 to one less than this; `None`: as many as the
    /// process may have.
    pub descriptors: Option<usize>,
    /// How many clients it serves at once, and why not more.
    pub limits: fn(&Context, &F) -> Limits,
}

/// How many clients are served at once.
#[derive(Debug)]
pub struct Limits {
    /// `None`: nothing but the machine limits it.
    pub clients: Option<usize>,
    /// What sets the limit, and what a stuck client does to the others.
    pub why: String,
}

/// With `--trace`, tells of a wait, of what was ready or of what was done about it.
#[macro_export]
macro_rules! trace {
    ($context:expr, $($line:tt)*) => {
        if $context.options.trace {
            $context.tell(format_args!($($line)*));
        }
    };
}

/// For servers without flags of their own.
#[derive(Debug, Clone, Copy, Args)]
pub struct NoFlags {}

/// What every part of a server can ask for. It lives as long as the process.
#[derive(Debug)]
pub struct Context {
    /// The common flags.
    pub options: Options,
    /// The counters, shared with forked children.
    pub stats: &'static Stats,
    started: Instant,
    process: u32,
    descriptors: usize,
}

impl Context {
    /// How many clients may be open at once: `--max-connections`, or else what the descriptors
    /// allow.
    pub fn max_connections(&self) -> usize {
        self.options
            .max_connections
            .unwrap_or(self.descriptors)
            .min(self.descriptors)
    }

    /// As [`Context::max_connections`], where the server keeps `own` descriptors to itself, and
    /// these are more than a few; 0 if that leaves none.
    pub fn max_connections_beside(&self, own: usize) -> usize {
        let left = self.descriptors + OWN_DESCRIPTORS;
        self.max_connections().min(left.saturating_sub(own))
    }

    /// The limits of a model that nothing but descriptors limits.
    pub fn descriptor_limits(&self) -> Limits {
        let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
        let why = match self.options.max_connections {
            Some(n) if n <= self.descriptors => "--max-connections".to_owned(),
            _ => format!("one descriptor for each client, of the {limit} it may have (ulimit -Hn)"),
        };
        Limits {
            clients: Some(self.max_connections()),
            why: format!("{why}; a stuck client holds its own place and nobody else's"),
        }
    }

    /// Writes one line to stderr: seconds since the start, in a child its process number, then
    /// `line`. See [`crate::trace!`].
    pub fn tell(&self, line: std::fmt::Arguments<'_>) {
        let seconds = self.started.elapsed().as_secs_f64();
        let process = match std::process::id() {
            parent if parent == self.process => String::new(),
            child => format!("[{child}] "),
        };
        console::trace(&format!("{seconds:11.6} {process}{line}\n"));
    }

    /// Ends the process with its counters printed, whatever its threads are still doing.
    pub fn exit(&self) -> ! {
        self.print_stats();
        std::process::exit(0)
    }

    /// As a server with these flags would have it.
    #[cfg(test)]
    pub fn of_flags(flags: &[&str]) -> &'static Self {
        let cli = Cli::<NoFlags>::parse_from([&["server"], flags].concat());
        context(cli.options, None).expect("flags that are right")
    }

    fn print_stats(&self) {
        if self.options.stats {
            self.stats.end();
            console::print("--stats", &format!("{}\n", self.stats.to_json()));
        }
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
    let program = format!("{}-server", model.name);
    let command = Cli::<F>::command()
        .name(program.clone())
        .bin_name(program.clone())
        .about(model.summary);
    let flags = command
        .get_arguments()
        .filter_map(|arg| arg.get_long())
        .map(|long| format!("--{long}"))
        .collect::<Vec<_>>();
    let cli = command
        .try_get_matches()
        .and_then(|matches| Cli::<F>::from_arg_matches(&matches));
    let cli = match cli {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => {
            console::complain(format_args!("{program}: {}\n", one_line(&error)));
            return ExitCode::from(2);
        }
        Err(help) => return told(&program, write!(std::io::stdout(), "{help}")),
    };
    let describe = cli.options.describe;
    let context = match context(cli.options, model.descriptors) {
        Ok(context) => context,
        Err(error) => return failed(&program, &error),
    };
    if describe {
        let limits = (model.limits)(context, &cli.flags);
        let description = json!({
            "name": model.name,
            "family": model.family,
            "summary": model.summary,
            "flags": flags,
            "limits": { "clients": limits.clients, "why": limits.why },
        });
        return told(&program, writeln!(std::io::stdout(), "{description:#}"));
    }
    match serve(context, cli.flags) {
        Ok(()) => {
            context.print_stats();
            ExitCode::SUCCESS
        }
        Err(error) => failed(&program, &error),
    }
}

fn failed(program: &str, error: &anyhow::Error) -> ExitCode {
    console::complain(format_args!("{program}: {error:#}\n"));
    ExitCode::FAILURE
}

/// What was asked for was written, or the reader had seen enough.
fn told(program: &str, written: std::io::Result<()>) -> ExitCode {
    match written.and_then(|()| std::io::stdout().flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            failed(program, &anyhow::Error::from(error).context("stdout"))
        }
        _ => ExitCode::SUCCESS,
    }
}

fn context(options: Options, descriptors: Option<usize>) -> anyhow::Result<&'static Context> {
    stop::reset_inherited_signals().context("cannot reset the signals")?;
    if let Some(cpus) = &options.cpu {
        // One by one first: of a set the kernel ignores the cores that there are not.
        for &cpu in &cpus.0 {
            pin(&[cpu]).with_context(|| format!("--cpu: cannot be pinned to core {cpu}"))?;
        }
        pin(&cpus.0).context("--cpu: cannot be pinned to these cores")?;
    }
    let stats = Stats::shared().context("no shared memory for the counters")?;
    let started = Instant::now();
    let descriptors = set_descriptor_limit(descriptors)?;
    Ok(Box::leak(Box::new(Context {
        options,
        stats,
        started,
        process: std::process::id(),
        descriptors,
    })))
}

/// Pins the calling thread, and those it starts, to these cores.
pub fn pin(cpus: &[usize]) -> nix::Result<()> {
    let mut set = nix::sched::CpuSet::new();
    for &cpu in cpus {
        set.set(cpu)?;
    }
    nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &set)
}

/// Raises the soft descriptor limit to the hard one, or sets it to what the model can use; tells
/// how many are left for clients.
fn set_descriptor_limit(usable: Option<usize>) -> anyhow::Result<usize> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let soft = usable.map_or(hard, |usable| hard.min(usable as u64));
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).context("cannot set the descriptor limit")?;
    descriptors_left(soft as usize)
}

/// How many of the first `limit` descriptors clients can have.
fn descriptors_left(limit: usize) -> anyhow::Result<usize> {
    // What was inherited counts where its number is below the limit: there it takes room.
    let in_use = std::fs::read_dir("/proc/self/fd").map_or(3, |entries| {
        entries
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter(|&fd: &usize| fd < limit)
            .count()
    });
    limit
        .checked_sub(in_use + OWN_DESCRIPTORS)
        .filter(|&left| left > 0)
        .with_context(|| format!("a limit of {limit} descriptors is too low (ulimit -n)"))
}

/// Clap explains itself in a paragraph; a wrong flag is told in one line.
fn one_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let told: Vec<&str> = text
        .lines()
        .take_while(|line| !line.starts_with("Usage:"))
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("For more information"))
        .collect();
    format!(
        "{} (--help lists the flags)",
        told.join(" ").trim_start_matches("error: ")
    )
}

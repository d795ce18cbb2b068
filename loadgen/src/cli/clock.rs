//! `loadgen clock`: how far the clocks of other hosts are off.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::bail;
use clap::Args;

use crate::console::{print, say};
use crate::observe::clock_offset::{HostClock, answer};
use crate::results::clocks::Clocks;
use crate::results::trial::SCHEMA_VERSION;

/// This many hosts are asked at the same time. If there were more, their answers would wait for each other here
/// and seem late.
const AT_A_TIME: usize = 4;

/// The flags of `loadgen clock`.
#[derive(Debug, Args)]
#[command(after_help = "\
Each host is asked a dozen times over one session. The shortest exchange counts: the clock is known to half of its time. \
`loadgen merge --clocks FILE` uses the file: ask shortly before the shards start, or after they have ended.

Examples:
  loadgen clock 'ssh h1 loadgen' 'ssh h2 loadgen' --out clocks.json
  loadgen clock 'kubectl exec -i loadgen-0-x7k2p -- loadgen'

Exit codes: 0 done, 1 a host did not answer (the file has the others), 2 bad usage.")]
pub struct ClockArgs {
    /// A command that runs loadgen on a host
    #[arg(required_unless_present = "answer", value_name = "COMMAND", value_parser = parse_command)]
    hosts: Vec<Words>,

    /// Write what was found, for `loadgen merge --clocks`
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Answer on standard output the questions that come on standard input
    #[arg(long, hide = true, conflicts_with_all = ["hosts", "out"])]
    answer: bool,
}

/// A command, as a shell would divide it.
#[derive(Debug, Clone)]
struct Words(Vec<String>);

fn parse_command(text: &str) -> Result<Words, &'static str> {
    shlex::split(text)
        .filter(|words| !words.is_empty())
        .map(Words)
        .ok_or("must be a command, such as 'ssh h1 loadgen'")
}

impl ClockArgs {
    /// Asks the hosts, prints how far their calendar clocks are ahead, and writes that.
    ///
    /// # Errors
    /// When a host does not answer, or the file cannot be written.
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        if self.answer {
            answer(io::stdin().lock(), io::stdout().lock())?;
            return Ok(ExitCode::SUCCESS);
        }
        let asked_by = HostClock::here()?;
        let mut hosts = Vec::new();
        for clock in ask_all(&self.hosts) {
            match clock {
                Ok(clock) => {
                    print(&line(&clock))?;
                    hosts.push(clock);
                }
                Err(error) => say(&format!("loadgen: {error:#}")),
            }
        }
        let answered = hosts.len();
        if let Some(file) = &self.out {
            let clocks = Clocks {
                schema_version: SCHEMA_VERSION,
                asked_by,
                hosts,
            };
            clocks.write(file)?;
        }
        if answered < self.hosts.len() {
            bail!("{answered} of {} hosts answered", self.hosts.len());
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Asks all hosts, several at the same time. The answers have the order of the hosts.
fn ask_all(hosts: &[Words]) -> Vec<anyhow::Result<HostClock>> {
    let next = AtomicUsize::new(0);
    let ask = || {
        let mut clocks = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(Words(words)) = hosts.get(at) else {
                return clocks;
            };
            clocks.push((at, HostClock::ask(words)));
        }
    };
    let mut clocks: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..AT_A_TIME.min(hosts.len()))
            .map(|_| scope.spawn(ask))
            .collect();
        let clocks = threads.into_iter().map(thread::ScopedJoinHandle::join);
        clocks.flatten().flatten().collect()
    });
    clocks.sort_by_key(|(at, _)| *at);
    clocks.into_iter().map(|(_, clock)| clock).collect()
}

fn line(clock: &HostClock) -> String {
    format!(
        "{}: {:+.3} ms \u{b1} {:.3} ms\n",
        clock.host,
        clock.ahead_us / 1e3,
        clock.bound_us / 1e3
    )
}

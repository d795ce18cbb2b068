//! `loadgen observe`: watches a server on its own host, while others load it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::Args;

use super::values::parse_start;
use super::{EXIT_INTERRUPTED, Usage};
use crate::measure::observe::{Options, observe};
use crate::workload::flags::values::{parse_duration, parse_positive_duration};

/// The flags of `loadgen observe`.
#[derive(Debug, Args)]
#[command(after_help = "\
Records the CPU time, context switches, system calls and memory of the process and all its children, and the load of \
the machine, while `loadgen run --shard` measures on other hosts. Give the same --start-at, --warmup and --duration to \
all. `loadgen merge` takes this directory together with those of the shards: it has the costs of the server.

Examples:
  loadgen observe --pid $(pgrep -o epoll-server) --start-at +10s --out server
  loadgen observe --pid 4711 --start-at 2030-01-31T12:00:00Z --warmup 5s --duration 60s --out server

Exit codes: 0 done, 1 the process ended or cannot be watched, 2 bad usage, 130 interrupted.")]
pub struct ObserveArgs {
    /// The server's process
    #[arg(long, value_name = "PID")]
    pid: u32,

    /// The --start-at of the shards
    #[arg(long, value_name = "TIME", value_parser = parse_start)]
    start_at: SystemTime,

    /// The warm-up of the shards
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = parse_duration)]
    warmup: Duration,

    /// The measured time of the shards
    #[arg(short, long, value_name = "DURATION", default_value = "5s", value_parser = parse_positive_duration)]
    duration: Duration,

    /// Where the result is written
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
}

impl ObserveArgs {
    /// Watches the server.
    ///
    /// # Errors
    /// [`Usage`] when the time has passed, and those of [`observe`].
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        if self.start_at < SystemTime::now() {
            return Err(
                Usage("--start-at: the time has passed already: give a later one".into()).into(),
            );
        }
        let seen = observe(&Options {
            pid: self.pid,
            start_at: self.start_at,
            warmup: self.warmup,
            duration: self.duration,
            out: self.out.clone(),
        })?;
        Ok(seen.map_or(ExitCode::from(EXIT_INTERRUPTED), |_| ExitCode::SUCCESS))
    }
}

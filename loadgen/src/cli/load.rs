//! The flags that name the server, and those of the generator.

use clap::Args;

use super::Usage;
use super::values::{CpuList, parse_cpus};
use crate::measure::setup::Conditions;
use crate::observe::cores::allowed_cpus;
use crate::workload::address::{Address, parse_address};
use crate::workload::flags::values::at_least_one;
use crate::workload::load::Workload;

/// A server that runs already.
#[derive(Debug, Args)]
pub struct ServerArgs {
    /// The server: a URL, host:port, [v6]:port, a port of this machine or unix:PATH
    #[arg(value_name = "ADDR", value_parser = parse_address)]
    pub address: Address,

    /// The server's process: also show what it and all its children spend
    #[arg(long, value_name = "PID")]
    server_pid: Option<u32>,

    /// Keep the cores awake with threads that spin: on a virtual machine it takes long to wake a core. Only for a
    /// server in the same session or control group: the spinning threads yield to it at once
    #[arg(long)]
    keep_awake: bool,
}

impl ServerArgs {
    /// The conditions that these flags ask for.
    pub fn conditions(&self) -> Conditions {
        Conditions {
            keep_awake: self.keep_awake,
            server_pid: self.server_pid,
            keeps_a_part: false,
        }
    }
}

/// The generator itself.
#[derive(Debug, Args)]
pub struct GeneratorArgs {
    /// Generator threads
    #[arg(short, long, value_name = "N", default_value_t = 1, value_parser = at_least_one)]
    threads: usize,

    /// Cores of the generator threads in turn, such as 1 or 0,2-3
    #[arg(long, value_name = "LIST", value_parser = parse_cpus)]
    cpu: Option<CpuList>,

    /// Seed of the schedule and the payloads; each further trial adds 1
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

impl GeneratorArgs {
    /// This load from a generator as these flags ask for it.
    ///
    /// # Errors
    /// When a core may not be used.
    pub fn with(&self, load: Workload) -> Result<Workload, Usage> {
        let cpus = self.cpu.clone().unwrap_or_default().0;
        let allowed = allowed_cpus();
        if let Some(unknown) = cpus.iter().find(|cpu| !allowed.contains(cpu)) {
            return Err(Usage(format!(
                "--cpu: core {unknown} is not among those that may be used here: {allowed:?}"
            )));
        }
        Ok(Workload {
            threads: self.threads,
            cpus,
            seed: self.seed,
            ..load
        })
    }
}

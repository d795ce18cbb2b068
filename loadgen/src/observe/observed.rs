//! What was seen beside the load: the data that leaves this folder.

use serde::{Deserialize, Serialize};

/// What server and machine did in a trial.
#[derive(Debug, Clone, Copy, Default)]
pub struct Observed {
    /// What the server spent; `None`: its process is unknown.
    pub server: Option<ServerCosts>,
    /// The cores that the server may run on; 0: unknown.
    pub server_cores: usize,
    /// What the machine did.
    pub machine: MachineShares,
}

/// What a server's whole process tree spent in the measured time, and held at its end; null: it cannot be read here.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spent {
    /// The process that the bench started or the user named.
    pub pid: u32,
    /// CPU time, nanoseconds.
    pub cpu_ns: Option<u64>,
    /// Context switches.
    pub context_switches: Option<u64>,
    /// System calls.
    pub syscalls: Option<u64>,
    /// Proportional set size, KiB.
    pub pss_kib: Option<u64>,
    /// Threads over the whole tree.
    pub threads: Option<u64>,
    /// Processes of the tree.
    pub processes: Option<u64>,
}

impl Spent {
    /// The same for each request, of this many that were answered.
    pub fn per_request(&self, answered: u64) -> ServerCosts {
        let each = |total: Option<u64>| {
            total
                .filter(|_| answered > 0)
                .map(|total| total as f64 / answered as f64)
        };
        ServerCosts {
            pid: self.pid,
            cpu_us_per_request: each(self.cpu_ns).map(|ns| ns / 1e3),
            context_switches_per_request: each(self.context_switches),
            syscalls_per_request: each(self.syscalls),
            pss_kib: self.pss_kib,
            threads: self.threads,
            processes: self.processes,
        }
    }
}

/// What the server's whole process tree spent in the measured time; null: it cannot be read here.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ServerCosts {
    /// The process that the bench started or the user named.
    pub pid: u32,
    /// CPU time, microseconds for each answered request.
    pub cpu_us_per_request: Option<f64>,
    /// Context switches for each answered request.
    pub context_switches_per_request: Option<f64>,
    /// System calls for each answered request.
    pub syscalls_per_request: Option<f64>,
    /// Proportional set size at the end of the measured time, KiB.
    pub pss_kib: Option<u64>,
    /// Threads over the whole tree at the end of the measured time.
    pub threads: Option<u64>,
    /// Processes of the tree at the end of the measured time.
    pub processes: Option<u64>,
}

/// The machine from the start of the warm-up to the end of the measured time, its time as shares of all its
/// cores; null: it cannot be read here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct MachineShares {
    /// Busy (without the spinners that keep the cores awake).
    pub cpu_share: Option<f64>,
    /// Busy with other programs; with the server too, if its process is unknown.
    pub foreign_share: Option<f64>,
    /// Taken by the hypervisor.
    pub steal_share: Option<f64>,
    /// Memory of the kernel at the end of the measured time, KiB: slabs (sockets among them), stacks of threads, page tables.
    #[serde(default)]
    pub kernel_kib: Option<u64>,
}

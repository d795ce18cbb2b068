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

/// The machine from the start of the warm-up to the end of the measured time, as shares of all its
/// cores; null: it cannot be read here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct MachineShares {
    /// Busy (without the spinners that keep the cores awake).
    pub cpu_share: Option<f64>,
    /// Busy with other programs; with the server too, if its process is unknown.
    pub foreign_share: Option<f64>,
    /// Taken by the hypervisor.
    pub steal_share: Option<f64>,
}

//! The cores that a process may run on.

use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;

/// The cores that this process may run on.
pub fn allowed_cpus() -> Vec<usize> {
    cpus_of(0)
}

/// The cores that a process may run on; 0 is this one.
pub fn cpus_of(pid: u32) -> Vec<usize> {
    sched_getaffinity(Pid::from_raw(pid as i32)).map_or_else(
        |_| vec![0],
        |set| {
            (0..CpuSet::count())
                .filter(|&cpu| set.is_set(cpu).unwrap_or(false))
                .collect()
        },
    )
}

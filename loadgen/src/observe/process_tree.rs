//! A process and its descendants, read from `/proc`.

use std::collections::BTreeSet;
use std::time::Duration;

use nix::time::clock_getcpuclockid;
use nix::unistd::Pid;
use procfs::process::{Process, all_processes};

/// The threads that were alive at a reading, and the CPU time of those that had ended.
#[derive(Debug, Clone)]
pub struct Counted {
    /// Their numbers.
    pub threads: BTreeSet<i32>,
    /// Nanoseconds.
    pub ended_cpu: u64,
}

/// What `/proc` tells of a process tree.
pub struct Living {
    /// CPU time, nanoseconds.
    pub cpu: Option<u64>,
    /// Context switches of the threads that live.
    pub context_switches: Option<u64>,
    /// The threads that were counted.
    pub counted: Counted,
}

impl Living {
    /// Of the tree below this process.
    pub fn of(pid: i32) -> Self {
        let tree = tree(pid);
        let mut switches = 0;
        let mut threads = BTreeSet::new();
        let mut living_threads_cpu = 0;
        for task in living(&tree)
            .filter_map(|process| process.tasks().ok())
            .flatten()
            .flatten()
        {
            let (Ok(status), Ok(stat)) = (task.status(), task.schedstat()) else {
                continue;
            };
            threads.insert(task.tid);
            switches += status.voluntary_ctxt_switches.unwrap_or(0)
                + status.nonvoluntary_ctxt_switches.unwrap_or(0);
            living_threads_cpu += stat.sum_exec_runtime;
        }
        let cpu: u64 = living(&tree)
            .filter_map(|process| process_cpu(&process))
            .sum();
        Self {
            cpu: (!tree.is_empty()).then_some(cpu),
            context_switches: (!threads.is_empty()).then_some(switches),
            counted: Counted {
                threads,
                ended_cpu: cpu.saturating_sub(living_threads_cpu),
            },
        }
    }
}

/// CPU time of a process, its ended threads and the children it waited for, nanoseconds.
pub fn process_cpu(process: &Process) -> Option<u64> {
    let own = clock_getcpuclockid(Pid::from_raw(process.pid))
        .ok()?
        .now()
        .ok()?;
    let stat = process.stat().ok()?;
    let ticks = (stat.cutime + stat.cstime) as f64 / procfs::ticks_per_second() as f64;
    let total = Duration::from(own) + Duration::from_secs_f64(ticks.max(0.0));
    u64::try_from(total.as_nanos()).ok()
}

/// The ids of a process and its living descendants; empty when it has ended. Only ids: an open handle of each would
/// need a descriptor, and the connections may have left too few.
pub fn tree(root: i32) -> Vec<i32> {
    let Ok(all) = all_processes() else {
        return Vec::new();
    };
    let mut others: Vec<(i32, i32)> = all
        .flatten()
        .filter_map(|process| {
            let stat = process.stat().ok()?;
            (stat.state != 'Z').then_some((stat.ppid, stat.pid))
        })
        .collect();
    let Some(at) = others.iter().position(|(_, pid)| *pid == root) else {
        return Vec::new();
    };
    let mut tree = vec![others.swap_remove(at).1];
    let mut next = 0;
    while next < tree.len() {
        let parent = tree[next];
        let children = others.extract_if(.., |(ppid, _)| *ppid == parent);
        tree.extend(children.map(|(_, pid)| pid));
        next += 1;
    }
    tree
}

/// The processes that have not ended, opened one after the other.
pub fn living(tree: &[i32]) -> impl Iterator<Item = Process> {
    tree.iter().filter_map(|&pid| Process::new(pid).ok())
}

/// Threads over all of these processes.
pub fn threads(tree: &[i32]) -> u64 {
    let stats = living(tree).filter_map(|process| process.stat().ok());
    stats.map(|stat| stat.num_threads.unsigned_abs()).sum()
}

/// The threads of a process.
pub fn thread_ids(process: &Process) -> Vec<i32> {
    process.tasks().map_or_else(
        |_| Vec::new(),
        |tasks| tasks.flatten().map(|task| task.tid).collect(),
    )
}

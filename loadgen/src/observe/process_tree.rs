//! A process and its descendants, read from `/proc`.
//!
//! A process may end at any moment; then there is nothing to read of it. Any other error, such as a lack of
//! descriptors, is an error of the whole reading: a sum without one process would look like a smaller sum.

use std::collections::BTreeSet;
use std::time::Duration;

use nix::time::{ClockId, clock_getcpuclockid};
use nix::unistd::Pid;
use procfs::process::{Process, Task, all_processes};
use procfs::{ProcError, ProcResult};

/// The threads that were alive at a reading, and the CPU time of those that had ended.
#[derive(Debug, Clone)]
pub struct Counted {
    /// Their numbers.
    pub threads: BTreeSet<i32>,
    /// Nanoseconds.
    pub ended_cpu: u64,
}

/// What `/proc` says of a process tree.
pub struct Living {
    /// CPU time, nanoseconds.
    pub cpu: u64,
    /// Context switches of the threads that live.
    pub context_switches: u64,
    /// The threads that were counted.
    pub counted: Counted,
}

impl Living {
    /// Of the tree below this process; `None`: it has ended.
    pub fn of(pid: i32) -> ProcResult<Option<Self>> {
        let tree = tree(pid)?;
        let mut switches = 0;
        let mut threads = BTreeSet::new();
        let mut living_threads_cpu = 0;
        for process in living(&tree) {
            for task in tasks(&process?)? {
                let read = || Ok((task.status()?, task.schedstat()?));
                let Some((status, stat)) = unless_ended(read())? else {
                    continue;
                };
                threads.insert(task.tid);
                switches += status.voluntary_ctxt_switches.unwrap_or(0)
                    + status.nonvoluntary_ctxt_switches.unwrap_or(0);
                living_threads_cpu += stat.sum_exec_runtime;
            }
        }
        let cpu = billed(&tree)?;
        Ok((!threads.is_empty()).then(|| Self {
            cpu,
            context_switches: switches,
            counted: Counted {
                threads,
                ended_cpu: cpu.saturating_sub(living_threads_cpu),
            },
        }))
    }
}

/// `None` if the process or thread has ended.
fn unless_ended<T>(read: ProcResult<T>) -> ProcResult<Option<T>> {
    match read {
        Err(ProcError::NotFound(_)) => Ok(None),
        read => read.map(Some),
    }
}

/// CPU time of these processes, their ended threads and the children they waited for, nanoseconds.
pub fn billed(tree: &[i32]) -> ProcResult<u64> {
    let mut total = Duration::ZERO;
    for process in living(tree) {
        let process = process?;
        if let Some(stat) = unless_ended(process.stat())? {
            let own = clock_getcpuclockid(Pid::from_raw(process.pid)).and_then(ClockId::now);
            // Its end is the only reason for an error.
            total += own.map_or(Duration::ZERO, Duration::from);
            let ticks = (stat.cutime + stat.cstime) as f64 / procfs::ticks_per_second() as f64;
            total += Duration::from_secs_f64(ticks.max(0.0));
        }
    }
    Ok(u64::try_from(total.as_nanos()).unwrap_or(u64::MAX))
}

/// The ids of a process and its living descendants; empty when it has ended. Only ids: an open handle of each would
/// need a descriptor, and the connections may have left too few.
pub fn tree(root: i32) -> ProcResult<Vec<i32>> {
    let mut others: Vec<(i32, i32)> = Vec::new();
    for process in all_processes()? {
        match process.and_then(|process| process.stat()) {
            Ok(stat) if stat.state != 'Z' => others.push((stat.ppid, stat.pid)),
            Err(error @ ProcError::Io(..)) => return Err(error),
            // It has ended, or it is somebody else's and hidden.
            Ok(_) | Err(_) => {}
        }
    }
    let Some(at) = others.iter().position(|(_, pid)| *pid == root) else {
        return Ok(Vec::new());
    };
    let mut tree = vec![others.swap_remove(at).1];
    let mut next = 0;
    while next < tree.len() {
        let parent = tree[next];
        let children = others.extract_if(.., |(ppid, _)| *ppid == parent);
        tree.extend(children.map(|(_, pid)| pid));
        next += 1;
    }
    Ok(tree)
}

/// The processes that have not ended, opened one after the other.
pub fn living(tree: &[i32]) -> impl Iterator<Item = ProcResult<Process>> {
    tree.iter()
        .filter_map(|&pid| unless_ended(Process::new(pid)).transpose())
}

/// Threads over all of these processes.
pub fn threads(tree: &[i32]) -> ProcResult<u64> {
    let mut threads = 0;
    for process in living(tree) {
        let stat = unless_ended(process?.stat())?;
        threads += stat.map_or(0, |stat| stat.num_threads.unsigned_abs());
    }
    Ok(threads)
}

/// The threads of these processes.
pub fn thread_ids(tree: &[i32]) -> ProcResult<Vec<i32>> {
    let mut ids = Vec::new();
    for process in living(tree) {
        ids.extend(tasks(&process?)?.iter().map(|task| task.tid));
    }
    Ok(ids)
}

/// The threads of a process that have not ended.
fn tasks(process: &Process) -> ProcResult<Vec<Task>> {
    let tasks = unless_ended(process.tasks())?.into_iter().flatten();
    tasks
        .filter_map(|task| unless_ended(task).transpose())
        .collect()
}

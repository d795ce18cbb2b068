//! What a server's processes use, read from /proc.

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

use procfs::process::Process;
use supervisor::Group;

/// What a server's processes hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holdings {
    /// Processes, zombies included.
    pub processes: usize,
    /// Processes that ended and were not waited for.
    pub zombies: usize,
    /// Threads.
    pub threads: usize,
    /// Open descriptors.
    pub descriptors: usize,
}

impl Holdings {
    /// What the processes hold now.
    pub fn of(group: Group) -> Self {
        let stats = group.processes();
        let descriptors = stats
            .iter()
            .filter_map(|stat| Process::new(stat.pid).ok()?.fd_count().ok());
        Self {
            descriptors: descriptors.sum(),
            processes: stats.len(),
            zombies: stats.iter().filter(|stat| stat.state == 'Z').count(),
            threads: stats.iter().map(|stat| stat.num_threads as usize).sum(),
        }
    }

    /// No more of anything than `before`.
    pub fn fits_in(self, before: Self) -> bool {
        self.processes <= before.processes
            && self.zombies <= before.zombies
            && self.threads <= before.threads
            && self.descriptors <= before.descriptors
    }
}

impl fmt::Display for Holdings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            processes,
            zombies,
            threads,
            descriptors,
        } = self;
        write!(
            f,
            "{processes} processes ({zombies} zombies), {threads} threads, {descriptors} descriptors"
        )
    }
}

/// Memory of all processes, bytes, with shared pages divided among those that share them.
pub fn memory(group: Group) -> u64 {
    let sizes = group.processes().into_iter().filter_map(|stat| {
        let rollup = Process::new(stat.pid).ok()?.smaps_rollup().ok()?;
        let map = rollup.memory_map_rollup.0.into_iter().next()?;
        map.extension.map.get("Pss").copied()
    });
    sizes.sum()
}

/// Of the time in which a thread could run, the share in which it ran; the sum over all threads. A thread that spins has
/// 1, however busy the machine is.
pub fn cpu_share(group: Group, span: Duration) -> f64 {
    let (start, before) = (Instant::now(), run_times(group));
    std::thread::sleep(span);
    let wall = start.elapsed().as_nanos() as f64;
    let shares = run_times(group).into_iter().map(|(thread, (ran, waited))| {
        // A new thread has no times of before.
        let (ran_before, waited_before) = before.get(&thread).copied().unwrap_or_default();
        let ran = ran.saturating_sub(ran_before) as f64;
        let could = wall - waited.saturating_sub(waited_before) as f64;
        // The kernel adds a wait when it ends, also the part before this span. On a busy machine the waits may then seem
        // longer than the span.
        ran / could.max(ran).max(wall / 10.0)
    });
    shares.sum()
}

/// Of each thread, how long it ran and how long it waited for a processor, nanoseconds.
fn run_times(group: Group) -> HashMap<i32, (u64, u64)> {
    let processes = group.processes().into_iter();
    let tasks = processes
        .filter_map(|stat| Process::new(stat.pid).ok()?.tasks().ok())
        .flatten();
    tasks
        .filter_map(|task| {
            let task = task.ok()?;
            let times = task.schedstat().ok()?;
            Some((task.tid, (times.sum_exec_runtime, times.run_delay)))
        })
        .collect()
}

/// What the threads of a server do at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Activity {
    /// One of them runs or could run.
    pub is_busy: bool,
    /// How long they have run so far.
    pub ran: Duration,
}

impl Activity {
    /// What they do now.
    pub fn of(group: Group) -> Self {
        let processes = group.processes().into_iter();
        let tasks = processes
            .filter_map(|stat| Process::new(stat.pid).ok()?.tasks().ok())
            .flatten()
            .flatten();
        let mut activity = Self {
            is_busy: false,
            ran: Duration::ZERO,
        };
        for task in tasks {
            // It may have ended meanwhile.
            let (Ok(stat), Ok(times)) = (task.stat(), task.schedstat()) else {
                continue;
            };
            activity.is_busy |= stat.state == 'R';
            activity.ran += Duration::from_nanos(times.sum_exec_runtime);
        }
        activity
    }
}

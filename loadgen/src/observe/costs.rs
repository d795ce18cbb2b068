//! What a server spends: CPU time, context switches and system calls over its whole process tree.
//!
//! Software perf events (`task-clock`, `context-switches`, `raw_syscalls:sys_enter`) that were opened
//! on a process before its exec are inherited by every thread and child it makes, so the work of
//! short-lived children is counted to the last microsecond. Where the kernel refuses them
//! (`/proc/sys/kernel/perf_event_paranoid`), the CPU clocks of the living processes and the `rusage`
//! of the children they waited for take their place; that has steps of 10 ms for ended children, and
//! what it cannot give is `None`.
//!
//! Counting has its price, the same for every server: one at its limit answers 3 to 5 % fewer requests.

use std::collections::BTreeSet;
use std::io;
use std::sync::OnceLock;
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::time::clock_getcpuclockid;
use nix::unistd::Pid;
use perf_event::events::Software;
use perf_event::{Builder, Counter};
use procfs::ProcError;
use procfs::process::{MemoryMap, Process, all_processes};

use crate::results::trial::ServerCosts;

/// The perf event type of tracepoints, from `linux/perf_event.h`.
const PERF_TYPE_TRACEPOINT: u32 = 2;

/// Counts what a process and all its descendants spend.
#[derive(Debug)]
pub struct Meter {
    pid: i32,
    /// Each is empty where the kernel refused the event.
    task_clock: Vec<Counter>,
    context_switches: Vec<Counter>,
    syscalls: Vec<Counter>,
    note: Option<String>,
}

/// The counters of a [`Meter`] at one instant.
#[derive(Debug, Clone)]
pub struct Reading {
    /// Nanoseconds.
    cpu: Option<u64>,
    context_switches: Option<u64>,
    syscalls: Option<u64>,
    /// Without perf events: whose context switches were summed.
    counted: Option<Counted>,
}

/// The threads that were alive at a [`Reading`], and the CPU time (ns) of those that had ended.
#[derive(Debug, Clone)]
struct Counted {
    threads: BTreeSet<i32>,
    ended_cpu: u64,
}

/// What a process tree holds at one instant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Footprint {
    /// Proportional set size, KiB.
    pub pss_kib: Option<u64>,
    /// Threads over all processes.
    pub threads: Option<u64>,
    /// Processes.
    pub processes: Option<u64>,
}

impl Meter {
    /// Counts a process that has one thread and has not yet executed its program: exact, since
    /// everything it makes inherits the counters.
    pub fn before_exec(pid: u32) -> Self {
        Self::on_threads(pid, &[pid as i32])
    }

    /// Counts a running process tree from now on.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn attach(pid: u32) -> io::Result<Self> {
        let tree = tree(pid as i32);
        if tree.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("there is no process {pid}"),
            ));
        }
        let threads: Vec<i32> = living(&tree)
            .flat_map(|process| thread_ids(&process))
            .collect();
        Ok(Self::on_threads(pid, &threads))
    }

    fn on_threads(pid: u32, threads: &[i32]) -> Self {
        // The kernel lets most users count CPU time only as "user space" time; task-clock is a
        // clock and counts all the same.
        let task_clock = open_all(threads, &|| clock(true))
            .or_else(|_| open_all(threads, &|| clock(false)))
            .unwrap_or_default();
        let switches = open_all(threads, &|| {
            let mut builder = Builder::new().kind(Software::CONTEXT_SWITCHES);
            builder.include_kernel();
            builder
        });
        let syscalls = match syscall_tracepoint() {
            Some(id) => open_all(threads, &|| {
                let mut builder = Builder::new().kind(Software::DUMMY);
                builder.include_kernel();
                builder.attrs_mut().type_ = PERF_TYPE_TRACEPOINT;
                builder.attrs_mut().config = id;
                builder
            }),
            None => Err(io::Error::other("no tracefs")),
        };
        let note = match (&switches, &syscalls) {
            (Ok(_), Ok(_)) => None,
            (Ok(_), Err(_)) => Some(
                "system calls are not counted: that needs tracefs and the right to read it (CAP_PERFMON or root)"
                    .to_owned(),
            ),
            (Err(_), _) => Some(
                "taken from /proc, which misses the switches of ended threads and all system calls: \
                 perf events are not permitted here (sysctl kernel.perf_event_paranoid, CAP_PERFMON)"
                    .to_owned(),
            ),
        };
        Self {
            pid: pid as i32,
            task_clock,
            context_switches: switches.unwrap_or_default(),
            syscalls: syscalls.unwrap_or_default(),
            note,
        }
    }

    /// What is not counted exactly here, and why.
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// The counters now.
    pub fn read(&mut self) -> Reading {
        let mut reading = Reading {
            cpu: sum(&mut self.task_clock),
            context_switches: sum(&mut self.context_switches),
            syscalls: sum(&mut self.syscalls),
            counted: None,
        };
        if reading.cpu.is_none() || reading.context_switches.is_none() {
            let living = Living::of(self.pid);
            reading.cpu = reading.cpu.or(living.cpu);
            if reading.context_switches.is_none() {
                reading.context_switches = living.context_switches;
                reading.counted = Some(living.counted);
            }
        }
        reading
    }

    /// CPU time of the process tree so far as the kernel bills it, nanoseconds; children that ended
    /// count in steps of 10 ms.
    ///
    /// The bill of a thread begins with its wake-up, not with its first instruction: where a core has
    /// to be interrupted for it, that is 10 us and more (on a virtual machine) in which nobody else
    /// is billed. So this says how the machine's time was divided, and the counters what was worked.
    pub fn billed(&self) -> u64 {
        living(&tree(self.pid))
            .filter_map(|process| process_cpu(&process))
            .sum()
    }

    /// Threads over all processes now.
    pub fn threads(&self) -> u64 {
        threads(&tree(self.pid))
    }

    /// What the process tree holds now. Takes the longer the more processes there are.
    pub fn footprint(&self) -> Footprint {
        let tree = tree(self.pid);
        if tree.is_empty() {
            return Footprint::default();
        }
        // A process that has ended meanwhile holds nothing.
        let pss = |process: Process| match process.smaps_rollup() {
            Ok(rollup) => {
                let pss = |map: &MemoryMap| map.extension.map.get("Pss").copied();
                rollup.memory_map_rollup.iter().next().map_or(Some(0), pss)
            }
            Err(ProcError::PermissionDenied(_)) => None,
            Err(_) => Some(0),
        };
        Footprint {
            pss_kib: living(&tree)
                .map(pss)
                .sum::<Option<u64>>()
                .map(|bytes| bytes / 1024),
            threads: Some(threads(&tree)),
            processes: Some(tree.len() as u64),
        }
    }

    /// The costs between two readings, for each of `answered` requests.
    pub fn costs(
        &self,
        from: &Reading,
        to: &Reading,
        footprint: Footprint,
        answered: u64,
    ) -> ServerCosts {
        let per_request = |total: Option<u64>| {
            total
                .filter(|_| answered > 0)
                .map(|total| total as f64 / answered as f64)
        };
        ServerCosts {
            pid: self.pid as u32,
            cpu_us_per_request: per_request(to.cpu_since(from)).map(|ns| ns / 1e3),
            context_switches_per_request: per_request(to.context_switches_since(from)),
            syscalls_per_request: per_request(difference(to.syscalls, from.syscalls)),
            pss_kib: footprint.pss_kib,
            threads: footprint.threads,
            processes: footprint.processes,
        }
    }
}

impl Reading {
    /// CPU time since an earlier reading, nanoseconds.
    pub fn cpu_since(&self, earlier: &Self) -> Option<u64> {
        difference(self.cpu, earlier.cpu)
    }

    /// Context switches since an earlier reading. Without perf events only known when no thread came
    /// or went: an ended one took its count with it.
    fn context_switches_since(&self, earlier: &Self) -> Option<u64> {
        if let (Some(now), Some(then)) = (&self.counted, &earlier.counted) {
            // The clocks are read one after the other, so they disagree by a little.
            let jitter = self.cpu_since(earlier)? / 100 + 100_000;
            if now.threads != then.threads || now.ended_cpu.abs_diff(then.ended_cpu) > jitter {
                return None;
            }
        }
        difference(self.context_switches, earlier.context_switches)
    }
}

fn difference(now: Option<u64>, then: Option<u64>) -> Option<u64> {
    Some(now?.saturating_sub(then?))
}

/// A clock of the time that a thread runs.
fn clock(kernel_too: bool) -> Builder<'static> {
    let mut builder = Builder::new().kind(Software::TASK_CLOCK);
    builder.exclude_kernel(!kernel_too);
    builder
}

/// An inherited, running counter on each thread; one that ended meanwhile is left out.
fn open_all(threads: &[i32], event: &dyn Fn() -> Builder<'static>) -> io::Result<Vec<Counter>> {
    let mut counters = Vec::with_capacity(threads.len());
    for &thread in threads {
        let mut builder = event();
        builder.inherit(true).enabled(true);
        match builder.observe_pid(thread).build() {
            Ok(counter) => counters.push(counter),
            Err(error) if error.raw_os_error() == Some(nix::libc::ESRCH) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(counters)
}

fn sum(counters: &mut [Counter]) -> Option<u64> {
    if counters.is_empty() {
        return None;
    }
    counters.iter_mut().map(|counter| counter.read().ok()).sum()
}

/// The number of the tracepoint `raw_syscalls:sys_enter`.
fn syscall_tracepoint() -> Option<u64> {
    static ID: OnceLock<Option<u64>> = OnceLock::new();
    *ID.get_or_init(|| {
        let read = || {
            ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"]
                .iter()
                .find_map(|tracefs| {
                    let path = format!("{tracefs}/events/raw_syscalls/sys_enter/id");
                    std::fs::read_to_string(path).ok()?.trim().parse().ok()
                })
        };
        read().or_else(|| {
            std::thread::spawn(move || mount_privately().ok().and(read()))
                .join()
                .ok()?
        })
    })
}

/// Mounts tracefs where only the calling thread sees it; the mount ends with the thread.
fn mount_privately() -> nix::Result<()> {
    const NONE: Option<&str> = None;
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)?;
    mount(
        Some("tracefs"),
        "/sys/kernel/tracing",
        Some("tracefs"),
        MsFlags::MS_RDONLY,
        NONE,
    )
}

/// What /proc tells of a process tree without perf events.
struct Living {
    cpu: Option<u64>,
    context_switches: Option<u64>,
    counted: Counted,
}

impl Living {
    fn of(pid: i32) -> Self {
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
fn process_cpu(process: &Process) -> Option<u64> {
    let own = clock_getcpuclockid(Pid::from_raw(process.pid))
        .ok()?
        .now()
        .ok()?;
    let stat = process.stat().ok()?;
    let ticks = (stat.cutime + stat.cstime) as f64 / procfs::ticks_per_second() as f64;
    let total = Duration::from(own) + Duration::from_secs_f64(ticks.max(0.0));
    u64::try_from(total.as_nanos()).ok()
}

/// A process and its living descendants; empty when it has ended. They are named, not held: each that is held
/// takes a descriptor, of which the connections may have left too few.
fn tree(root: i32) -> Vec<i32> {
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

/// Those of these processes that have not ended, one after the other.
fn living(tree: &[i32]) -> impl Iterator<Item = Process> {
    tree.iter().filter_map(|&pid| Process::new(pid).ok())
}

/// Threads over all of these processes.
fn threads(tree: &[i32]) -> u64 {
    let stats = living(tree).filter_map(|process| process.stat().ok());
    stats.map(|stat| stat.num_threads.unsigned_abs()).sum()
}

fn thread_ids(process: &Process) -> Vec<i32> {
    process.tasks().map_or_else(
        |_| Vec::new(),
        |tasks| tasks.flatten().map(|task| task.tid).collect(),
    )
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// A meter as it is where perf events are not permitted.
    fn without_perf(child: &Child) -> Meter {
        Meter {
            pid: child.id() as i32,
            task_clock: Vec::new(),
            context_switches: Vec::new(),
            syscalls: Vec::new(),
            note: None,
        }
    }

    /// A shell that runs `text` when it is sent a line, says `done` and waits for another line.
    fn shell(text: &str) -> Child {
        Command::new("sh")
            .args(["-c", &format!("read start; {text}; echo done; read end")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn run(child: &mut Child) {
        use std::io::{BufRead, BufReader, Write};
        child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line, "done\n");
    }

    #[test]
    fn without_perf_events_the_clocks_of_the_processes_do() {
        let mut child = shell("i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done");
        let mut exact = Meter::attach(child.id()).unwrap();
        let mut meter = without_perf(&child);
        let (from, exact_from) = (meter.read(), exact.read());
        run(&mut child);
        let (to, exact_to) = (meter.read(), exact.read());
        let (cpu, exact) = (
            to.cpu_since(&from).unwrap(),
            exact_to.cpu_since(&exact_from).unwrap(),
        );
        // The shell may be seen on its way into its last read.
        assert!(
            cpu.abs_diff(exact) < exact / 20 + 1_000_000,
            "{cpu} ns for {exact} ns"
        );
        let costs = meter.costs(&from, &to, meter.footprint(), 1);
        assert!(
            costs
                .context_switches_per_request
                .is_some_and(|switches| switches >= 1.0)
        );
        assert_eq!(costs.syscalls_per_request, None);
        assert_eq!((costs.threads, costs.processes), (Some(1), Some(1)));
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn without_perf_events_ended_children_count_by_what_they_were_billed() {
        let burn = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done";
        let mut child = shell(&format!("sh -c '{burn}'; sh -c '{burn}'"));
        let mut meter = without_perf(&child);
        let from = meter.read();
        run(&mut child);
        let to = meter.read();
        let costs = meter.costs(&from, &to, Footprint::default(), 1);
        assert!(
            costs.cpu_us_per_request.is_some_and(|us| us >= 10_000.0),
            "{costs:?}"
        );
        assert_eq!(
            costs.context_switches_per_request, None,
            "the children took theirs along"
        );
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_process_that_is_not_there_is_refused() {
        let mut child = Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        let error = Meter::attach(child.id()).unwrap_err();
        assert!(
            error.to_string().contains(&child.id().to_string()),
            "{error}"
        );
    }
}

//! What a server spends: CPU time, context switches and system calls over its whole process tree.
//!
//! Software perf events (`task-clock`, `context-switches`, `raw_syscalls:sys_enter`) are opened on a process
//! before its exec. Every thread and child inherits them, so the work of short-lived children is counted to the
//! last microsecond. Where the kernel refuses them (`/proc/sys/kernel/perf_event_paranoid`), the CPU clocks of the
//! living processes and the `rusage` of the children that they waited for are read instead. That has steps of 10
//! ms for ended children, and what is not known is `None`.
//!
//! Counting slows every server by the same share: at its limit a server answers 3 to 5 % fewer requests.

use std::io;

use procfs::process::MemoryMap;
use procfs::{ProcError, ProcResult};

use super::counters::Counters;
use super::observed::Spent;
use super::process_tree::{Counted, Living, billed, living, thread_ids, threads, tree};

/// Counts what a process and all its descendants spend.
#[derive(Debug)]
pub struct Meter {
    pid: i32,
    counters: Counters,
    note: Option<String>,
}

/// The counters of a [`Meter`] at one instant.
#[derive(Debug, Clone)]
pub struct Reading {
    /// Nanoseconds.
    cpu: Option<u64>,
    context_switches: Option<u64>,
    syscalls: Option<u64>,
    /// Without perf events: the threads whose context switches were summed.
    counted: Option<Counted>,
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
    /// Counts a process that has one thread and has not yet executed its program. This is exact: all that the process
    /// makes inherits the counters.
    pub fn before_exec(pid: u32) -> Self {
        Self::on_threads(pid, &[pid as i32])
    }

    /// Counts a running process tree from now on.
    ///
    /// # Errors
    /// When there is no such process, or `/proc` cannot be read.
    pub fn attach(pid: u32) -> io::Result<Self> {
        let tree = tree(pid as i32).map_err(io::Error::other)?;
        if tree.is_empty() {
            let why = supervisor::no_proc()
                .map_or_else(|| format!("there is no process {pid}"), str::to_owned);
            return Err(io::Error::new(io::ErrorKind::NotFound, why));
        }
        let threads = thread_ids(&tree).map_err(io::Error::other)?;
        Ok(Self::on_threads(pid, &threads))
    }

    fn on_threads(pid: u32, threads: &[i32]) -> Self {
        let (counters, note) = Counters::on_threads(threads);
        Self {
            pid: pid as i32,
            counters,
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
            cpu: self.counters.cpu(),
            context_switches: self.counters.context_switches(),
            syscalls: self.counters.syscalls(),
            counted: None,
        };
        if reading.cpu.is_none() || reading.context_switches.is_none() {
            // What cannot be read stays unknown.
            let Ok(Some(living)) = Living::of(self.pid) else {
                return reading;
            };
            reading.cpu = reading.cpu.or(Some(living.cpu));
            if reading.context_switches.is_none() {
                reading.context_switches = Some(living.context_switches);
                reading.counted = Some(living.counted);
            }
        }
        reading
    }

    /// CPU time of the process tree so far, as the kernel bills it, nanoseconds. Ended children count in steps of 10
    /// ms. `None`: the process has ended, or cannot be read.
    ///
    /// The kernel bills a thread from its wake-up on, not from its first instruction. If a core must be
    /// interrupted for it, 10 us and more lie in between on a virtual machine. So this shows how the machine's
    /// time was divided, while the counters show how much the process worked.
    pub fn billed(&self) -> Option<u64> {
        let tree = tree(self.pid).ok().filter(|tree| !tree.is_empty())?;
        billed(&tree).ok()
    }

    /// Threads over all processes now; `None`: they cannot be read.
    pub fn threads(&self) -> Option<u64> {
        threads(&tree(self.pid).ok()?).ok()
    }

    /// What the process tree holds now. With many processes this takes long.
    pub fn footprint(&self) -> Footprint {
        let tree = tree(self.pid).ok().filter(|tree| !tree.is_empty());
        let Some(tree) = tree else {
            return Footprint::default();
        };
        Footprint {
            pss_kib: pss(&tree).ok().flatten().map(|bytes| bytes / 1024),
            threads: threads(&tree).ok(),
            processes: Some(tree.len() as u64),
        }
    }

    /// What was spent between two readings.
    pub fn spent(&self, from: &Reading, to: &Reading, footprint: Footprint) -> Spent {
        Spent {
            pid: self.pid as u32,
            cpu_ns: to.cpu_since(from),
            context_switches: to.context_switches_since(from),
            syscalls: difference(to.syscalls, from.syscalls),
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

    /// Context switches since an earlier reading. Without perf events they are known only if no thread came or went:
    /// the count of a thread ends with it.
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

/// Proportional set size of these processes, bytes; `None`: the kernel does not say. A process that has ended holds
/// nothing.
fn pss(tree: &[i32]) -> ProcResult<Option<u64>> {
    let mut total = Some(0);
    for process in living(tree) {
        let own = match process?.smaps_rollup() {
            Ok(rollup) => {
                let pss = |map: &MemoryMap| map.extension.map.get("Pss").copied();
                rollup.memory_map_rollup.iter().next().map_or(Some(0), pss)
            }
            Err(ProcError::NotFound(_)) => Some(0),
            Err(error) => return Err(error),
        };
        total = total.zip(own).map(|(total, own)| total + own);
    }
    Ok(total)
}

fn difference(now: Option<u64>, then: Option<u64>) -> Option<u64> {
    Some(now?.saturating_sub(then?))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write, stdin};
    use std::process::{Child, Command, Stdio};

    use nix::sys::time::{TimeSpec, TimeValLike};
    use nix::time::ClockId;

    use super::*;

    /// A meter as it is where perf events are not permitted.
    fn without_perf(child: &Child) -> Meter {
        Meter {
            pid: child.id() as i32,
            counters: Counters::default(),
            note: None,
        }
    }

    /// What a process does that the tests watch: it says `ready`, waits for a line, works, says `done` and waits
    /// for another line.
    fn told_to(work: impl FnOnce()) {
        eprintln!("ready");
        if stdin().read_line(&mut String::new()).is_ok_and(|n| n > 0) {
            work();
            eprintln!("done");
            let _ = stdin().read_line(&mut String::new());
        }
    }

    /// Uses a thread's CPU for 100 ms.
    fn burn() {
        let clock = ClockId::CLOCK_THREAD_CPUTIME_ID;
        let begun = clock.now().unwrap();
        while clock.now().unwrap() - begun < TimeSpec::milliseconds(100) {}
    }

    #[test]
    #[ignore = "is the process that other tests watch"]
    fn burner() {
        told_to(burn);
    }

    #[test]
    #[ignore = "is the process that other tests watch"]
    fn parent_of_burners() {
        told_to(|| {
            for _ in 0..2 {
                let mut child = watched("burner");
                run(&mut child);
                child.wait().unwrap();
            }
        });
    }

    /// This program again, to run only the test of this name, in its first thread.
    fn watched(name: &str) -> Child {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &format!("observe::costs::tests::{name}")])
            .args(["--ignored", "--nocapture", "--test-threads=1"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        expect_line(&mut child, "ready\n");
        child
    }

    /// Lets the process work, and waits until it has.
    fn run(child: &mut Child) {
        child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        expect_line(child, "done\n");
    }

    /// Of two lines the second comes only when it was asked for, so no more than one is read.
    fn expect_line(child: &mut Child, expected: &str) {
        let mut line = String::new();
        BufReader::new(child.stderr.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line, expected);
    }

    #[test]
    fn without_perf_events_the_clocks_of_the_processes_do() {
        let mut child = watched("burner");
        let mut meter = without_perf(&child);
        let from = meter.read();
        run(&mut child);
        let to = meter.read();
        let cpu = to.cpu_since(&from).unwrap();
        // It burns until its own clock says so. The process may be seen on its way into its last read.
        assert!((100_000_000..106_000_000).contains(&cpu), "{cpu} ns");
        let spent = meter.spent(&from, &to, meter.footprint());
        assert!(spent.context_switches.is_some_and(|switches| switches >= 1));
        assert_eq!(spent.syscalls, None);
        // The test harness has a thread for its one test.
        assert_eq!((spent.threads, spent.processes), (Some(2), Some(1)));
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn without_perf_events_ended_children_count_by_what_they_were_billed() {
        let mut child = watched("parent_of_burners");
        let mut meter = without_perf(&child);
        let from = meter.read();
        run(&mut child);
        let to = meter.read();
        let spent = meter.spent(&from, &to, Footprint::default());
        assert!(
            spent.cpu_ns.is_some_and(|ns| ns >= 100_000_000),
            "{spent:?}"
        );
        assert_eq!(
            spent.context_switches, None,
            "the children took theirs along"
        );
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_process_that_is_not_there_is_refused() {
        let mut child = watched("burner");
        child.kill().unwrap();
        child.wait().unwrap();
        let error = Meter::attach(child.id()).unwrap_err();
        assert!(
            error.to_string().contains(&child.id().to_string()),
            "{error}"
        );
    }
}

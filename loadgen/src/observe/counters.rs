//! Software perf events: exact counts, which all threads and children of a process inherit.

use std::io;
use std::sync::OnceLock;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use perf_event::events::Software;
use perf_event::{Builder, Counter};

/// The perf event type of tracepoints, from `linux/perf_event.h`.
const PERF_TYPE_TRACEPOINT: u32 = 2;

/// The counters of a process tree; each is empty where the kernel refused the event.
#[derive(Debug, Default)]
pub struct Counters {
    task_clock: Vec<Counter>,
    context_switches: Vec<Counter>,
    syscalls: Vec<Counter>,
}

impl Counters {
    /// Counts these threads and all that they make from now on. Also says what is not counted exactly here, and why.
    pub fn on_threads(threads: &[i32]) -> (Self, Option<&'static str>) {
        // The kernel allows most users only events of user space. For task-clock, a clock, that makes no difference.
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
                "system calls are not counted: that needs tracefs and the right to read it (CAP_PERFMON or root)",
            ),
            (Err(_), _) => Some(
                "taken from /proc, which misses the switches of ended threads and all system calls: \
                 perf events are not permitted here (sysctl kernel.perf_event_paranoid, CAP_PERFMON)",
            ),
        };
        let counters = Self {
            task_clock,
            context_switches: switches.unwrap_or_default(),
            syscalls: syscalls.unwrap_or_default(),
        };
        (counters, note)
    }

    /// CPU time so far, nanoseconds.
    pub fn cpu(&mut self) -> Option<u64> {
        sum(&mut self.task_clock)
    }

    /// Context switches so far.
    pub fn context_switches(&mut self) -> Option<u64> {
        sum(&mut self.context_switches)
    }

    /// System calls so far.
    pub fn syscalls(&mut self) -> Option<u64> {
        sum(&mut self.syscalls)
    }
}

/// A clock of the time that a thread runs.
fn clock(kernel_too: bool) -> Builder<'static> {
    let mut builder = Builder::new().kind(Software::TASK_CLOCK);
    builder.exclude_kernel(!kernel_too);
    builder
}

/// An inherited, running counter on each thread; threads that have ended are left out.
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

/// Mounts tracefs so that only the calling thread sees it; the mount ends with the thread.
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

//! Software perf events: exact counts, which all threads and children of a process inherit.

use std::io::{self, ErrorKind};
use std::sync::OnceLock;

use nix::errno::Errno;
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
    pub fn on_threads(threads: &[i32]) -> (Self, Option<String>) {
        // The kernel allows most users only events of user space. For task-clock, a clock, that makes no difference.
        let task_clock =
            open_all(threads, &|| clock(true)).or_else(|_| open_all(threads, &|| clock(false)));
        let switches = open_all(threads, &|| {
            let mut builder = Builder::new().kind(Software::CONTEXT_SWITCHES);
            builder.include_kernel();
            builder
        });
        let syscalls = match syscall_tracepoint() {
            Ok(id) => open_all(threads, &|| {
                let mut builder = Builder::new().kind(Software::DUMMY);
                builder.include_kernel();
                builder.attrs_mut().type_ = PERF_TYPE_TRACEPOINT;
                builder.attrs_mut().config = id;
                builder
            })
            .map_err(|error| why_not(&error)),
            Err(why) => Err(why),
        };
        let note = match (&task_clock, &switches, &syscalls) {
            (_, Err(error), _) => Some(format!(
                "taken from /proc, which misses the switches of ended threads and all system calls: {}",
                why_not(error)
            )),
            (Err(error), Ok(_), _) => Some(format!(
                "the CPU time is taken from /proc, in steps of 10 ms for ended children: {}",
                why_not(error)
            )),
            (Ok(_), Ok(_), Err(why)) => Some(format!("system calls are not counted: {why}")),
            (Ok(_), Ok(_), Ok(_)) => None,
        };
        let counters = Self {
            task_clock: task_clock.unwrap_or_default(),
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

/// Why perf events cannot be opened, and what helps.
fn why_not(error: &io::Error) -> String {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EACCES | Errno::EPERM) => {
            "perf events are not permitted here (sysctl kernel.perf_event_paranoid, CAP_PERFMON)"
                .to_owned()
        }
        Some(Errno::EMFILE) => {
            "no descriptor is left for perf events: raise the limit (ulimit -n)".to_owned()
        }
        Some(Errno::ENFILE) => {
            "the machine has no descriptor left for perf events (sysctl fs.file-max)".to_owned()
        }
        Some(Errno::ENOSYS) => {
            "there are no perf events here: the kernel or a sandbox leaves them out".to_owned()
        }
        _ => format!("perf events cannot be opened: {error}"),
    }
}

/// The number of the tracepoint `raw_syscalls:sys_enter`, or why it cannot be had.
fn syscall_tracepoint() -> Result<u64, String> {
    static ID: OnceLock<u64> = OnceLock::new();
    if let Some(id) = ID.get() {
        return Ok(*id);
    }
    let privately = || {
        mount_privately()?;
        read_tracepoint()
    };
    let id = read_tracepoint().or_else(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::PermissionDenied => {
            let thread = std::thread::Builder::new().spawn(privately)?;
            thread.join().unwrap_or(Err(error))
        }
        _ => Err(error),
    });
    match id {
        Ok(id) => Ok(*ID.get_or_init(|| id)),
        Err(error) => Err(match error.kind() {
            ErrorKind::NotFound | ErrorKind::PermissionDenied => {
                "that needs tracefs and the right to read it (CAP_PERFMON or root)".to_owned()
            }
            _ => format!("tracefs cannot be read: {error}"),
        }),
    }
}

fn read_tracepoint() -> io::Result<u64> {
    let read = |tracefs| {
        let path = format!("{tracefs}/events/raw_syscalls/sys_enter/id");
        let id = std::fs::read_to_string(path)?;
        id.trim().parse().map_err(io::Error::other)
    };
    read("/sys/kernel/tracing").or_else(|error| match error.kind() {
        ErrorKind::NotFound => read("/sys/kernel/debug/tracing"),
        _ => Err(error),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_is_told_as_what_it_is() {
        for (errno, said) in [
            (Errno::EACCES, "not permitted"),
            (Errno::EPERM, "not permitted"),
            (Errno::EMFILE, "ulimit -n"),
            (Errno::ENFILE, "fs.file-max"),
            (Errno::ENOSYS, "sandbox"),
            (Errno::ENOMEM, "Cannot allocate memory"),
        ] {
            let why = why_not(&errno.into());
            assert!(why.contains(said), "{why}");
            assert_eq!(why.contains("permitted"), said == "not permitted", "{why}");
        }
    }
}

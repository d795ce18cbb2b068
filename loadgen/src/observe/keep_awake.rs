//! Keeps the cores awake: a spinner in the scheduler's idle class on each.
//!
//! An idle core halts, and to wake it costs more than most servers do for a request; on a virtual machine the
//! hypervisor takes part. A thread of the class `SCHED_IDLE` yields its core at once to any other thread that has
//! work, so it uses only the time in which the core would have slept.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;

use nix::libc;
use nix::time::ClockId;
use nix::unistd::{Pid, gettid};
use supervisor::pin;
use thread_priority::{
    NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};

/// The running spinners; they end when it is dropped.
#[derive(Debug, Default)]
pub struct KeepAwake {
    spinners: Vec<Spinner>,
    stop: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Spinner {
    clock: ClockId,
    thread: JoinHandle<()>,
}

impl KeepAwake {
    /// Starts a spinner on each of these cores. If the kernel refuses the idle class on a core, that core may sleep:
    /// a spinner of the ordinary class would take time from others.
    pub fn on(cpus: &[usize]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let spinners = cpus
            .iter()
            .filter_map(|&cpu| Spinner::start(cpu, &stop))
            .collect();
        Self { spinners, stop }
    }

    /// The number of spinners that run.
    pub fn cores(&self) -> usize {
        self.spinners.len()
    }

    /// CPU time of all spinners so far, nanoseconds.
    pub fn cpu_ns(&self) -> u64 {
        self.spinners
            .iter()
            .map(|spinner| cpu_ns(spinner.clock))
            .sum()
    }
}

impl Drop for KeepAwake {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for spinner in self.spinners.drain(..) {
            // A spinner never panics.
            let _ = spinner.thread.join();
        }
    }
}

impl Spinner {
    fn start(cpu: usize, stop: &Arc<AtomicBool>) -> Option<Self> {
        let stop = Arc::clone(stop);
        let (ready, started) = mpsc::sync_channel(1);
        let thread = std::thread::Builder::new()
            .name(format!("keep-awake-{cpu}"))
            .spawn(move || {
                let prepared = sink_to(cpu);
                let _ = ready.send(prepared.then(gettid));
                if prepared {
                    // No `spin_loop` hint: on a virtual machine many PAUSEs in a row make the
                    // hypervisor take the core away.
                    while !stop.load(Ordering::Relaxed) {}
                }
            })
            .ok()?;
        let clock = thread_clock(started.recv().ok()??);
        Some(Self { clock, thread })
    }
}

/// Puts the calling thread on one core, in the idle class.
fn sink_to(cpu: usize) -> bool {
    pin(&[cpu]).is_ok()
        && set_thread_priority_and_policy(
            thread_native_id(),
            ThreadPriority::Min,
            ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle),
        )
        .is_ok()
}

/// The CPU clock of another thread of this process, computed as in `pthread_getcpuclockid`: the complement of the
/// thread's id above three bits that say "of one thread, as scheduled".
fn thread_clock(thread: Pid) -> ClockId {
    const PER_THREAD: libc::clockid_t = 4;
    const SCHEDULED: libc::clockid_t = 2;
    ClockId::from_raw((!thread.as_raw() << 3) | PER_THREAD | SCHEDULED)
}

/// A CPU clock's reading in nanoseconds; 0 for a thread that has ended.
pub(crate) fn cpu_ns(clock: ClockId) -> u64 {
    clock.now().map_or(0, |time| {
        time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64
    })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_spinner_yields_to_whoever_has_work() {
        let awake = KeepAwake::on(&[0]);
        assert_eq!(awake.cores(), 1);
        // Other programs take time from the loop, too. So the spinner's own time is compared, which they cannot
        // make larger. It runs for a second, since the scheduler gives it a whole tick at a time.
        let share = std::thread::scope(|scope| {
            let loop_on_its_core = scope.spawn(|| {
                pin(&[0]).unwrap();
                let (start, before) = (Instant::now(), awake.cpu_ns());
                while start.elapsed() < Duration::from_secs(1) {}
                (awake.cpu_ns() - before) as f64 / start.elapsed().as_nanos() as f64
            });
            loop_on_its_core.join().unwrap()
        });
        assert!(share < 0.01, "the spinner took {share} of a busy core");
    }

    #[test]
    fn an_idle_core_is_kept_busy() {
        let awake = KeepAwake::on(&[0]);
        let deadline = Instant::now() + Duration::from_secs(20);
        while awake.cpu_ns() < 10_000_000 {
            assert!(Instant::now() < deadline, "the spinner does not run");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

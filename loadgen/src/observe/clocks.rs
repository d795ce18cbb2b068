//! The CPU clocks of the whole machine, read at two instants.

use std::fs::File;
use std::io::Seek;
use std::time::{Duration, Instant};

use nix::time::ClockId;
use procfs::{FromReadSI, KernelStats, current_system_info};

use super::keep_awake::{KeepAwake, cpu_ns};
use super::observed::MachineShares;

/// The machine is quiet when other programs use less than this share of all cores.
const QUIET: f64 = 0.05;

/// The machine's clocks, to be read several times.
#[derive(Debug)]
pub struct MachineClocks<'a> {
    keep_awake: &'a KeepAwake,
    /// `/proc/stat`. It stays open, since the connections may use up the descriptors.
    stat: Option<File>,
}

/// The machine's clocks at one instant, nanoseconds.
#[derive(Debug, Clone, Copy)]
pub struct MachineReading {
    at: Instant,
    /// `None`: the kernel does not say.
    cores: Option<Cores>,
    /// Of this process.
    own: u64,
    /// Of the spinners in this process.
    spinners: u64,
}

/// Over all cores, nanoseconds.
#[derive(Debug, Clone, Copy)]
struct Cores {
    idle: u64,
    steal: u64,
}

impl<'a> MachineClocks<'a> {
    /// Gets ready to read them.
    pub fn new(keep_awake: &'a KeepAwake) -> Self {
        Self {
            keep_awake,
            stat: File::open("/proc/stat").ok(),
        }
    }

    /// Reads them.
    pub fn now(&self) -> MachineReading {
        MachineReading {
            at: Instant::now(),
            cores: self.cores(),
            own: cpu_ns(ClockId::CLOCK_PROCESS_CPUTIME_ID),
            spinners: self.keep_awake.cpu_ns(),
        }
    }

    fn cores(&self) -> Option<Cores> {
        let mut stat = self.stat.as_ref()?;
        stat.rewind().ok()?;
        let total = KernelStats::from_read(stat, current_system_info())
            .ok()?
            .total;
        let ticks = |count: u64| count * (1_000_000_000 / procfs::ticks_per_second());
        Some(Cores {
            idle: ticks(total.idle + total.iowait.unwrap_or(0)),
            steal: ticks(total.steal.unwrap_or(0)),
        })
    }
}

impl MachineReading {
    /// CPU time of this process without its spinners since an earlier reading, nanoseconds.
    pub fn generator_since(&self, earlier: &Self) -> u64 {
        (self.own - earlier.own).saturating_sub(self.spinners - earlier.spinners)
    }

    /// Shares of all `cores` since an earlier reading. The kernel billed `server_ns` of CPU time to the server in
    /// between; `None`: nobody knows how much.
    ///
    /// The kernel's idle and steal times have steps of 10 ms for each core; everything else is exact.
    pub fn since(&self, earlier: &Self, server_ns: Option<u64>, cores: usize) -> MachineShares {
        let total = (self.at - earlier.at).as_nanos() as f64 * cores as f64;
        let (Some(now), Some(then), true) = (self.cores, earlier.cores, total > 0.0) else {
            return MachineShares::default();
        };
        let share = |ns: u64| ns as f64 / total;
        let steal = share(now.steal.saturating_sub(then.steal));
        let idle = share(now.idle.saturating_sub(then.idle));
        let spinners = share(self.spinners - earlier.spinners);
        let busy = (1.0 - idle - steal - spinners).clamp(0.0, 1.0);
        let generator = share(self.generator_since(earlier));
        MachineShares {
            cpu_share: Some(busy),
            foreign_share: server_ns.map(|server| (busy - generator - share(server)).max(0.0)),
            steal_share: Some(steal),
            kernel_kib: None,
        }
    }
}

/// Waits until nothing but the spinners runs, but at most for `limit` and while `cancelled` returns false. Returns
/// whether the machine is quiet.
pub fn wait_until_quiet(
    keep_awake: &KeepAwake,
    cores: usize,
    limit: Duration,
    cancelled: &mut dyn FnMut() -> bool,
) -> bool {
    // With spinners all clocks are exact. Without them idle time is counted in steps of 10 ms, which need a longer
    // window.
    let window = Duration::from_millis(if keep_awake.cores() == cores { 20 } else { 100 });
    let deadline = Instant::now() + limit;
    let clocks = MachineClocks::new(keep_awake);
    loop {
        let before = clocks.now();
        std::thread::sleep(window);
        let shares = clocks.now().since(&before, Some(0), cores);
        if shares.foreign_share.is_some_and(|share| share < QUIET) {
            return true;
        }
        if Instant::now() >= deadline || cancelled() {
            return false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generators_own_time_is_not_foreign() {
        let nobody = KeepAwake::default();
        let clocks = MachineClocks::new(&nobody);
        let before = clocks.now();
        // However long this thread has to wait for a core.
        let after = loop {
            let now = clocks.now();
            if now.generator_since(&before) > 100_000_000 {
                break now;
            }
        };
        let shares = after.since(&before, Some(0), 1);
        let all = MachineReading {
            own: before.own,
            ..after
        }
        .since(&before, Some(0), 1);
        assert!(shares.foreign_share.unwrap() <= all.foreign_share.unwrap());
        assert!((0.0..=1.0).contains(&shares.cpu_share.unwrap()));
    }

    #[test]
    fn what_cannot_be_read_is_no_share() {
        let nobody = KeepAwake::default();
        let clocks = MachineClocks::new(&nobody);
        let before = clocks.now();
        while before.at.elapsed() < Duration::from_millis(1) {}
        let after = clocks.now();
        let none = MachineShares::default();
        let hidden = MachineReading {
            cores: None,
            ..after
        };
        assert_eq!(hidden.since(&before, Some(0), 1), none);
        assert_eq!(after.since(&before, Some(0), 0), none);
        let unknown_server = after.since(&before, None, 1);
        assert_eq!(unknown_server.foreign_share, None);
        assert!(unknown_server.steal_share.is_some());
    }
}

//! The CPU clocks of the whole machine, read at two instants.

use std::time::{Duration, Instant};

use nix::time::ClockId;
use procfs::CurrentSI;

use super::keep_awake::{KeepAwake, cpu_ns};
use super::observed::MachineShares;

/// The machine is quiet when other programs use less than this share of all cores.
const QUIET: f64 = 0.05;

/// The machine's clocks at one instant, nanoseconds.
#[derive(Debug, Clone, Copy)]
pub struct MachineReading {
    at: Instant,
    /// Over all cores.
    idle: u64,
    steal: u64,
    /// Of this process.
    own: u64,
    /// Of the spinners in this process.
    spinners: u64,
}

impl MachineReading {
    /// Reads the clocks.
    pub fn now(keep_awake: &KeepAwake) -> Self {
        let total = procfs::KernelStats::current().map(|stats| stats.total).ok();
        let ticks = |count: u64| count * (1_000_000_000 / procfs::ticks_per_second());
        Self {
            at: Instant::now(),
            idle: total
                .as_ref()
                .map_or(0, |cpu| ticks(cpu.idle + cpu.iowait.unwrap_or(0))),
            steal: total
                .as_ref()
                .map_or(0, |cpu| ticks(cpu.steal.unwrap_or(0))),
            own: cpu_ns(ClockId::CLOCK_PROCESS_CPUTIME_ID),
            spinners: keep_awake.cpu_ns(),
        }
    }

    /// CPU time of this process without its spinners since an earlier reading, nanoseconds.
    pub fn generator_since(&self, earlier: &Self) -> u64 {
        (self.own - earlier.own).saturating_sub(self.spinners - earlier.spinners)
    }

    /// Shares of all `cores` since an earlier reading. The kernel billed `server_ns` of CPU time to the server in
    /// between.
    ///
    /// The kernel's idle and steal times have steps of 10 ms for each core; everything else is exact.
    pub fn since(&self, earlier: &Self, server_ns: u64, cores: usize) -> MachineShares {
        let total = (self.at - earlier.at).as_nanos() as f64 * cores as f64;
        let share = |ns: u64| ns as f64 / total;
        let steal = share(self.steal.saturating_sub(earlier.steal));
        let idle = share(self.idle.saturating_sub(earlier.idle));
        let spinners = share(self.spinners - earlier.spinners);
        let busy = (1.0 - idle - steal - spinners).clamp(0.0, 1.0);
        let ours = share(self.generator_since(earlier)) + share(server_ns);
        MachineShares {
            cpu_share: busy,
            foreign_share: (busy - ours).max(0.0),
            steal_share: steal,
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
    loop {
        let before = MachineReading::now(keep_awake);
        std::thread::sleep(window);
        let shares = MachineReading::now(keep_awake).since(&before, 0, cores);
        if shares.foreign_share < QUIET {
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
        let before = MachineReading::now(&nobody);
        while before.at.elapsed() < Duration::from_millis(100) {}
        let after = MachineReading::now(&nobody);
        assert!(after.generator_since(&before) > 10_000_000);
        let shares = after.since(&before, 0, 1);
        let all = MachineReading {
            own: before.own,
            ..after
        }
        .since(&before, 0, 1);
        assert!(shares.foreign_share <= all.foreign_share);
        assert!((0.0..=1.0).contains(&shares.cpu_share));
    }
}

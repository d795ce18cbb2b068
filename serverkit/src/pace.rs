//! Burns a given CPU time without a system call.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// How fast this machine computes. `--work` cannot read a clock while it computes. The clock of a
/// thread's CPU time costs a system call, and the wall clock also runs while another thread has the
/// core.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    steps_per_second: f64,
}

/// What was measured, for the processes of a server; 0: nothing yet.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Shared(AtomicU64);

impl Pace {
    /// A pace for servers without `--work`.
    pub const UNKNOWN: Self = Self {
        steps_per_second: 0.0,
    };

    /// What another process of this server has measured, or else measures.
    pub(crate) fn shared(shared: &Shared) -> nix::Result<Self> {
        let steps_per_second = f64::from_bits(shared.0.load(Relaxed));
        if steps_per_second > 0.0 {
            return Ok(Self { steps_per_second });
        }
        let pace = Self::measure()?;
        shared.0.store(pace.steps_per_second.to_bits(), Relaxed);
        Ok(pace)
    }

    /// Measures for about 30 ms.
    fn measure() -> nix::Result<Self> {
        const RUNS: usize = 15;
        let used = || clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from);
        let mut steps = 1 << 16;
        let mut pace = || -> nix::Result<f64> {
            let start = used()?;
            compute(steps);
            let time = used()?.saturating_sub(start).max(Duration::from_nanos(1));
            let pace = steps as f64 / time.as_secs_f64();
            // The next run takes 2 ms. The first ones also wake the core up.
            steps = (pace * 0.002) as u64;
            Ok(pace)
        };
        let mut paces = (0..RUNS).map(|_| pace()).collect::<nix::Result<Vec<_>>>()?;
        // Interrupts make a run slower and nothing makes it quicker, but requests meet them, too.
        paces.sort_unstable_by(f64::total_cmp);
        Ok(Self {
            steps_per_second: paces[RUNS / 2],
        })
    }

    /// Keeps the calling thread computing for this much CPU time, without a system call.
    pub fn burn(self, time: Duration) {
        compute((time.as_secs_f64() * self.steps_per_second) as u64);
    }
}

/// Each step needs the result of the one before, so a busy neighbour on the same core hardly slows
/// it down, and it touches no memory.
#[inline(never)]
fn compute(steps: u64) {
    let mut x = black_box(88_172_645_463_325_252_u64);
    for _ in 0..steps {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
    }
    black_box(x);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_time_is_what_was_asked_for() {
        let used = || Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap());
        let pace = Pace::measure().unwrap();
        for time in [50, 1000, 100_000].map(Duration::from_micros) {
            let mut ratios: Vec<f64> = (0..9)
                .map(|_| {
                    let start = used();
                    pace.burn(time);
                    used().saturating_sub(start).div_duration_f64(time)
                })
                .collect();
            ratios.sort_unstable_by(f64::total_cmp);
            // 2 % where nobody else computes. Here other tests do, on the same cores.
            assert!((0.7..1.5).contains(&ratios[4]), "{time:?}: {ratios:?}");
        }
    }
}

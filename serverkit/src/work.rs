//! `--work`: CPU time burnt for each request.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Keeps the calling thread computing until it has used this much CPU time. Time in which
/// another thread has the core does not count, so the cost is the same on a busy machine.
pub fn burn(time: Duration) {
    if time.is_zero() {
        return;
    }
    let used =
        || clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::MAX, Duration::from);
    let until = used().saturating_add(time);
    while used() < until {
        for _ in 0..100 {
            std::hint::spin_loop();
        }
    }
}

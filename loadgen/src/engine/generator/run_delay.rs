//! How long a thread was runnable but not running, as the kernel counts it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

/// Longer than the line of three numbers can be.
const LINE: usize = 128;

/// The run delay of one thread.
pub struct RunDelay {
    /// It stays open, since the connections may use up the descriptors.
    schedstat: Option<File>,
}

impl RunDelay {
    /// Of the calling thread.
    pub fn of_this_thread() -> Self {
        Self {
            schedstat: File::open("/proc/thread-self/schedstat").ok(),
        }
    }

    /// The delay so far; `None`: it cannot be read here.
    pub fn read(&self) -> Option<Duration> {
        let mut line = [0; LINE];
        let length = self.schedstat.as_ref()?.read_at(&mut line, 0).ok()?;
        run_delay(str::from_utf8(&line[..length]).ok()?)
    }
}

/// The second number of a schedstat: CPU time, run delay, and how often it was given a core.
fn run_delay(schedstat: &str) -> Option<Duration> {
    let mut numbers = schedstat.split_ascii_whitespace();
    let mut next = || numbers.next()?.parse::<u64>().ok();
    let [_, delay, turns] = [next()?, next()?, next()?];
    // A thread that reads this was given a core at least once. A kernel that does not count says zero.
    (turns > 0).then(|| Duration::from_nanos(delay))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_does_not_count_is_not_zero() {
        // A thread that has just begun has used no CPU time yet.
        for counted in ["7 5 3\n", "0 5 1\n"] {
            assert_eq!(run_delay(counted), Some(Duration::from_nanos(5)));
        }
        for uncounted in ["0 0 0\n", "7 5\n", "", "7 x 3\n"] {
            assert_eq!(run_delay(uncounted), None, "{uncounted:?}");
        }
    }

    #[test]
    fn the_delay_of_a_thread_only_grows() {
        let delay = RunDelay::of_this_thread();
        let before = delay.read().unwrap();
        assert!(delay.read().unwrap() >= before);
        assert_eq!(RunDelay { schedstat: None }.read(), None);
    }
}

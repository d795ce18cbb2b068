//! Whether a thread that has nothing to do polls for a while before it sleeps.
//!
//! To wake a sleeping thread costs the waker CPU time: a server on another core sends that core an interrupt with
//! each answer. On a virtual machine this was nearly half of what an answer over TLS cost nginx, and it made the
//! quicker of two generators measure the lower rate. So a thread that will probably have an answer soon does not
//! sleep. If answers take longer, the thread learns it, and sleeps at once.
//!
//! It does so only on a core of its own. On a shared core it would keep the server waiting. To yield does not
//! help: the scheduler then runs any other thread that wants the core, even one of the lowest priority, for
//! milliseconds.

/// How long it polls before it sleeps, nanoseconds.
const STRETCH: u64 = 50_000;
/// If nothing comes while it polls, time after time, it polls before every 64th sleep only.
const MOST_SKIPPED: u32 = 64;

/// What it has learned.
#[derive(Debug)]
pub struct Polling {
    /// The thread has a core of its own.
    has_a_core: bool,
    /// When something had arrived the last time.
    active: u64,
    /// So many further sleeps begin without polling.
    skip: u32,
    /// The number for `skip` after the last stretch in which nothing came; it doubles each time.
    skipped: u32,
}

impl Polling {
    /// The state of a thread that has learned nothing yet.
    pub fn new(has_a_core: bool) -> Self {
        Self {
            has_a_core,
            active: 0,
            skip: 0,
            skipped: 0,
        }
    }

    /// Whether to poll once more. If not, the caller sleeps.
    pub fn goes_on(&mut self, now: u64) -> bool {
        if !self.has_a_core || self.skip > 0 {
            return false;
        }
        if now.saturating_sub(self.active) < STRETCH {
            return true;
        }
        self.skipped = (2 * self.skipped).clamp(1, MOST_SKIPPED);
        self.skip = self.skipped;
        false
    }

    /// Something has arrived, while it polled or slept.
    pub fn found(&mut self, now: u64, asked: bool) {
        self.active = now;
        if asked {
            self.skipped = 0;
        } else {
            self.skip = self.skip.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Something arrives at this time after each reading, a thousand times: how often it sleeps, and how long it asks.
    fn waits(gap: u64) -> (u32, u64) {
        const TURN: u64 = 500;
        let mut polling = Polling::new(true);
        let (mut now, mut sleeps, mut asked) = (0, 0, 0);
        for _ in 0..1000 {
            let arrival = now + gap;
            let mut slept = false;
            while now < arrival {
                if polling.goes_on(now) {
                    now += TURN;
                    asked += TURN;
                } else {
                    now = arrival;
                    sleeps += 1;
                    slept = true;
                }
            }
            polling.found(now, !slept);
        }
        (sleeps, asked)
    }

    #[test]
    fn it_asks_where_answers_come_soon_and_sleeps_where_they_do_not() {
        assert_eq!(waits(STRETCH / 5), (0, 1000 * STRETCH / 5));
        let (sleeps, asked) = waits(20 * STRETCH);
        assert_eq!(sleeps, 1000);
        // Six stretches until it has learned that, and then one for 64 sleeps.
        assert!(asked <= (7 + 1000 / 64) * STRETCH, "{asked}");
    }

    #[test]
    fn without_a_core_of_its_own_it_sleeps_at_once() {
        assert!(!Polling::new(false).goes_on(1));
        assert!(Polling::new(true).goes_on(1));
    }

    #[test]
    fn it_asks_again_when_answers_come_sooner() {
        let mut polling = Polling::new(true);
        for turn in 1..1000 {
            let now = turn * 20 * STRETCH;
            polling.goes_on(now);
            polling.found(now, false);
        }
        let mut turns = 0;
        while !polling.goes_on(20_000 * STRETCH) {
            polling.found(20_000 * STRETCH, false);
            turns += 1;
        }
        assert!(turns <= MOST_SKIPPED, "{turns}");
    }
}

//! When a loop must wake though no socket is ready: idle clients, a full server's next try, the
//! end of the grace.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// The soonest deadline of each of many tokens.
///
/// A deadline that moves later, as an idle timeout does with each byte, costs nothing: the earlier
/// one stays, and the loop that it wakes asks the connection and sets the new one.
#[derive(Debug, Default)]
pub struct Deadlines {
    in_order: BTreeSet<(Instant, usize)>,
    /// The same by token.
    armed: Vec<Option<Instant>>,
}

impl Deadlines {
    /// Wakes for `token` at `at` or sooner. Tokens are small numbers: a table is indexed by them.
    pub fn set(&mut self, token: usize, at: Instant) {
        if self.armed.len() <= token {
            self.armed.resize(token + 1, None);
        }
        let armed = &mut self.armed[token];
        if armed.is_none_or(|earlier| at < earlier) {
            if let Some(later) = armed.replace(at) {
                self.in_order.remove(&(later, token));
            }
            self.in_order.insert((at, token));
        }
    }

    /// How long the loop may wait from `now`; `None`: for ever.
    pub fn timeout(&self, now: Instant) -> Option<Duration> {
        let (at, _) = self.in_order.first()?;
        Some(at.saturating_duration_since(now))
    }

    /// There are no deadlines.
    pub fn is_empty(&self) -> bool {
        self.in_order.is_empty()
    }

    /// The next token whose deadline has passed.
    pub fn expired(&mut self, now: Instant) -> Option<usize> {
        let &(_, token) = self.in_order.first().filter(|(at, _)| *at <= now)?;
        self.in_order.pop_first();
        self.armed[token] = None;
        Some(token)
    }
}

/// A timeout in whole milliseconds, rounded up so that the loop does not wake too soon and spin.
pub fn millis(timeout: Option<Duration>) -> Option<u16> {
    timeout.map(|t| {
        t.as_nanos()
            .div_ceil(1_000_000)
            .try_into()
            .unwrap_or(u16::MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_that_moves_later_is_not_entered_twice() {
        let start = Instant::now();
        let mut deadlines = Deadlines::default();
        for i in 0..1000 {
            deadlines.set(3, start + Duration::from_secs(1 + i));
        }
        assert_eq!(deadlines.in_order.len(), 1);
        assert_eq!(deadlines.expired(start), None);
        assert_eq!(deadlines.expired(start + Duration::from_secs(1)), Some(3));
        assert_eq!(deadlines.timeout(start), None);
    }

    #[test]
    fn a_sooner_deadline_replaces_a_later_one() {
        let start = Instant::now();
        let mut deadlines = Deadlines::default();
        deadlines.set(0, start + Duration::from_mins(1));
        deadlines.set(0, start + Duration::from_secs(1));
        deadlines.set(1, start + Duration::from_secs(2));
        let late = start + Duration::from_secs(100);
        assert_eq!(deadlines.timeout(start), Some(Duration::from_secs(1)));
        assert_eq!(deadlines.expired(late), Some(0));
        assert_eq!(deadlines.expired(late), Some(1));
        assert_eq!(deadlines.expired(late), None, "the one of 60 s is gone");
    }

    #[test]
    fn milliseconds_round_up() {
        assert_eq!(millis(Some(Duration::from_nanos(1))), Some(1));
        assert_eq!(millis(Some(Duration::ZERO)), Some(0));
        assert_eq!(millis(Some(Duration::from_secs(1000))), Some(u16::MAX));
        assert_eq!(millis(None), None);
    }
}

//! Wakes tasks at a given time.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// The tasks that sleep, by time. Those of the same time are in the order in which they came.
#[derive(Default)]
pub struct Timers {
    sleeping: RefCell<BTreeMap<(Instant, u64), Waker>>,
    /// The last number given to a [`Sleep`].
    last_number: Cell<u64>,
}

/// Waits until a given time; see [`Timers::sleep_until`].
pub struct Sleep<'a> {
    timers: &'a Timers,
    at: Instant,
    /// Its number, once it has been polled.
    number: Option<u64>,
}

impl Timers {
    /// Ready at once if it is `at` or later. Otherwise ready after the first [`Timers::wake_due`] from
    /// then on.
    pub fn sleep_until(&self, at: Instant) -> Sleep<'_> {
        Sleep {
            timers: self,
            at,
            number: None,
        }
    }

    /// How long it is from `now` until the first task is due; `None` if no task sleeps.
    pub fn timeout(&self, now: Instant) -> Option<Duration> {
        let sleeping = self.sleeping.borrow();
        let ((at, _), _) = sleeping.first_key_value()?;
        Some(at.saturating_duration_since(now))
    }

    /// Wakes the tasks that are due.
    pub fn wake_due(&self, now: Instant) {
        let mut sleeping = self.sleeping.borrow_mut();
        while let Some(first) = sleeping.first_entry()
            && first.key().0 <= now
        {
            first.remove().wake();
        }
    }
}

impl Future for Sleep<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context) -> Poll<()> {
        let mut sleeping = self.timers.sleeping.borrow_mut();
        if let Some(number) = self.number {
            return match sleeping.get_mut(&(self.at, number)) {
                Some(waker) => {
                    waker.clone_from(context.waker());
                    Poll::Pending
                }
                None => Poll::Ready(()),
            };
        }
        if self.at <= Instant::now() {
            return Poll::Ready(());
        }
        let number = self.timers.last_number.get() + 1;
        self.timers.last_number.set(number);
        sleeping.insert((self.at, number), context.waker().clone());
        drop(sleeping);
        self.number = Some(number);
        Poll::Pending
    }
}

impl Drop for Sleep<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.timers.sleeping.borrow_mut().remove(&(self.at, number));
        }
    }
}

#[cfg(test)]
mod tests;

//! Wakes tasks when their time has come.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// The tasks that sleep, soonest first; those of the same time in the order in which they came.
#[derive(Default)]
pub struct Timers {
    sleeping: RefCell<BTreeMap<(Instant, u64), Waker>>,
    last_number: Cell<u64>,
}

/// Waits for a time; see [`Timers::sleep_until`].
pub struct Sleep<'a> {
    timers: &'a Timers,
    at: Instant,
    /// Its number, once it has been polled.
    number: Option<u64>,
}

impl Timers {
    /// Ready when `at` has come and [`Timers::wake_due`] was called, or if it has been already.
    pub fn sleep_until(&self, at: Instant) -> Sleep<'_> {
        Sleep {
            timers: self,
            at,
            number: None,
        }
    }

    /// How long from `now` until there is somebody to be woken; `None`: nobody sleeps.
    pub fn timeout(&self, now: Instant) -> Option<Duration> {
        let sleeping = self.sleeping.borrow();
        let ((at, _), _) = sleeping.first_key_value()?;
        Some(at.saturating_duration_since(now))
    }

    /// Wakes all whose time has come.
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

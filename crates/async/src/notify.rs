//! One task tells others that something has changed.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// Wakes all tasks that wait for it.
#[derive(Default)]
pub struct Notify {
    /// How often it was told.
    told: Cell<u64>,
    waiting: RefCell<BTreeMap<u64, Waker>>,
    last_number: Cell<u64>,
}

/// Waits for the first notification since it was made; see [`Notify::notified`].
pub struct Notified<'a> {
    notify: &'a Notify,
    told_before: u64,
    number: u64,
}

impl Notify {
    /// Tells all that wait.
    pub fn notify_all(&self) {
        self.told.set(self.told.get() + 1);
        for waker in self.waiting.take().into_values() {
            waker.wake();
        }
    }

    /// Ready after the next [`Notify::notify_all`], also if that comes before the first poll: made
    /// before a condition is looked at, it misses no change of it.
    pub fn notified(&self) -> Notified<'_> {
        let number = self.last_number.get() + 1;
        self.last_number.set(number);
        Notified {
            notify: self,
            told_before: self.told.get(),
            number,
        }
    }
}

impl Future for Notified<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context) -> Poll<()> {
        if self.notify.told.get() != self.told_before {
            return Poll::Ready(());
        }
        let mut waiting = self.notify.waiting.borrow_mut();
        waiting
            .entry(self.number)
            .and_modify(|waker| waker.clone_from(context.waker()))
            .or_insert_with(|| context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Notified<'_> {
    fn drop(&mut self) {
        self.notify.waiting.borrow_mut().remove(&self.number);
    }
}

#[cfg(test)]
mod tests;

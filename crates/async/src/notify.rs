//! A task tells other tasks that something has changed.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use slab::Slab;

/// Wakes all tasks that wait for it.
#[derive(Default)]
pub struct Notify {
    /// How often [`Notify::notify_all`] was called.
    notifications: Cell<u64>,
    waiting: RefCell<Slab<Waker>>,
}

/// Waits for the first notification after it was made; see [`Notify::notified`].
pub struct Notified<'a> {
    notify: &'a Notify,
    notifications_before: u64,
    /// Where its waker is, once it was polled.
    key: Option<usize>,
}

impl Notify {
    /// Wakes all tasks that wait now.
    pub fn notify_all(&self) {
        self.notifications.update(|n| n + 1);
        for (_, waker) in self.waiting.take() {
            waker.wake();
        }
    }

    /// Ready after the next [`Notify::notify_all`], even if that comes before the first poll. So no
    /// change is missed by a task that makes this future, then looks at the condition, then awaits.
    pub fn notified(&self) -> Notified<'_> {
        Notified {
            notify: self,
            notifications_before: self.notifications.get(),
            key: None,
        }
    }
}

impl Notified<'_> {
    fn is_notified(&self) -> bool {
        self.notify.notifications.get() != self.notifications_before
    }
}

impl Future for Notified<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context) -> Poll<()> {
        if self.is_notified() {
            return Poll::Ready(());
        }
        let mut waiting = self.notify.waiting.borrow_mut();
        if let Some(key) = self.key {
            waiting[key].clone_from(context.waker());
        } else {
            let key = waiting.insert(context.waker().clone());
            drop(waiting);
            self.key = Some(key);
        }
        Poll::Pending
    }
}

impl Drop for Notified<'_> {
    fn drop(&mut self) {
        // A notification has taken all wakers: the key may be another task's by now.
        if let Some(key) = self.key
            && !self.is_notified()
        {
            self.notify.waiting.borrow_mut().remove(key);
        }
    }
}

#[cfg(test)]
mod tests;

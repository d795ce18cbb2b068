//! A small event library. It calls a function when a descriptor is ready or a time has come.
//!
//! It is made in the manner of libev and of Redis' `ae`. A callback gets the loop and the state that
//! was given to [`EventLoop::run`]. It may watch, change and remove whatever it likes, itself
//! included. If it returns an error, the run ends with that error.
//!
//! These promises hold whatever callbacks do to each other:
//!
//! * After [`EventLoop::remove`] or [`EventLoop::cancel`] a callback is not called any more, not
//!   even for an event of the same batch. After [`EventLoop::change`] it is not called for what it
//!   no longer waits for.
//! * An event never reaches a newer watcher of the same descriptor number: each watcher has a number
//!   of its own, which is not used again.
//! * A timer set by a callback runs in the next turn at the soonest. So timers cannot keep the
//!   descriptors waiting, and a callback with more to do can set one for the present time.
//!
//! Readiness is level-triggered: what a callback leaves in its socket is reported again.
//!
//! Sources: Marc Lehmann, ev(3); Salvatore Sanfilippo, `ae.c` in Redis.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::AsFd;
use std::time::Instant;

use anyhow::Context as _;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use serverkit::deadlines::millis;
use serverkit::session::Interest;
use serverkit::trace::{self, Name};

/// What a callback returns.
pub type Result<T = ()> = anyhow::Result<T>;

/// No interest.
pub const NOTHING: Interest = Interest {
    read: false,
    write: false,
};

type ReadyCallback<S> = Box<dyn FnMut(&mut EventLoop<S>, &mut S, Interest) -> Result>;
type TimerCallback<S> = Box<dyn FnOnce(&mut EventLoop<S>, &mut S) -> Result>;

/// Names a watched descriptor. After its removal it names nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Watch(u64);

/// Names a timer. When that has run or was cancelled, it names nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timer {
    at: Instant,
    /// Orders timers of the same time.
    number: u64,
}

impl Timer {
    /// When it runs.
    pub fn at(self) -> Instant {
        self.at
    }
}

struct Watcher<S> {
    name: Name,
    interest: Interest,
    /// `None` while it runs.
    callback: Option<ReadyCallback<S>>,
}

/// The loop and all that it waits for; `S` is what the callbacks work on.
pub struct EventLoop<S> {
    epoll: Epoll,
    watchers: HashMap<Watch, Watcher<S>>,
    timers: BTreeMap<Timer, TimerCallback<S>>,
    /// The last number given to a watcher or a timer.
    number: u64,
}

impl<S> EventLoop<S> {
    /// A loop that waits for nothing yet.
    pub fn new() -> Result<Self> {
        Ok(Self {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("epoll_create1")?,
            watchers: HashMap::new(),
            timers: BTreeMap::new(),
            number: 0,
        })
    }

    /// Calls `callback` whenever `descriptor` is ready for some of `interest`, with what it is
    /// ready for. The trace calls it by `name`. A hang-up or an error counts as readiness for
    /// everything, whatever the interest is, because the kernel would report it with each wait.
    /// Remove the watcher before its descriptor is closed.
    pub fn watch(
        &mut self,
        name: Name,
        descriptor: &impl AsFd,
        interest: Interest,
        callback: impl FnMut(&mut Self, &mut S, Interest) -> Result + 'static,
    ) -> Result<Watch> {
        let watch = Watch(self.next_number());
        self.epoll
            .add(descriptor, event(watch, interest))
            .context("epoll_ctl")?;
        let callback: ReadyCallback<S> = Box::new(callback);
        let watcher = Watcher {
            name,
            interest,
            callback: Some(callback),
        };
        self.watchers.insert(watch, watcher);
        Ok(watch)
    }

    /// From now on waits for `interest`. If that is what it was, this costs no system call.
    pub fn change(&mut self, watch: Watch, descriptor: &impl AsFd, interest: Interest) -> Result {
        if let Some(watcher) = self.watchers.get_mut(&watch)
            && watcher.interest != interest
        {
            self.epoll
                .modify(descriptor, &mut event(watch, interest))
                .context("epoll_ctl")?;
            watcher.interest = interest;
        }
        Ok(())
    }

    /// Ends the watching and drops the callback. A callback that removes itself is dropped when it
    /// returns.
    pub fn remove(&mut self, watch: Watch, descriptor: &impl AsFd) {
        if self.watchers.remove(&watch).is_some() {
            // It fails only for a descriptor that the kernel does not watch.
            let _ = self.epoll.delete(descriptor);
        }
    }

    /// Calls `callback` once when it is `at`, or within a millisecond after. Timers of the same
    /// time run in the order in which they were set.
    pub fn set_timer(
        &mut self,
        at: Instant,
        callback: impl FnOnce(&mut Self, &mut S) -> Result + 'static,
    ) -> Timer {
        let timer = Timer {
            at,
            number: self.next_number(),
        };
        self.timers.insert(timer, Box::new(callback));
        timer
    }

    /// The timer will not run.
    pub fn cancel(&mut self, timer: Timer) {
        self.timers.remove(&timer);
    }

    /// Waits and calls until a callback fails or there is nothing left to wait for.
    pub fn run(&mut self, state: &mut S) -> Result {
        let mut events = [EpollEvent::empty(); 512];
        while !(self.watchers.is_empty() && self.timers.is_empty()) {
            let ready = self.wait(&mut events)?;
            // The timers of this turn. What callbacks set from now on comes after it.
            let last_timer = Timer {
                at: Instant::now(),
                number: self.number,
            };
            for event in &events[..ready] {
                self.call_ready(state, *event)?;
            }
            self.call_timers(state, last_timer)?;
        }
        Ok(())
    }

    fn wait(&self, events: &mut [EpollEvent]) -> Result<usize> {
        let left = self
            .timers
            .first_key_value()
            .map(|(timer, _)| timer.at.saturating_duration_since(Instant::now()));
        let timeout = millis(left).map_or(EpollTimeout::NONE, EpollTimeout::from);
        let waiting = trace::wait("epoll_wait", left, || self.awaited());
        let ready = match self.epoll.wait(events, timeout) {
            Err(Errno::EINTR) => return Ok(0),
            result => result.context("epoll_wait")?,
        };
        waiting.woke(|| trace::list(events[..ready].iter().filter_map(|event| self.name(event))));
        Ok(ready)
    }

    /// What it waits for, in the order in which that was watched; for the trace.
    fn awaited(&self) -> Vec<String> {
        let in_order: BTreeMap<_, _> = self.watchers.iter().collect();
        let watchers = in_order.values();
        let awaited =
            watchers.filter(|watcher| watcher.interest != NOTHING && watcher.name != trace::STOP);
        trace::list(awaited.map(|watcher| watcher.name.awaited(watcher.interest)))
    }

    /// What the event reports; for the trace.
    fn name(&self, event: &EpollEvent) -> Option<String> {
        let watcher = self.watchers.get(&Watch(event.data()))?;
        Some(
            watcher
                .name
                .ready(readiness(event.events(), watcher.interest)),
        )
    }

    fn call_ready(&mut self, state: &mut S, event: EpollEvent) -> Result {
        let watch = Watch(event.data());
        // An earlier callback of this turn may have removed it.
        let Some(watcher) = self.watchers.get_mut(&watch) else {
            return Ok(());
        };
        let ready = readiness(event.events(), watcher.interest);
        // Or changed it.
        if ready == NOTHING {
            return Ok(());
        }
        // Taken out, because the callback gets the loop that owns it.
        let Some(mut callback) = watcher.callback.take() else {
            return Ok(());
        };
        let result = callback(self, state, ready);
        // The callback may have removed itself.
        if let Some(watcher) = self.watchers.get_mut(&watch) {
            watcher.callback = Some(callback);
        }
        result
    }

    fn call_timers(&mut self, state: &mut S, last: Timer) -> Result {
        let due: Vec<Timer> = self
            .timers
            .range(..=last)
            .map(|(timer, _)| *timer)
            .collect();
        for timer in due {
            // An earlier one may have cancelled it.
            if let Some(callback) = self.timers.remove(&timer) {
                callback(self, state)?;
            }
        }
        Ok(())
    }

    fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }
}

fn event(watch: Watch, interest: Interest) -> EpollEvent {
    let mut flags = EpollFlags::empty();
    flags.set(EpollFlags::EPOLLIN, interest.read);
    flags.set(EpollFlags::EPOLLOUT, interest.write);
    EpollEvent::new(flags, watch.0)
}

/// What is ready of `interest`.
fn readiness(flags: EpollFlags, interest: Interest) -> Interest {
    let broken = flags.intersects(EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR);
    Interest {
        read: broken || interest.read && flags.contains(EpollFlags::EPOLLIN),
        write: broken || interest.write && flags.contains(EpollFlags::EPOLLOUT),
    }
}

#[cfg(test)]
mod tests;

//! A small event library: a callback is called when a descriptor is ready, a time has come or a
//! signal has arrived.
//!
//! In the manner of libev and of Redis' `ae`. Each callback is handed the loop and the state given
//! to [`EventLoop::run`]. It may watch, change and remove whatever it likes, itself included; an
//! error that it returns ends the run.
//!
//! Three promises hold whatever callbacks do to each other:
//!
//! * After [`EventLoop::remove`] or [`EventLoop::cancel`] a callback is not called any more, not
//!   even for an event that was reported together with the present one. The same after
//!   [`EventLoop::change`] for what is not waited for any more.
//! * An event never reaches a newer watcher of the same descriptor number: each watcher has a number
//!   of its own that is not used again.
//! * A timer that is set by a timer runs in the next turn at the soonest: timers cannot keep the
//!   descriptors waiting.
//!
//! Readiness is level-triggered: what a callback leaves in its socket is told again.
//!
//! Sources: Marc Lehmann, ev(3); Salvatore Sanfilippo, `ae.c` in Redis.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use serverkit::deadlines::millis;
use serverkit::session::Interest;

/// What a callback returns.
pub type Result = anyhow::Result<()>;

/// Interest in reading only.
pub const READABLE: Interest = Interest {
    read: true,
    write: false,
};

type ReadyCallback<S> = Box<dyn FnMut(&mut EventLoop<S>, &mut S, Interest) -> Result>;
type TimerCallback<S> = Box<dyn FnOnce(&mut EventLoop<S>, &mut S) -> Result>;

/// Names a watched descriptor; once that is removed, nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Watch(u64);

/// Names a timer; once it has run or was cancelled, nothing.
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
    interest: Interest,
    /// `None` while it runs.
    callback: Option<ReadyCallback<S>>,
}

/// The loop and all that it waits for; `S` is what the callbacks work on.
pub struct EventLoop<S> {
    epoll: Epoll,
    watchers: HashMap<Watch, Watcher<S>>,
    signals: Vec<(Signal, Rc<SignalFd>, Watch)>,
    timers: BTreeMap<Timer, TimerCallback<S>>,
    /// Of the next watcher or timer.
    number: u64,
    observer: fn(&S, usize),
}

impl<S> EventLoop<S> {
    /// A loop that waits for nothing yet. `observer` is told after each wait how many descriptors
    /// are ready.
    pub fn new(observer: fn(&S, usize)) -> nix::Result<Self> {
        Ok(Self {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            watchers: HashMap::new(),
            signals: Vec::new(),
            timers: BTreeMap::new(),
            number: 0,
            observer,
        })
    }

    /// Calls `callback` whenever `descriptor` is ready for some of `interest`, and tells it for
    /// what; a hang-up or an error counts as all of it. Remove it before the descriptor is closed.
    pub fn watch(
        &mut self,
        descriptor: &impl AsFd,
        interest: Interest,
        callback: impl FnMut(&mut Self, &mut S, Interest) -> Result + 'static,
    ) -> nix::Result<Watch> {
        let watch = Watch(self.next_number());
        if interest != Interest::default() {
            self.epoll.add(descriptor, event(watch, interest))?;
        }
        let callback: ReadyCallback<S> = Box::new(callback);
        let watcher = Watcher {
            interest,
            callback: Some(callback),
        };
        self.watchers.insert(watch, watcher);
        Ok(watch)
    }

    /// From now on waits for `interest`: for nothing, not even a hang-up, where that is empty.
    /// Costs no system call where nothing changes.
    pub fn change(
        &mut self,
        watch: Watch,
        descriptor: &impl AsFd,
        interest: Interest,
    ) -> nix::Result<()> {
        let Some(watcher) = self.watchers.get_mut(&watch) else {
            return Ok(());
        };
        let nothing = Interest::default();
        let mut event = event(watch, interest);
        match watcher.interest {
            before if before == interest => {}
            before if before == nothing => self.epoll.add(descriptor, event)?,
            _ if interest == nothing => self.epoll.delete(descriptor)?,
            _ => self.epoll.modify(descriptor, &mut event)?,
        }
        watcher.interest = interest;
        Ok(())
    }

    /// Ends the watching, and drops the callback unless it is the one that runs: that is dropped
    /// when it returns.
    pub fn remove(&mut self, watch: Watch, descriptor: &impl AsFd) -> nix::Result<()> {
        match self.watchers.remove(&watch) {
            Some(watcher) if watcher.interest != Interest::default() => {
                self.epoll.delete(descriptor)
            }
            _ => Ok(()),
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

    /// Calls `callback` when `signal` arrives, instead of what the system does about it. Blocks the
    /// signal for the calling thread and those it starts: it must be blocked in all threads.
    pub fn watch_signal(
        &mut self,
        signal: Signal,
        mut callback: impl FnMut(&mut Self, &mut S) -> Result + 'static,
    ) -> nix::Result<()> {
        let signals = SigSet::from_iter([signal]);
        signals.thread_block()?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let descriptor = Rc::new(SignalFd::with_flags(&signals, flags)?);
        let arrived = Rc::clone(&descriptor);
        let interest = Interest {
            read: true,
            write: false,
        };
        let watch = self.watch(
            &*descriptor,
            interest,
            move |events, state, _| match arrived.read_signal()? {
                Some(_) => callback(events, state),
                None => Ok(()),
            },
        )?;
        self.signals.push((signal, descriptor, watch));
        Ok(())
    }

    /// Leaves `signal` to the system again.
    pub fn remove_signal(&mut self, signal: Signal) -> nix::Result<()> {
        let removed = self
            .signals
            .extract_if(.., |(watched, ..)| *watched == signal);
        for (_, descriptor, watch) in removed.collect::<Vec<_>>() {
            self.remove(watch, &*descriptor)?;
            SigSet::from_iter([signal]).thread_unblock()?;
        }
        Ok(())
    }

    /// Waits and calls until a callback fails or there is nothing left to wait for.
    pub fn run(&mut self, state: &mut S) -> Result {
        let mut events = [EpollEvent::empty(); 512];
        while !(self.watchers.is_empty() && self.timers.is_empty()) {
            let ready = self.wait(&mut events)?;
            (self.observer)(state, ready);
            for event in &events[..ready] {
                self.call_ready(state, *event)?;
            }
            self.call_timers(state)?;
        }
        Ok(())
    }

    fn wait(&self, events: &mut [EpollEvent]) -> nix::Result<usize> {
        let left = self
            .timers
            .first_key_value()
            .map(|(timer, _)| timer.at.saturating_duration_since(Instant::now()));
        let timeout = millis(left).map_or(EpollTimeout::NONE, EpollTimeout::from);
        match self.epoll.wait(events, timeout) {
            Err(Errno::EINTR) => Ok(0),
            result => result,
        }
    }

    fn call_ready(&mut self, state: &mut S, event: EpollEvent) -> Result {
        let watch = Watch(event.data());
        // Removed by an earlier callback of this turn.
        let Some(watcher) = self.watchers.get_mut(&watch) else {
            return Ok(());
        };
        let ready = readiness(event.events(), watcher.interest);
        // Changed by an earlier one.
        if ready == Interest::default() {
            return Ok(());
        }
        // Taken out, since the callback is given the loop it stands in.
        let Some(mut callback) = watcher.callback.take() else {
            return Ok(());
        };
        let result = callback(self, state, ready);
        // Gone where the callback has removed itself.
        if let Some(watcher) = self.watchers.get_mut(&watch) {
            watcher.callback = Some(callback);
        }
        result
    }

    fn call_timers(&mut self, state: &mut S) -> Result {
        let now = Timer {
            at: Instant::now(),
            number: u64::MAX,
        };
        let due: Vec<Timer> = self.timers.range(..=now).map(|(timer, _)| *timer).collect();
        for timer in due {
            // Unless it was cancelled by an earlier one.
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

fn readiness(flags: EpollFlags, interest: Interest) -> Interest {
    let broken = flags.intersects(EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR);
    Interest {
        read: interest.read && (broken || flags.contains(EpollFlags::EPOLLIN)),
        write: interest.write && (broken || flags.contains(EpollFlags::EPOLLOUT)),
    }
}

#[cfg(test)]
mod tests;

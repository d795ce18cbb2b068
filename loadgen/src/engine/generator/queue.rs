//! What a thread waits on: its sockets, and a timer for the next request that is due.

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::timer::{Expiration, TimerSetTimeFlags};
use nix::sys::timerfd::{ClockId, TimerFd, TimerFlags};

use crate::engine::clock;

/// What the timer's events carry in place of a connection.
pub const TIMER: u64 = u64::MAX;

/// The sockets and the timer.
pub struct Queue {
    /// Where the sockets are registered.
    pub epoll: Epoll,
    timer: TimerFd,
    /// When the timer fires or fired, nanoseconds of the monotonic clock; 0: it is unset.
    armed: u64,
}

impl Queue {
    /// Of nothing but the timer.
    pub fn new() -> nix::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let timer = TimerFd::new(
            ClockId::CLOCK_MONOTONIC,
            TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC,
        )?;
        epoll.add(&timer, EpollEvent::new(EpollFlags::EPOLLIN, TIMER))?;
        Ok(Self {
            epoll,
            timer,
            armed: 0,
        })
    }

    /// Waits for events, for at most `timeout` milliseconds; returns how many there are.
    pub fn wait(&self, events: &mut [EpollEvent], timeout: u8) -> nix::Result<usize> {
        match self.epoll.wait(events, timeout) {
            // A signal came: the process was stopped and continued, or a debugger was attached.
            Err(Errno::EINTR) => Ok(0),
            result => result,
        }
    }

    /// Sets the timer to an instant.
    pub fn arm(&mut self, at: u64) -> nix::Result<()> {
        if self.armed != at {
            self.timer.set(
                Expiration::OneShot(clock::timespec(at)),
                TimerSetTimeFlags::TFD_TIMER_ABSTIME,
            )?;
            self.armed = at;
        }
        Ok(())
    }

    /// Takes back a timer that has expired: until then it is readable, and every wait returns at once.
    pub fn disarm(&mut self, now: u64) -> nix::Result<()> {
        if self.armed != 0 && self.armed <= now {
            self.timer.unset()?;
            self.armed = 0;
        }
        Ok(())
    }
}

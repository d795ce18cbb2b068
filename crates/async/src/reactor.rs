//! Wakes tasks when their descriptors become ready.
//!
//! It uses edge-triggered epoll. A descriptor is entered once, for both directions, and costs no
//! further `epoll_ctl` however often a task awaits it. But the kernel reports each arrival only
//! once. So the reactor stores the report until a task takes it with [`Registered::ready`]. That
//! task must then empty the socket.
//!
//! No arrival gets lost between that and its next `await`: it is a new edge, and the kernel keeps it
//! until the next `epoll_wait`.
//!
//! A read that comes short has emptied the socket, and another one for EAGAIN would be a system
//! call in vain. There are two exceptions. The end of the input may have come together with these
//! bytes, or an urgent byte has cut the read short. The kernel's report says so (EPOLLRDHUP,
//! EPOLLPRI), and then the task must read until EAGAIN.
//!
//! Source: epoll(7), "Questions and answers", 9.

use std::cell::RefCell;
use std::future::poll_fn;
use std::ops::{Deref, DerefMut};
use std::os::fd::AsFd;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use anyhow::Context as _;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use serverkit::deadlines::millis;
use serverkit::nonblocking::Trigger;
use serverkit::session::Interest;
use serverkit::trace::{self, Name};
use slab::Slab;

/// The descriptors that tasks wait for.
pub struct Reactor {
    epoll: Epoll,
    sources: RefCell<Slab<Source>>,
    /// What the last wait has reported.
    events: RefCell<Vec<EpollEvent>>,
}

/// What is known of one descriptor.
struct Source {
    name: Name,
    /// Reported by the kernel, and not yet taken by a task.
    ready: Interest,
    /// The last report was about more than bytes.
    only_eagain_counts: bool,
    /// What a task waits for, and how to wake it.
    waiting: Option<(Interest, Waker)>,
}

/// A descriptor that a task can wait for, until this is dropped.
pub struct Registered<T: AsFd> {
    io: T,
    key: usize,
    reactor: Rc<Reactor>,
}

impl Reactor {
    /// A reactor without descriptors.
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("epoll_create1")?,
            sources: RefCell::default(),
            events: RefCell::new(vec![EpollEvent::empty(); 512]),
        })
    }

    /// Enters the descriptor of `io` into the interest set. The trace calls it by `name`.
    pub fn register<T: AsFd>(self: &Rc<Self>, name: Name, io: T) -> anyhow::Result<Registered<T>> {
        let key = self.sources.borrow_mut().insert(Source {
            name,
            ready: Interest::default(),
            only_eagain_counts: false,
            waiting: None,
        });
        // If epoll refuses it, its drop removes the source.
        let registered = Registered {
            io,
            key,
            reactor: Rc::clone(self),
        };
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
        self.epoll
            .add(
                &registered.io,
                EpollEvent::new(flags | BESIDE_BYTES, key as u64),
            )
            .context("epoll_ctl")?;
        Ok(registered)
    }

    /// Sleeps until a descriptor becomes ready or `timeout` is over. Returns how many are ready; pass
    /// that to [`Reactor::wake`].
    pub fn wait(&self, timeout: Option<Duration>) -> anyhow::Result<usize> {
        let waiting = trace::wait("epoll_wait", timeout, || self.awaited());
        let timeout = millis(timeout).map_or(EpollTimeout::NONE, EpollTimeout::from);
        let events = &mut self.events.borrow_mut();
        let ready = match self.epoll.wait(events, timeout) {
            Err(Errno::EINTR) => return Ok(0),
            result => result.context("epoll_wait")?,
        };
        waiting.woke(|| trace::list(events[..ready].iter().filter_map(|event| self.name(*event))));
        Ok(ready)
    }

    /// What tasks wait for; for the trace.
    fn awaited(&self) -> Vec<String> {
        let sources = self.sources.borrow();
        trace::list(sources.iter().filter_map(|(_, source)| {
            let (interest, _) = source
                .waiting
                .as_ref()
                .filter(|_| source.name != trace::STOP)?;
            Some(source.name.awaited(*interest))
        }))
    }

    /// What the event reports; for the trace.
    fn name(&self, event: EpollEvent) -> Option<String> {
        let sources = self.sources.borrow();
        let name = sources.get(event.data() as usize)?.name;
        Some(name.ready(readiness(event.events())))
    }

    /// Wakes the tasks that wait for what the last wait has reported: its first `ready` events.
    pub fn wake(&self, ready: usize) {
        let mut sources = self.sources.borrow_mut();
        for event in &self.events.borrow()[..ready] {
            if let Some(source) = sources.get_mut(event.data() as usize) {
                source.report(event.events());
            }
        }
    }
}

/// What the kernel can report beside bytes and room for bytes.
const BESIDE_BYTES: EpollFlags = EpollFlags::EPOLLRDHUP.union(EpollFlags::EPOLLPRI);
const BROKEN: EpollFlags = EpollFlags::EPOLLERR.union(EpollFlags::EPOLLHUP);

fn readiness(flags: EpollFlags) -> Interest {
    let broken = flags.intersects(BROKEN);
    Interest {
        read: broken || flags.contains(EpollFlags::EPOLLIN),
        write: broken || flags.contains(EpollFlags::EPOLLOUT),
    }
}

impl Source {
    /// Stores what the kernel has reported, and wakes the task if it waits for that.
    fn report(&mut self, flags: EpollFlags) {
        let reported = readiness(flags);
        self.ready.read |= reported.read;
        self.ready.write |= reported.write;
        self.only_eagain_counts |= flags.intersects(BESIDE_BYTES | BROKEN);
        let ready = self.ready;
        let waiting = self
            .waiting
            .take_if(|(interest, _)| interest.read && ready.read || interest.write && ready.write);
        if let Some((_, waker)) = waiting {
            waker.wake();
        }
    }

    /// Takes what is ready of `interest`; `None` if nothing is.
    fn take(&mut self, interest: Interest) -> Option<Trigger> {
        let read = interest.read && std::mem::take(&mut self.ready.read);
        let write = interest.write && std::mem::take(&mut self.ready.write);
        (read || write).then_some(if self.only_eagain_counts {
            Trigger::Edge
        } else {
            Trigger::Level
        })
    }
}

impl<T: AsFd> Registered<T> {
    /// The readiness future: waits until the kernel has reported some of `interest`, and takes the
    /// report. Read or write until EAGAIN before you await it again; [`Trigger::Level`]: or until a
    /// read comes short.
    pub async fn ready(&mut self, interest: Interest) -> Trigger {
        poll_fn(|context| {
            let mut sources = self.reactor.sources.borrow_mut();
            let source = &mut sources[self.key];
            if let Some(trigger) = source.take(interest) {
                return Poll::Ready(trigger);
            }
            source.waiting = Some((interest, context.waker().clone()));
            Poll::Pending
        })
        .await
    }
}

impl<T: AsFd> Deref for Registered<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.io
    }
}

impl<T: AsFd> DerefMut for Registered<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.io
    }
}

impl<T: AsFd> Drop for Registered<T> {
    fn drop(&mut self) {
        // It fails if epoll has refused the descriptor.
        let _ = self.reactor.epoll.delete(&self.io);
        self.reactor.sources.borrow_mut().remove(self.key);
    }
}

#[cfg(test)]
mod tests;

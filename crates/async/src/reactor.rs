//! Wakes tasks when their descriptors become ready.
//!
//! Edge-triggered: a descriptor is entered once, for both directions, and costs no further
//! `epoll_ctl` however often it is awaited. The price is that the kernel tells each arrival once.
//! So it is remembered, whether a task waits for it or not, until a task takes it up with
//! [`Watched::ready`]; that task must then read or write until EAGAIN. What arrives in the meantime
//! is a new edge: it waits in the kernel until the executor asks again, and so cannot come between
//! a task's EAGAIN and its awaiting.
//!
//! A read that gave less than it asked for is not taken for EAGAIN, though that would spare a
//! system call: the end of the input may have come with these bytes, or an urgent one have cut them
//! short, and then no new edge tells of the rest.
//!
//! Source: epoll(7), "Questions and answers", 9.

use std::cell::RefCell;
use std::future::poll_fn;
use std::ops::{Deref, DerefMut};
use std::os::fd::AsFd;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use serverkit::deadlines::millis;
use serverkit::session::Interest;
use slab::Slab;

/// The descriptors that tasks wait for.
pub struct Reactor {
    epoll: Epoll,
    sources: RefCell<Slab<Source>>,
    /// What the last wait has told.
    events: RefCell<Vec<EpollEvent>>,
}

/// What is known of one descriptor.
#[derive(Default)]
struct Source {
    /// Told by the kernel, and not taken up by a task yet.
    ready: Interest,
    /// The task that waits, and for what.
    waiting: Option<(Interest, Waker)>,
}

/// A descriptor that a task can wait for. It goes when this is dropped.
pub struct Watched<T: AsFd> {
    io: T,
    key: usize,
    reactor: Rc<Reactor>,
}

impl Reactor {
    /// A reactor without descriptors.
    pub fn new() -> nix::Result<Self> {
        Ok(Self {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            sources: RefCell::default(),
            events: RefCell::new(vec![EpollEvent::empty(); 512]),
        })
    }

    /// Enters the descriptor of `io`.
    pub fn watch<T: AsFd>(self: &Rc<Self>, io: T) -> nix::Result<Watched<T>> {
        let key = self.sources.borrow_mut().insert(Source::default());
        // From here on dropping it takes it out again.
        let watched = Watched {
            io,
            key,
            reactor: Rc::clone(self),
        };
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
        self.epoll
            .add(&watched.io, EpollEvent::new(flags, key as u64))?;
        Ok(watched)
    }

    /// Sleeps until a descriptor becomes ready or `timeout` is over. Returns how many are ready,
    /// for [`Reactor::wake`].
    pub fn wait(&self, timeout: Option<Duration>) -> nix::Result<usize> {
        let timeout = millis(timeout).map_or(EpollTimeout::NONE, EpollTimeout::from);
        match self.epoll.wait(&mut self.events.borrow_mut(), timeout) {
            Err(Errno::EINTR) => Ok(0),
            result => result,
        }
    }

    /// Wakes the tasks that wait for the first `ready` of the events.
    pub fn wake(&self, ready: usize) {
        let mut sources = self.sources.borrow_mut();
        for event in &self.events.borrow()[..ready] {
            if let Some(source) = sources.get_mut(event.data() as usize) {
                source.tell(event.events());
            }
        }
    }
}

impl Source {
    /// Remembers what the kernel has told, and wakes the task if that is what it waits for.
    fn tell(&mut self, flags: EpollFlags) {
        let broken = flags.intersects(EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP);
        self.ready.read |= broken || flags.contains(EpollFlags::EPOLLIN);
        self.ready.write |= broken || flags.contains(EpollFlags::EPOLLOUT);
        let ready = self.ready;
        let waiting = self
            .waiting
            .take_if(|(interest, _)| interest.read && ready.read || interest.write && ready.write);
        if let Some((_, waker)) = waiting {
            waker.wake();
        }
    }

    /// Takes up what there is of `interest`; false where there is nothing.
    fn take(&mut self, interest: Interest) -> bool {
        let read = interest.read && std::mem::take(&mut self.ready.read);
        let write = interest.write && std::mem::take(&mut self.ready.write);
        read || write
    }
}

impl<T: AsFd> Watched<T> {
    /// Waits until some of `interest` is there, which then counts as taken up: read or write until
    /// EAGAIN before asking again.
    pub async fn ready(&mut self, interest: Interest) {
        poll_fn(|context| {
            let mut sources = self.reactor.sources.borrow_mut();
            let source = &mut sources[self.key];
            if source.take(interest) {
                return Poll::Ready(());
            }
            source.waiting = Some((interest, context.waker().clone()));
            Poll::Pending
        })
        .await;
    }
}

impl<T: AsFd> Deref for Watched<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.io
    }
}

impl<T: AsFd> DerefMut for Watched<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.io
    }
}

impl<T: AsFd> Drop for Watched<T> {
    fn drop(&mut self) {
        // Fails where entering it has failed.
        let _ = self.reactor.epoll.delete(&self.io);
        self.reactor.sources.borrow_mut().remove(self.key);
    }
}

#[cfg(test)]
mod tests;

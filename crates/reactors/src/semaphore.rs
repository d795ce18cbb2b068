//! A fair semaphore: the limit of clients over all loops together.
//!
//! A loop needs a permit for each client. If none is free, the loop joins a queue, and a permit
//! that is given back goes to the head of the queue: a loop with a long backlog cannot keep the
//! others from theirs. A loop cannot block for a permit, so an eventfd wakes it.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard};

use anyhow::{Context as _, ensure};
use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};

/// The permits that all loops share.
#[derive(Debug)]
struct Semaphore {
    state: Mutex<State>,
    /// One for each loop: readable when a permit came while the loop was in the queue.
    granted: Vec<EventFd>,
}

#[derive(Debug)]
struct State {
    /// More than 0 only while the queue is empty.
    free: usize,
    /// Loops by their number, the one that has waited longest first.
    queue: VecDeque<usize>,
}

impl Semaphore {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("loops do not panic")
    }

    /// Takes a permit for a loop, or puts the loop into the queue.
    fn acquire(&self, worker: usize) -> bool {
        let mut state = self.state();
        let is_free = state.free > 0;
        if is_free {
            state.free -= 1;
        } else {
            state.queue.push_back(worker);
        }
        is_free
    }

    /// Gives a permit to the head of the queue, or to whoever asks next.
    fn release(&self) -> anyhow::Result<()> {
        let mut state = self.state();
        if let Some(worker) = state.queue.pop_front() {
            self.granted[worker].write(1).context("eventfd")?;
        } else {
            state.free += 1;
        }
        Ok(())
    }
}

/// The permits that one loop holds.
#[derive(Debug)]
pub struct Permits {
    semaphore: Arc<Semaphore>,
    worker: usize,
    held: usize,
    is_waiting: bool,
}

impl Permits {
    /// Shares `limit` permits among `loops` loops. Each begins without one.
    pub fn shared(limit: usize, loops: usize) -> anyhow::Result<Vec<Self>> {
        ensure!(
            limit > 0,
            "the descriptors do not suffice for {loops} workers; try fewer, or raise ulimit -n"
        );
        let eventfd = |_| EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK);
        let semaphore = Arc::new(Semaphore {
            state: Mutex::new(State {
                free: limit,
                queue: VecDeque::new(),
            }),
            granted: (0..loops)
                .map(eventfd)
                .collect::<nix::Result<_>>()
                .context("eventfd")?,
        });
        let permits = |worker| Self {
            semaphore: Arc::clone(&semaphore),
            worker,
            held: 0,
            is_waiting: false,
        };
        Ok((0..loops).map(permits).collect())
    }

    /// Takes what is missing for this number of clients, one permit at most. False: the loop has to
    /// wait until [`Permits::granted`] is readable.
    pub fn acquire_for(&mut self, clients: usize) -> bool {
        if self.held < clients && !self.is_waiting {
            self.is_waiting = !self.semaphore.acquire(self.worker);
            self.held += usize::from(!self.is_waiting);
        }
        self.held >= clients
    }

    /// The loop waits for a permit.
    pub fn is_waiting(&self) -> bool {
        self.is_waiting
    }

    /// Readable when the permit has come.
    pub fn granted(&self) -> BorrowedFd<'_> {
        self.semaphore.granted[self.worker].as_fd()
    }

    /// Takes the permit that the loop waits for, if it has come.
    pub fn receive(&mut self) -> anyhow::Result<()> {
        if self.is_waiting {
            match self.semaphore.granted[self.worker].read() {
                Err(Errno::EAGAIN) => return Ok(()),
                result => result.context("eventfd")?,
            };
            self.is_waiting = false;
            self.held += 1;
        }
        Ok(())
    }

    /// Gives back what is not needed for `clients`.
    pub fn release_unused(&mut self, clients: usize) -> anyhow::Result<()> {
        while self.held > clients {
            self.held -= 1;
            self.semaphore.release()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_granted(permits: &Permits) -> bool {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        let mut entry = [PollFd::new(permits.granted(), PollFlags::POLLIN)];
        poll(&mut entry, PollTimeout::ZERO) == Ok(1)
    }

    #[test]
    fn a_permit_goes_to_the_loop_that_has_waited_longest() {
        let [mut a, mut b, mut c]: [Permits; 3] = Permits::shared(1, 3)
            .expect("eventfds")
            .try_into()
            .expect("three loops");
        assert!(a.acquire_for(1));
        assert!(!b.acquire_for(1));
        assert!(!c.acquire_for(1));
        // Asking again does not mean queueing twice.
        assert!(!b.acquire_for(1));

        // The client has left. The loop that had it is not preferred, though it asks first.
        a.release_unused(0).expect("an eventfd");
        assert!(!a.acquire_for(1));
        assert!(is_granted(&b) && !is_granted(&c));
        b.receive().expect("an eventfd");
        assert!(b.acquire_for(1) && !b.is_waiting());

        // No loop asked for it.
        b.release_unused(0).expect("an eventfd");
        assert!(is_granted(&c) && !is_granted(&a));
        c.receive().expect("an eventfd");
        c.release_unused(0).expect("an eventfd");
        a.receive().expect("an eventfd");
        assert!(a.acquire_for(1) && !a.acquire_for(2));
    }
}

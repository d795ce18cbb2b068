//! The places for clients, over all loops together.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Mutex, MutexGuard};

use nix::sys::eventfd::{EfdFlags, EventFd};

/// As many places as clients may be open, and the loops that wait for one.
///
/// A loop joins the queue only when a client stands before its listener, and a place that comes
/// free goes to the head of the queue: a loop with a long backlog cannot keep the others from
/// theirs, and no place is kept by a loop that has no use for it.
pub struct Places {
    free: Mutex<Free>,
    /// One for each loop: it rings when the loop is given a place that it has waited for.
    bells: Vec<EventFd>,
}

struct Free {
    /// Not 0 only while nobody waits.
    count: usize,
    /// Loops by their number.
    queue: VecDeque<usize>,
}

impl Places {
    /// So many free places, for so many loops.
    pub fn new(count: usize, loops: usize) -> nix::Result<Self> {
        let bell = |_| EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK);
        let queue = VecDeque::new();
        Ok(Self {
            free: Mutex::new(Free { count, queue }),
            bells: (0..loops).map(bell).collect::<nix::Result<_>>()?,
        })
    }

    /// Takes a place for a loop, or puts the loop into the queue.
    fn take(&self, worker: usize) -> bool {
        let mut free = self.free();
        if free.count == 0 {
            free.queue.push_back(worker);
            return false;
        }
        free.count -= 1;
        true
    }

    /// A place that is used no more goes to the loop that has waited longest.
    fn give_back(&self) -> nix::Result<()> {
        let mut free = self.free();
        if let Some(worker) = free.queue.pop_front() {
            self.bells[worker].write(1)?;
        } else {
            free.count += 1;
        }
        Ok(())
    }

    fn free(&self) -> MutexGuard<'_, Free> {
        self.free.lock().expect("loops do not panic")
    }
}

/// The places of one loop. Between two turns it has as many as it has clients.
pub struct Share<'a> {
    places: &'a Places,
    worker: usize,
    held: usize,
    queued: bool,
}

impl<'a> Share<'a> {
    /// No place yet for loop number `worker`.
    pub fn new(places: &'a Places, worker: usize) -> Self {
        Self {
            places,
            worker,
            held: 0,
            queued: false,
        }
    }

    /// There is a place for a client beside `clients` others, or else the loop is in the queue.
    pub fn has_place_beside(&mut self, clients: usize) -> bool {
        if self.held == clients && !self.queued {
            self.queued = !self.places.take(self.worker);
            self.held += usize::from(!self.queued);
        }
        self.held > clients
    }

    /// The loop is in the queue: no use in listening.
    pub fn is_queued(&self) -> bool {
        self.queued
    }

    /// Readable once the loop is given the place that it has waited for.
    pub fn bell(&self) -> BorrowedFd<'_> {
        self.places.bells[self.worker].as_fd()
    }

    /// Takes the place that the bell has rung for.
    pub fn answer_bell(&mut self) -> nix::Result<()> {
        self.places.bells[self.worker].read()?;
        self.held += 1;
        self.queued = false;
        Ok(())
    }

    /// Gives back what clients have left, or nobody came for: `clients` are there.
    pub fn give_back_all_but(&mut self, clients: usize) -> nix::Result<()> {
        while self.held > clients {
            self.places.give_back()?;
            self.held -= 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rings(share: &Share) -> bool {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        let mut bell = [PollFd::new(share.bell(), PollFlags::POLLIN)];
        poll(&mut bell, PollTimeout::ZERO) == Ok(1)
    }

    #[test]
    fn a_place_goes_to_the_loop_that_has_waited_longest() {
        let places = Places::new(1, 3).expect("eventfds");
        let [mut a, mut b, mut c] = [0, 1, 2].map(|worker| Share::new(&places, worker));
        assert!(a.has_place_beside(0));
        assert!(!b.has_place_beside(0));
        assert!(!c.has_place_beside(0));
        // Asking again does not mean queueing twice.
        assert!(!b.has_place_beside(0));

        // The client has left. The loop that had it is not preferred, though it asks first.
        a.give_back_all_but(0).expect("a bell");
        assert!(!a.has_place_beside(0));
        assert!(rings(&b) && !rings(&c));
        b.answer_bell().expect("it rings");
        assert!(b.has_place_beside(0));

        // Nobody came for it.
        b.give_back_all_but(0).expect("a bell");
        assert!(rings(&c) && !rings(&a));
        c.answer_bell().expect("it rings");
        c.give_back_all_but(0).expect("a bell");
        a.answer_bell().expect("it rings");
        assert!(a.has_place_beside(0) && !a.has_place_beside(1));
    }
}

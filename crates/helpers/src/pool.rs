//! The helpers: threads that run jobs, and tell the loop which are done.
//!
//! A channel cannot wake an epoll loop, so there is an eventfd beside it. To write to it for each
//! job would cost needless system calls when jobs end together: the first write wakes the loop, and
//! a flag says that it was written.
//!
//! ```text
//!   a helper                                  the loop
//!   1. sends the job's key                    1. reads the eventfd
//!   2. sets the flag; if it was not set:      2. clears the flag
//!   3. writes to the eventfd                  3. takes all keys from the channel
//! ```
//!
//! A helper that finds the flag set leaves it to the loop, which is still before its step 2 and so takes
//! the key in its step 3. If the loop took the keys before it cleared the flag, it could miss that
//! key. If it cleared the flag before it read the eventfd, it could undo a write that came in
//! between: the flag would be set, nobody would write again, and the loop would sleep for ever.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::AcqRel};
use std::thread;

use anyhow::Context as _;
use crossbeam_channel::{Receiver, RecvError, Sender, unbounded};
use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};
use serverkit::limits;
use serverkit::trace::{self, Event};
use serverkit::work::Job;

/// The loop's side. Readable when jobs are done.
#[derive(Debug)]
pub struct Pool {
    /// Not bounded: a client has one job at most, and keeps its place until that is done.
    jobs: Sender<(usize, Job)>,
    done: Arc<Done>,
}

impl Pool {
    /// Starts this many helpers. They end with the process.
    pub fn start(helpers: usize) -> anyhow::Result<Self> {
        let (give, jobs) = unbounded::<(usize, Job)>();
        let done = Arc::new(Done::new()?);
        trace::name_workers();
        for number in 1..=helpers {
            let (jobs, done) = (jobs.clone(), Arc::clone(&done));
            let help = move || {
                trace::i_am("helper", number);
                while let Ok((key, job)) = take(&jobs) {
                    job.run();
                    done.tell(key);
                }
            };
            thread::Builder::new()
                .name(format!("helper {number}"))
                .stack_size(limits::STACK)
                .spawn(help)
                .inspect(|_| trace::spawned("clone3", "helper", number))
                .with_context(|| format!("no thread for helper {number} (see --helpers)"))?;
        }
        Ok(Self { jobs: give, done })
    }

    /// A helper will run this job; [`Pool::done`] will have its key.
    pub fn give(&self, key: usize, job: Job) {
        trace::tell(|| Event::Pass {
            client: job.client,
            to: None,
        });
        // It fails where there is no helper any more. They live as long as the process.
        let _ = self.jobs.send((key, job));
    }

    /// The keys of the jobs that were run.
    pub fn done(&self) -> anyhow::Result<Vec<usize>> {
        self.done.take(|| {}).context("eventfd")
    }
}

/// A helper waits for a job.
fn take(jobs: &Receiver<(usize, Job)>) -> Result<(usize, Job), RecvError> {
    let what = || vec!["a request from the queue".to_owned()];
    let waiting = trace::wait("futex", None, what);
    let job = jobs.recv();
    waiting.woke(what);
    job
}

impl AsFd for Pool {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.done.eventfd.as_fd()
    }
}

/// The way back from the helpers to the loop.
#[derive(Debug)]
struct Done {
    keys: (Sender<usize>, Receiver<usize>),
    /// Wakes the loop, once for all keys that were sent since it took some.
    eventfd: EventFd,
    /// It was written, or is about to be.
    is_told: AtomicBool,
}

impl Done {
    fn new() -> anyhow::Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        Ok(Self {
            keys: unbounded(),
            eventfd: EventFd::from_flags(flags).context("eventfd")?,
            is_told: AtomicBool::new(false),
        })
    }

    /// The helper's three steps.
    fn tell(&self, key: usize) {
        // It cannot fail: both ends of the channel are here.
        let _ = self.keys.0.send(key);
        if !self.is_told.swap(true, AcqRel) {
            // The counter is full only after 2^64 - 2 writes, and then the loop wakes all the same.
            while self.eventfd.write(1) == Err(Errno::EINTR) {}
        }
    }

    /// The loop's three steps. `meanwhile` is what helpers do between any two of them.
    fn take(&self, mut meanwhile: impl FnMut()) -> nix::Result<Vec<usize>> {
        match self.eventfd.read() {
            // It was not told, or it still is and the next wait ends at once.
            Ok(_) | Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
        meanwhile();
        // Not a plain store: what was sent before the flag was set must be seen now.
        self.is_told.swap(false, AcqRel);
        meanwhile();
        Ok(self.keys.1.try_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use std::hint::spin_loop;
    use std::sync::Barrier;
    use std::sync::atomic::Ordering::{Acquire, Release};

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use rand::{RngExt, SeedableRng, rngs::StdRng};

    use super::*;

    fn is_readable(done: &Done) -> bool {
        let mut entry = [PollFd::new(done.eventfd.as_fd(), PollFlags::POLLIN)];
        poll(&mut entry, PollTimeout::ZERO).expect("a descriptor") == 1
    }

    /// A helper sends a key between two steps of the loop, and another one afterwards. The loop has
    /// taken the key, or will be woken for it.
    #[test]
    fn a_key_that_comes_between_two_steps_is_told() {
        for gap in 0..2 {
            let done = Done::new().expect("an eventfd");
            done.tell(1);
            let mut steps = 0;
            let between = || {
                if steps == gap {
                    done.tell(2);
                }
                steps += 1;
            };
            let taken = done.take(between).expect("an eventfd");
            let is_told = taken == [1, 2] || is_readable(&done);
            assert!(is_told, "no wake-up for 2 after step {gap}: {taken:?}");
            done.tell(3);
            assert!(is_readable(&done), "no wake-up for 3 after step {gap}");
        }
    }

    /// In each round a helper sends some keys, at random moments, while the loop takes the keys for
    /// which it is woken. When the helper is done, no key may be left for which the loop was not
    /// woken.
    #[test]
    fn no_wake_up_is_lost() {
        const ROUNDS: usize = 10_000;
        const KEYS: usize = 4;
        let done = Done::new().expect("an eventfd");
        let (begin, end) = (Barrier::new(2), AtomicBool::new(false));
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut random = StdRng::seed_from_u64(1);
                for _ in 0..ROUNDS {
                    begin.wait();
                    for key in 0..KEYS {
                        (0..random.random_range(0..300)).for_each(|_| spin_loop());
                        done.tell(key);
                    }
                    end.store(true, Release);
                }
            });
            let take = || done.take(|| {}).expect("an eventfd").len();
            let mut untold = 0;
            for _ in 0..ROUNDS {
                begin.wait();
                let mut taken = 0;
                while !end.swap(false, Acquire) {
                    if is_readable(&done) {
                        taken += take();
                    } else {
                        thread::yield_now();
                    }
                }
                while is_readable(&done) {
                    taken += take();
                }
                untold += usize::from(taken < KEYS);
                // The next round begins anew.
                take();
            }
            assert_eq!(untold, 0, "rounds of {ROUNDS} whose last keys lie there");
        });
    }
}

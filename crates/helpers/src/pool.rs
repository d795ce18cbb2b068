//! The helpers: threads that run jobs, and tell the loop which are done.
//!
//! A channel cannot wake an epoll loop, so there is an eventfd beside it. To write to it for each
//! job would be a system call too many when jobs end together: the first write wakes the loop, and
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
    done: Receiver<usize>,
    bell: Arc<Bell>,
}

impl Pool {
    /// Starts this many helpers. They end with the process.
    pub fn start(helpers: usize) -> anyhow::Result<Self> {
        let (give, jobs) = unbounded::<(usize, Job)>();
        let (tell, done) = unbounded();
        let bell = Arc::new(Bell::new()?);
        trace::name_workers();
        for number in 1..=helpers {
            let (jobs, tell, bell) = (jobs.clone(), tell.clone(), Arc::clone(&bell));
            let help = move || {
                trace::i_am("helper", number);
                while let Ok((key, job)) = take(&jobs) {
                    job.run();
                    if tell.send(key).is_err() {
                        break;
                    }
                    bell.ring();
                }
            };
            thread::Builder::new()
                .name(format!("helper {number}"))
                .stack_size(limits::STACK)
                .spawn(help)
                .inspect(|_| trace::spawned("clone3", "helper", number))
                .with_context(|| format!("no thread for helper {number} (see --helpers)"))?;
        }
        Ok(Self {
            jobs: give,
            done,
            bell,
        })
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
        self.bell.hush(|| {}).context("eventfd")?;
        Ok(self.done.try_iter().collect())
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
        self.bell.eventfd.as_fd()
    }
}

/// Wakes the loop, once for all that rang since it was hushed.
#[derive(Debug)]
struct Bell {
    eventfd: EventFd,
    /// It has rung, or is about to.
    rung: AtomicBool,
}

impl Bell {
    fn new() -> anyhow::Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        Ok(Self {
            eventfd: EventFd::from_flags(flags).context("eventfd")?,
            rung: AtomicBool::new(false),
        })
    }

    /// To be called after there is something to take.
    fn ring(&self) {
        if !self.rung.swap(true, AcqRel) {
            // The counter is full only after 2^64 - 2 writes.
            let _ = self.eventfd.write(1);
        }
    }

    /// To be called before all that is there is taken. `meanwhile` is what happens halfway.
    fn hush(&self, meanwhile: impl FnOnce()) -> nix::Result<()> {
        match self.eventfd.read() {
            Ok(_) | Err(Errno::EAGAIN) => {}
            Err(errno) => return Err(errno),
        }
        meanwhile();
        // Not a plain store: what was sent before the flag was set must be seen now.
        self.rung.swap(false, AcqRel);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::*;

    /// So long a key that was sent may lie there untold. Much longer than any pause of a machine.
    const LOST: u16 = 20_000;

    fn is_ringing(bell: &Bell, timeout: u16) -> bool {
        let mut entry = [PollFd::new(bell.eventfd.as_fd(), PollFlags::POLLIN)];
        poll(&mut entry, PollTimeout::from(timeout)).expect("a descriptor") == 1
    }

    #[test]
    fn one_that_rings_while_the_bell_is_hushed_does_not_silence_it() {
        let bell = Bell::new().expect("an eventfd");
        bell.ring();
        bell.hush(|| bell.ring()).expect("an eventfd");
        assert!(!is_ringing(&bell, 0), "one write told of both");
        bell.ring();
        assert!(is_ringing(&bell, 0), "the next one is told");
    }

    /// Two threads pass keys back and forth with the loop, without a pause: each key is sent in
    /// answer to one that was taken, so a wake-up that is lost ends everything.
    #[test]
    fn no_wake_up_is_lost() {
        const THREADS: usize = 2;
        const ROUNDS: usize = 200_000;
        let (tell, told) = unbounded();
        let (reply, replies) = unbounded();
        let bell = Arc::new(Bell::new().expect("an eventfd"));
        let threads: Vec<_> = (0..THREADS)
            .map(|number| {
                let (tell, replies, bell) = (tell.clone(), replies.clone(), Arc::clone(&bell));
                thread::spawn(move || {
                    for () in replies {
                        if tell.send(number).is_err() {
                            break;
                        }
                        bell.ring();
                    }
                })
            })
            .collect();
        for _ in 0..THREADS {
            reply.send(()).expect("threads");
        }
        let mut taken = 0;
        while taken < ROUNDS {
            let mut entry = [PollFd::new(bell.eventfd.as_fd(), PollFlags::POLLIN)];
            let woken = poll(&mut entry, PollTimeout::from(LOST));
            let waiting = told.len();
            assert_eq!(
                woken,
                Ok(1),
                "after {taken} keys, {waiting} lie there untold"
            );
            bell.hush(|| {}).expect("an eventfd");
            for _ in told.try_iter() {
                taken += 1;
                reply.send(()).expect("threads");
            }
        }
        drop(reply);
        for thread in threads {
            thread.join().expect("no panic");
        }
    }
}

//! The work of one request: CPU time is burnt for `--work`, and the thread sleeps for `--block`.

use std::thread;
use std::time::Duration;

use crate::context::Context;
use crate::trace::{self, Event};

/// What one request demands before it is answered.
#[derive(Debug, Clone, Copy)]
#[must_use = "a job is to be run"]
pub struct Job {
    /// How fast to compute.
    pub context: &'static Context,
    /// Whose request it is, for the trace.
    pub client: u64,
    /// CPU time.
    pub work: Duration,
    /// Time to sleep.
    pub block: Duration,
}

impl Job {
    /// The request can be answered at once.
    pub fn is_nothing(&self) -> bool {
        self.work.is_zero() && self.block.is_zero()
    }

    /// Computes and then sleeps, in the calling thread.
    pub fn run(self) {
        self.burn();
        self.sleep();
    }

    /// Computes.
    pub fn burn(&self) {
        let Self { client, work, .. } = *self;
        if !work.is_zero() {
            trace::tell(|| Event::Work {
                client,
                ns: nanoseconds(work),
            });
            trace::timed(client, || self.context.pace.burn(work));
        }
    }

    /// Sleeps.
    pub fn sleep(&self) {
        let Self { client, block, .. } = *self;
        if !block.is_zero() {
            trace::tell(|| Event::Block {
                client,
                ns: nanoseconds(block),
            });
            trace::timed(client, || thread::sleep(block));
        }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    time.as_nanos() as u64
}

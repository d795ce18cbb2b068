//! What one request demands, and how it is done: CPU time is burnt for `--work`, and the thread
//! sleeps for `--block`.

use std::os::fd::RawFd;
use std::thread;
use std::time::Duration;

use crate::context::Context;
use crate::trace;

/// What one request demands before it is answered.
#[derive(Debug, Clone, Copy)]
#[must_use = "a job is to be run"]
pub struct Job {
    /// How fast to compute.
    pub context: &'static Context,
    /// Whose request it is, for the trace: the descriptor of the socket.
    pub client: RawFd,
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
        if !self.work.is_zero() {
            trace!(
                self.context,
                "client {}: work for {:?}", self.client, self.work
            );
            self.context.pace.burn(self.work);
        }
    }

    /// Sleeps.
    pub fn sleep(&self) {
        if !self.block.is_zero() {
            trace!(
                self.context,
                "client {}: block for {:?}", self.client, self.block
            );
            thread::sleep(self.block);
        }
    }
}

//! Workers that are processes: made ahead, replaced when they die, ended together.

use std::fmt::Display;
use std::time::{Duration, Instant};

use crate::accept::RETRY;
use crate::child::{Child, Parent};
use crate::console::complain;
use crate::context::Context;
use crate::{stop, trace};

/// A worker that ends within this time of its start has failed at once: the next one may fail as
/// well.
const AT_ONCE: Duration = Duration::from_secs(1);

/// The pause before workers are started again, after they have failed time after time.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The worker processes of one server, by number.
#[derive(Debug)]
pub struct Children {
    context: &'static Context,
    /// The server's name, for what is said on stderr.
    program: String,
    workers: Vec<Option<Worker>>,
    /// No worker is started before that.
    retry_at: Option<Instant>,
    /// How long the last pause was.
    last_pause: Duration,
}

#[derive(Debug)]
struct Worker {
    child: Child,
    started: Instant,
}

impl Children {
    /// So many workers, none of which is started yet, of the server that is called `name`.
    pub fn new(context: &'static Context, name: &str, workers: usize) -> Self {
        context.stats.set_workers(workers);
        Self {
            context,
            program: format!("{name}-server"),
            workers: (0..workers).map(|_| None).collect(),
            retry_at: None,
            last_pause: Duration::ZERO,
        }
    }

    /// Starts the process of worker number `number`, which runs `body`: see [`Parent::start`].
    pub fn start(
        &mut self,
        parent: &Parent,
        number: usize,
        body: impl FnOnce() -> anyhow::Result<()>,
    ) -> nix::Result<()> {
        let program = &self.program;
        let child = parent.start(|| {
            let result = body();
            if let Err(error) = &result {
                complain(format_args!("{program}: worker {number}: {error:#}\n"));
            }
            i32::from(result.is_err())
        })?;
        trace!(
            self.context,
            "fork: worker {number} is process {}",
            child.pid()
        );
        self.workers[number] = Some(Worker {
            child,
            started: Instant::now(),
        });
        Ok(())
    }

    /// The workers that have no process.
    pub fn missing(&self) -> Vec<usize> {
        (0..self.workers.len())
            .filter(|&number| self.workers[number].is_none())
            .collect()
    }

    /// Missing workers may be started: there is no pause, or it is over.
    pub fn may_start(&mut self) -> bool {
        self.retry_at = self.retry_at.filter(|&at| at > Instant::now());
        self.retry_at.is_none()
    }

    /// How long the pause lasts; `None`: there is none.
    pub fn pause(&self) -> Option<Duration> {
        self.retry_at
            .map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// A worker could not be started, or has failed at once: no other is started before a pause,
    /// which becomes longer each time.
    pub fn slow_down(&mut self, why: impl Display) {
        if self.retry_at.is_none() {
            self.last_pause = (self.last_pause * 2).clamp(RETRY, LONGEST_PAUSE);
            self.retry_at = Some(Instant::now() + self.last_pause);
            complain(format_args!(
                "{}: {why}; trying again in {:?}\n",
                self.program, self.last_pause
            ));
        }
    }

    /// Takes the processes that have ended out of the table of processes. Gives the numbers of the
    /// workers among them.
    pub fn reap(&mut self, parent: &Parent) -> Vec<usize> {
        let mut ended = Vec::new();
        while let Some((pid, status)) = parent.reap() {
            trace!(self.context, "waitpid: process {pid}: {status}");
            let is_it = |worker: &Option<Worker>| {
                worker
                    .as_ref()
                    .is_some_and(|worker| worker.child.pid() == pid)
            };
            // Others are not ours to care for.
            let Some(number) = self.workers.iter().position(is_it) else {
                continue;
            };
            let worker = self.workers[number].take();
            self.context.stats.worker_died(number);
            ended.push(number);
            if stop::requested() {
                continue;
            }
            let why = format!("worker {number} has ended ({status})");
            if worker.is_some_and(|worker| worker.started.elapsed() < AT_ONCE) {
                self.slow_down(why);
            } else {
                self.last_pause = Duration::ZERO;
                complain(format_args!(
                    "{}: {why}; another one takes its place\n",
                    self.program
                ));
            }
        }
        ended
    }

    /// No worker has a process.
    pub fn is_empty(&self) -> bool {
        self.workers.iter().all(Option::is_none)
    }

    /// Asks all workers to stop.
    pub fn stop(&self) {
        for worker in self.workers.iter().flatten() {
            worker.child.stop();
        }
    }

    /// Ends all workers at once, and waits for them.
    pub fn kill(&mut self) {
        for worker in self.workers.iter().flatten() {
            worker.child.kill();
        }
        for (number, worker) in self.workers.iter_mut().enumerate() {
            if let Some(worker) = worker.take() {
                // Its end is certain, and how does not matter.
                let _ = worker.child.wait();
                self.context.stats.worker_died(number);
            }
        }
    }
}

//! Workers that are processes: made ahead, replaced when they die, ended together.

use std::fmt::Display;
use std::os::fd::BorrowedFd;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::accept::RETRY;
use crate::child::{News, Parent};
use crate::console::complain;
use crate::context::Context;
use crate::stop;

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
    name: &'static str,
    parent: Parent,
    /// When each worker was started; `None`: it has no process.
    workers: Vec<Option<Instant>>,
    /// No worker is started before that.
    retry_at: Option<Instant>,
    /// How long the last pause was.
    last_pause: Duration,
}

impl Children {
    /// So many workers, none of which is started yet, of the server that is called `name`.
    pub fn new(
        context: &'static Context,
        name: &'static str,
        parent: Parent,
        workers: usize,
    ) -> Self {
        context.stats.set_workers(workers);
        Self {
            context,
            name,
            parent,
            workers: vec![None; workers],
            retry_at: None,
            last_pause: Duration::ZERO,
        }
    }

    /// Starts the process of worker number `number`, which runs `body`: see [`Parent::start`].
    pub fn start(
        &mut self,
        number: usize,
        body: impl FnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let name = self.name;
        let run = || {
            let result = body();
            if let Err(error) = &result {
                complain(format_args!("{name}-server: worker {number}: {error:#}\n"));
            }
            i32::from(result.is_err())
        };
        let started = self.parent.start(number, run);
        started.with_context(|| format!("no process for worker {number} (see --workers)"))?;
        self.workers[number] = Some(Instant::now());
        Ok(())
    }

    /// The workers that have no process; none while there is a pause.
    pub fn missing(&self) -> Vec<usize> {
        // At a stop somebody may wait at the listener of a worker that has died.
        let paused = self.pause().is_some() && !stop::requested();
        let is_missing = |&number: &usize| !paused && self.workers[number].is_none();
        (0..self.workers.len()).filter(is_missing).collect()
    }

    /// A worker could not be started, or has failed at once: no other is started before a pause,
    /// which becomes longer each time.
    pub fn slow_down(&mut self, why: impl Display) {
        if self.pause().is_none() {
            self.last_pause = (self.last_pause * 2).clamp(RETRY, LONGEST_PAUSE);
            self.retry_at = Some(Instant::now() + self.last_pause);
            self.complain(format_args!("{why}; trying again in {:?}", self.last_pause));
        }
    }

    fn pause(&self) -> Option<Duration> {
        self.retry_at?.checked_duration_since(Instant::now())
    }

    /// As [`Parent::wait`], but no longer than the pause.
    pub fn wait<'a, T>(
        &mut self,
        others: impl IntoIterator<Item = (T, BorrowedFd<'a>)>,
        timeout: Option<Duration>,
    ) -> anyhow::Result<News<T>> {
        let timeout = [timeout, self.pause()].into_iter().flatten().min();
        let news = self.parent.wait(others, timeout)?;
        for &(number, status) in &news.ended {
            self.ended(number, status);
        }
        Ok(news)
    }

    fn ended(&mut self, number: usize, status: ExitStatus) {
        let started = self.workers[number].take();
        self.context.stats.worker_died(number);
        if stop::requested() {
            return;
        }
        let why = format!("worker {number} has ended ({status})");
        if started.is_some_and(|at| at.elapsed() < AT_ONCE) {
            self.slow_down(why);
        } else {
            self.last_pause = Duration::ZERO;
            self.complain(format_args!("{why}; another one takes its place"));
        }
    }

    fn complain(&self, what: std::fmt::Arguments<'_>) {
        complain(format_args!("{}-server: {what}\n", self.name));
    }

    /// No worker has a process.
    pub fn is_empty(&self) -> bool {
        self.parent.children() == 0
    }

    /// Asks all workers to stop.
    pub fn stop(&self) {
        self.parent.stop();
    }

    /// Ends all workers at once, and waits for them.
    pub fn kill(&mut self) {
        for (number, _) in self.parent.kill() {
            self.context.stats.worker_died(number);
        }
    }
}

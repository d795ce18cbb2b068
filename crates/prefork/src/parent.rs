//! The parent of the workers: makes them, replaces those that die, ends them, and with `handoff`
//! gives them their clients.

use std::net::TcpStream;
use std::os::fd::AsFd;
use std::time::Instant;

use anyhow::Context as _;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use serverkit::accept::{Accepted, Blocking, RETRY, accept};
use serverkit::deadlines::millis;
use serverkit::listener::Listener;
use serverkit::stop::{self, StopSignal};
use serverkit::{Context, child, trace};

use crate::channel::Channel;
use crate::{Accept, Flags, serve_handed, serve_listener};

/// The parent of the workers.
pub struct Parent {
    context: &'static Context,
    accept: Accept,
    stop: StopSignal,
    /// Empty once the server is stopping. With `reuseport` each worker has the one of its number.
    listeners: Vec<Listener>,
    workers: Vec<Worker>,
    /// Handoff only: a client whose worker died before it was handed over.
    waiting: Option<TcpStream>,
    /// When to accept again after it failed for want of something; when stopping, the end of the
    /// grace.
    deadline: Option<Instant>,
}

#[derive(Default)]
struct Worker {
    child: Option<Pid>,
    /// When a child may be started in its place: one that dies at once, or that cannot be made,
    /// is not tried again without a pause.
    not_before: Option<Instant>,
    /// Handoff only: the parent's end.
    channel: Option<Channel>,
    /// Handoff only: it waits for a client.
    idle: bool,
}

/// What the parent waits for.
#[derive(Debug, Clone, Copy)]
enum Event {
    Signal,
    Listener,
    /// Handoff only: the worker with this number reports.
    Report(usize),
}

impl Parent {
    pub fn new(
        context: &'static Context,
        flags: Flags,
        stop: StopSignal,
        listeners: Vec<Listener>,
    ) -> Self {
        let workers = flags.workers(context);
        Self {
            context,
            accept: flags.accept,
            stop,
            listeners,
            workers: (0..workers).map(|_| Worker::default()).collect(),
            waiting: None,
            deadline: None,
        }
    }

    /// Makes the workers, and tells that clients may come.
    pub fn start_workers(&mut self) -> anyhow::Result<()> {
        for number in 0..self.workers.len() {
            self.start(number)
                .with_context(|| format!("no process for worker {number} (see --workers)"))?;
        }
        self.listeners[0].announce();
        Ok(())
    }

    /// Until the server was stopped and the last worker has ended.
    pub fn run(&mut self) -> anyhow::Result<()> {
        while !self.stopping() || self.workers.iter().any(|worker| worker.child.is_some()) {
            for event in self.wait()? {
                trace!(self.context, "parent: {event:?}");
                match event {
                    Event::Signal => self.take_signal()?,
                    Event::Listener => self.accept()?,
                    Event::Report(number) => self.take_report(number),
                }
            }
            if self.deadline.is_some_and(|at| at <= Instant::now()) {
                self.deadline = None;
                if self.stopping() {
                    self.signal_children(Signal::SIGKILL);
                }
            }
            if !self.stopping() {
                self.replace_dead();
            }
        }
        Ok(())
    }

    fn stopping(&self) -> bool {
        self.listeners.is_empty()
    }

    /// The one place where the parent blocks. Gives what is ready.
    fn wait(&self) -> nix::Result<Vec<Event>> {
        let mut events = vec![Event::Signal];
        let mut entries = vec![PollFd::new(self.stop.as_fd(), PollFlags::POLLIN)];
        if let (Some(listener), None) = (self.listeners.first(), self.deadline)
            && self.workers.iter().any(|worker| worker.idle)
        {
            events.push(Event::Listener);
            entries.push(PollFd::new(listener.as_fd(), PollFlags::POLLIN));
        }
        for (number, worker) in self.workers.iter().enumerate() {
            if let (Some(channel), false) = (&worker.channel, worker.idle) {
                events.push(Event::Report(number));
                entries.push(PollFd::new(channel.as_fd(), PollFlags::POLLIN));
            }
        }
        let dead = |worker: &&Worker| worker.child.is_none() && !self.stopping();
        let until = self
            .workers
            .iter()
            .filter(dead)
            .filter_map(|worker| worker.not_before)
            .chain(self.deadline)
            .min();
        let timeout = until.map(|at| at.saturating_duration_since(Instant::now()));
        match poll(&mut entries, PollTimeout::from(millis(timeout))) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
        let ready = |entry: &PollFd| entry.any().unwrap_or(false);
        Ok(std::iter::zip(&entries, events)
            .filter_map(|(entry, event)| ready(entry).then_some(event))
            .collect())
    }

    /// Forks the child of one worker.
    fn start(&mut self, number: usize) -> nix::Result<()> {
        self.workers[number].not_before = Some(Instant::now() + RETRY);
        let mut to_parent = None;
        if self.accept == Accept::Handoff {
            let (ours, theirs) = Channel::pair()?;
            self.workers[number].channel = Some(ours);
            to_parent = Some(theirs);
        }
        let context = self.context;
        let started = child::start(|| {
            // Its copies of what is the parent's: as long as one is open, the other end sees no end.
            self.workers.clear();
            self.waiting = None;
            let mine = number % self.listeners.len();
            let listener = self.listeners.swap_remove(mine);
            self.listeners.clear();
            let served = match &to_parent {
                None => serve_listener(context, number, &listener),
                Some(parent) => {
                    drop(listener);
                    serve_handed(context, number, parent)
                }
            };
            if let Err(error) = served {
                eprintln!("prefork-server: worker {number}: {error:#}");
            }
        });
        let worker = &mut self.workers[number];
        match started {
            Ok(child) => {
                trace!(context, "fork: worker {number} is child {child}");
                worker.child = Some(child);
                worker.idle = self.accept == Accept::Handoff;
                self.hand_over_waiting();
                Ok(())
            }
            Err(errno) => {
                worker.channel = None;
                Err(errno)
            }
        }
    }

    fn replace_dead(&mut self) {
        let now = Instant::now();
        for number in 0..self.workers.len() {
            let worker = &self.workers[number];
            if worker.child.is_none()
                && worker.not_before.is_none_or(|at| at <= now)
                && let Err(errno) = self.start(number)
            {
                trace!(self.context, "fork: {errno}; worker {number} is missing");
            }
        }
    }

    /// Handoff: accepts as many clients as there are idle workers.
    fn accept(&mut self) -> anyhow::Result<()> {
        while let Some(listener) = self.listeners.first()
            && self.workers.iter().any(|worker| worker.idle)
        {
            match accept(self.context, listener, Blocking::Yes)? {
                Accepted::Client(client) => self.hand_over(client),
                Accepted::None => break,
                Accepted::Overloaded => {
                    self.deadline = Some(Instant::now() + RETRY);
                    break;
                }
            }
        }
        Ok(())
    }

    /// Handoff: gives the client to an idle worker. The parent's copy of it is closed.
    fn hand_over(&mut self, client: TcpStream) {
        while let Some(number) = self.workers.iter().position(|worker| worker.idle) {
            let worker = &mut self.workers[number];
            worker.idle = false;
            // Before the child can be done with it.
            self.context.stats.set_serving(number, true);
            if let Some(channel) = &worker.channel
                && channel.give(&client).is_ok()
            {
                trace!(self.context, "sendmsg: client to worker {number}");
                self.context.stats.took(number);
                return;
            }
            // It has just died.
            self.context.stats.set_serving(number, false);
            worker.channel = None;
        }
        self.waiting = Some(client);
    }

    fn hand_over_waiting(&mut self) {
        if let Some(client) = self.waiting.take() {
            self.hand_over(client);
        }
    }

    /// Handoff: a worker has become idle, or has died.
    fn take_report(&mut self, number: usize) {
        let worker = &mut self.workers[number];
        worker.idle = worker.channel.as_ref().is_some_and(Channel::took_report);
        if worker.idle {
            self.hand_over_waiting();
        } else {
            worker.channel = None;
        }
    }

    fn take_signal(&mut self) -> anyhow::Result<()> {
        match self.stop.take()? {
            Some(Signal::SIGCHLD) => self.reap(),
            Some(_) if !self.stopping() => self.begin_stop(),
            Some(second) => {
                self.kill_children();
                std::process::exit(128 + second as i32);
            }
            None => {}
        }
        Ok(())
    }

    /// Takes all children that have ended out of the table of processes.
    fn reap(&mut self) {
        while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG))
            && let Some(child) = status.pid()
        {
            trace!(self.context, "waitpid: {status:?}");
            let workers = self.workers.iter_mut().enumerate();
            for (number, worker) in workers.filter(|(_, worker)| worker.child == Some(child)) {
                self.context.stats.worker_died(number);
                *worker = Worker {
                    not_before: worker.not_before,
                    ..Worker::default()
                };
            }
        }
    }

    fn begin_stop(&mut self) {
        // First the signal: a child must not take the closed listener for an error.
        self.signal_children(Signal::SIGTERM);
        self.listeners.iter().for_each(Listener::close);
        self.listeners.clear();
        for worker in &mut self.workers {
            worker.channel = None;
            worker.idle = false;
        }
        if self.waiting.take().is_some() {
            self.context.stats.refuse();
        }
        // The children see to the grace themselves, unless something is wrong with one.
        self.deadline = Some(Instant::now() + self.context.options.grace + stop::ALLOWANCE);
    }

    /// Ends at once those that are left, and waits for them.
    pub fn kill_children(&self) {
        self.signal_children(Signal::SIGKILL);
        while waitpid(None, None).is_ok() {}
    }

    fn signal_children(&self, signal: Signal) {
        for child in self.workers.iter().filter_map(|worker| worker.child) {
            // Not yet waited for, so the number is still the child's.
            let _ = kill(child, signal);
        }
    }
}

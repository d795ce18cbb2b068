//! # processes: a process for each client
//!
//! The oldest way to serve many: the parent accepts, forks, and forgets the client. The child
//! has a copy of the connection, serves it with blocking calls and exits. The kernel keeps the
//! clients apart: one that crashes its process harms no other.
//!
//! ```text
//!                          +-- fork --> child: recv, send, recv ...   client 1
//!   poll, accept (parent) -+-- fork --> child: recv, send, recv ...   client 2
//!     ^                    +-- fork --> child: recv, send, recv ...   client 3
//!     +---- SIGCHLD ------------------- exit
//!     +---- waitpid: the child leaves the table of processes
//! ```
//!
//! * System calls: `accept4`, `fork`, `waitpid`, and in the child `recv`, `send`. The signals are
//!   read from a descriptor (`signalfd`), so that one `poll` waits for them and for clients.
//! * What costs: copying the parent's page tables for each client, and throwing them away.
//! * What breaks it: a child that nobody waits for stays in the table of processes as a zombie,
//!   and signals are not queued: one SIGCHLD may stand for many children. There may be no process
//!   to be had for a client that is already accepted: it is kept until there is one. Each side
//!   must close its copy of the connection, or the client never sees the end.
//!
//! Source: W. Richard Stevens, "UNIX Network Programming", volume 1, chapters 5 and 30.
#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use serverkit::accept::{Accepted, Admission, Blocking, accept};
use serverkit::clients::ACCEPTS_PER_TURN;
use serverkit::deadlines::millis;
use serverkit::listener::Listener;
use serverkit::stats::Closed;
use serverkit::stop::{self, StopSignal};
use serverkit::{Context, Limits, Model, NoFlags, blocking, child, trace};

const MODEL: Model<NoFlags> = Model {
    name: "processes",
    family: "blocking",
    summary: "A forked process for each client, which blocks for that client alone",
    descriptors: None,
    limits: |context, _| Limits {
        clients: Some(context.max_connections()),
        why: "a process for each client, by default as many as the parent may have descriptors; a \
              stuck client holds its own process and nobody else's"
            .to_owned(),
    },
};

fn main() -> ExitCode {
    serverkit::main(&MODEL, serve)
}

fn serve(context: &'static Context, _: NoFlags) -> anyhow::Result<()> {
    let stop = StopSignal::of_parent()?;
    let listener = Listener::bind(&context.options)?;
    listener.announce();
    Server {
        context,
        stop,
        listener: Some(listener),
        admission: Admission::new(context.max_connections()),
        children: HashSet::new(),
        waiting: None,
        deadline: None,
    }
    .run()
}

/// The parent.
struct Server {
    context: &'static Context,
    stop: StopSignal,
    /// `None` once the server is stopping.
    listener: Option<Listener>,
    admission: Admission,
    /// One for each client.
    children: HashSet<Pid>,
    /// A client for which there was no process.
    waiting: Option<TcpStream>,
    /// When to try again what failed for want of something; when stopping, the end of the grace.
    deadline: Option<Instant>,
}

impl Server {
    fn run(&mut self) -> anyhow::Result<()> {
        while self.listener.is_some() || !self.children.is_empty() {
            let (signal, client) = self.wait()?;
            if signal {
                self.take_signal()?;
            }
            if client {
                self.accept()?;
            }
            if self.deadline.is_some_and(|at| at <= Instant::now()) {
                self.deadline_passed();
            }
        }
        Ok(())
    }

    /// The one place where the parent blocks. Tells whether there is a signal, and a client.
    fn wait(&self) -> nix::Result<(bool, bool)> {
        let mut entries = vec![PollFd::new(self.stop.as_fd(), PollFlags::POLLIN)];
        if let Some(listener) = &self.listener
            && self.admission.is_open(self.children.len())
        {
            entries.push(PollFd::new(listener.as_fd(), PollFlags::POLLIN));
        }
        let left = self
            .deadline
            .map(|at| at.saturating_duration_since(Instant::now()));
        match poll(&mut entries, PollTimeout::from(millis(left))) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok((false, false)),
            Err(errno) => return Err(errno),
        }
        let ready = |entry: Option<&PollFd>| entry.and_then(PollFd::any).unwrap_or(false);
        let (signal, client) = (ready(entries.first()), ready(entries.get(1)));
        trace!(self.context, "poll: signal {signal}, client {client}");
        Ok((signal, client))
    }

    fn accept(&mut self) -> anyhow::Result<()> {
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(listener) = &self.listener else {
                break;
            };
            if !self.admission.is_open(self.children.len()) {
                break;
            }
            match accept(self.context, listener, Blocking::Yes)? {
                Accepted::Client(client) => self.start_child(client),
                Accepted::None => break,
                Accepted::Overloaded => self.deadline = Some(self.admission.overloaded()),
            }
        }
        Ok(())
    }

    /// Forks a child for the client. The parent's copy of the connection is closed, except where
    /// there is no process to be had.
    fn start_child(&mut self, client: TcpStream) {
        let started = child::start(|| {
            // The child's copy: else the port would stay open as long as the child.
            self.listener = None;
            blocking::serve(self.context, &client);
        });
        match started {
            Ok(child) => {
                trace!(self.context, "fork: child {child}");
                self.children.insert(child);
            }
            Err(errno) => {
                trace!(self.context, "fork: {errno}; the client is kept");
                self.waiting = Some(client);
                self.deadline = Some(self.admission.overloaded());
            }
        }
    }

    fn take_signal(&mut self) -> anyhow::Result<()> {
        match self.stop.take()? {
            Some(Signal::SIGCHLD) => self.reap(),
            Some(_) if self.listener.is_some() => self.begin_stop(),
            Some(second) => {
                self.signal_children(Signal::SIGKILL);
                while waitpid(None, None).is_ok() {}
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
            self.children.remove(&child);
            if status != WaitStatus::Exited(child, 0) {
                // It could not count its client itself.
                self.context.stats.close(Closed {
                    reset: true,
                    ..Closed::default()
                });
            }
        }
        if self.listener.is_some() {
            self.retry();
        }
    }

    fn deadline_passed(&mut self) {
        if self.listener.is_some() {
            self.retry();
        } else {
            self.deadline = None;
            self.signal_children(Signal::SIGKILL);
        }
    }

    /// There may now be what there was too little of.
    fn retry(&mut self) {
        self.deadline = None;
        self.admission.retry();
        if let Some(client) = self.waiting.take() {
            self.start_child(client);
        }
    }

    fn begin_stop(&mut self) {
        self.listener = None;
        if self.waiting.take().is_some() {
            self.context.stats.refuse();
        }
        // The children see to the grace themselves, unless something is wrong with one.
        self.deadline = Some(Instant::now() + self.context.options.grace + stop::ALLOWANCE);
        self.signal_children(Signal::SIGTERM);
    }

    fn signal_children(&self, signal: Signal) {
        for &child in &self.children {
            // Not yet waited for, so the number is still the child's.
            let _ = kill(child, signal);
        }
    }
}

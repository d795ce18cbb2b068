//! # sigio: the kernel sends a signal
//!
//! Nobody is asked: when a descriptor becomes ready the kernel itself sends the process a signal
//! that names it. It is a real-time signal, for those queue up, one for each event, and carry a
//! descriptor, where the plain SIGIO says only that something happened somewhere.
//!
//! ```text
//!   clients --> sockets --> [ signal queue, RLIMIT_SIGPENDING long ] --full--> SIGIO
//!                                          | read a signalfd                     |
//!                              "descriptor 7", "descriptor 9"              poll all of them
//!                          listener? accept     client? read, answer, write
//! ```
//!
//! * System calls: `fcntl` with `F_SETSIG`, `F_SETOWN` and `O_ASYNC` arms a descriptor, once;
//!   `read` of a signalfd takes many signals at once; `accept4`, `read`, `write`.
//! * Here all that can happen is a signal: input and room to write, the stop (SIGTERM), and the
//!   time (SIGALRM, by `setitimer`). They are blocked, and so there is no handler and no race
//!   with one: a blocking read of the signalfd is the only wait.
//! * What breaks it: the queue has a limit. When it is full the kernel sends one SIGIO instead
//!   and the event itself is lost. Then the queue is emptied and all descriptors are asked once
//!   with `poll`, which finds whatever was lost.
//! * A signal tells of each arrival once. Sockets are read until they say EAGAIN; whoever stops
//!   sooner remembers it. What came before the descriptor was armed is told to nobody: a new
//!   client is asked once.
//! * A signal may be older than its descriptor, which can be closed by now or be another
//!   client's. It is only a hint to try, and trying does no harm.
//!
//! Source: fcntl(2), signal(7), signalfd(2); Dan Kegel, "The C10K problem", on readiness by
//! real-time signals; phhttpd by Zach Brown, 1999, had them first.
#![deny(unsafe_code)]

use std::mem::take;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::read;
use serverkit::clients::{ACCEPTS_PER_TURN, Clients};
use serverkit::listener::Listener;
use serverkit::nonblocking::{Next, Until};
use serverkit::stop::stop_signals;
use serverkit::{Context, Model, NoFlags, trace};

use crate::signals::{SIGNAL_SIZE, Told, arm, discard_ready_signals, set_alarm, with_ready_signal};

mod signals;

const MODEL: Model<NoFlags> = Model {
    name: "sigio",
    family: "readiness",
    summary: "The kernel sends one thread a real-time signal for each descriptor that becomes ready",
    descriptors: None,
    limits: |context, _| context.descriptor_limits(),
};

fn main() -> ExitCode {
    serverkit::main(&MODEL, serve)
}

fn serve(context: &'static Context, _: NoFlags) -> anyhow::Result<()> {
    let mut signals = stop_signals();
    signals.extend([Signal::SIGIO, Signal::SIGALRM]);
    let signals = with_ready_signal(signals);
    signals.thread_block()?;
    let listener = Listener::bind(&context.options)?;
    arm(&listener).context("the kernel refuses to send signals for sockets")?;
    listener.announce();
    Server {
        context,
        signals: SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC)?,
        // Someone may have come before the listener was armed.
        arrivals: true,
        keys: Vec::new(),
        unfinished: Vec::new(),
        clients: Clients::new(context, listener, context.max_connections()),
    }
    .run()
}

struct Server {
    context: &'static Context,
    signals: SignalFd,
    /// Someone may wait at the listener: it was told of, and accept did not yet say EAGAIN.
    arrivals: bool,
    /// The key of the client that has, or had, a descriptor; by descriptor.
    keys: Vec<usize>,
    /// Clients whose budget was used up before their socket was empty.
    unfinished: Vec<usize>,
    clients: Clients,
}

impl Server {
    fn run(&mut self) -> anyhow::Result<()> {
        while !self.clients.is_finished() {
            self.accept()?;
            let mut told = self.wait()?;
            if told.stop {
                self.begin_stop()?;
            }
            if told.overflow {
                told.ready = self.poll_all()?;
            }
            let unfinished = take(&mut self.unfinished);
            for fd in told.ready {
                if self.is_listener(fd) {
                    self.arrivals = true;
                } else if let Some(&key) = self.keys.get(fd as usize) {
                    self.step(key);
                }
            }
            for key in unfinished {
                self.step(key);
            }
            self.clients.expire();
        }
        Ok(())
    }

    /// The one place where this server blocks.
    fn wait(&self) -> nix::Result<Told> {
        let timeout = if self.unfinished.is_empty() && !(self.arrivals && self.clients.accepting())
        {
            self.clients.timeout()
        } else {
            Some(Duration::ZERO)
        };
        if let Some(timeout) = timeout {
            set_alarm(timeout)?;
        }
        let mut told = Told::default();
        let mut batch = [0; 64 * SIGNAL_SIZE];
        loop {
            let length = match read(&self.signals, &mut batch) {
                Err(Errno::EINTR) => 0,
                result => result?,
            };
            told.add(&batch[..length]);
            if length < batch.len() {
                break;
            }
            // One packet, one signal: busy clients can fill the queue with what would all be
            // answered by the first of theirs, and the others wait behind it. So it is read to
            // its end, where the alarm keeps the last read from blocking. There is an end, for
            // nobody can send much to a server that does not read.
            set_alarm(Duration::ZERO)?;
        }
        told.ready.sort_unstable();
        told.ready.dedup();
        trace!(
            self.context,
            "{} signals, ready: {:?}", told.signals, told.ready
        );
        Ok(told)
    }

    /// Finds what the full queue had no room for.
    fn poll_all(&self) -> nix::Result<Vec<RawFd>> {
        // What they tell is found as well, and new ones have room again.
        discard_ready_signals()?;
        let mut entries: Vec<PollFd> = Vec::new();
        if let Some(listener) = self.clients.listener() {
            entries.push(PollFd::new(listener.as_fd(), PollFlags::POLLIN));
        }
        for (_, client) in self.clients.iter() {
            let mut events = PollFlags::empty();
            events.set(PollFlags::POLLIN, client.interest().read);
            events.set(PollFlags::POLLOUT, client.interest().write);
            entries.push(PollFd::new(client.as_fd(), events));
        }
        let count = poll(&mut entries, PollTimeout::ZERO)?;
        trace!(
            self.context,
            "the signal queue was full; poll: {count} of {} ready",
            entries.len()
        );
        Ok(entries
            .iter()
            .filter(|entry| entry.any().unwrap_or(true))
            .map(|entry| entry.as_fd().as_raw_fd())
            .collect())
    }

    fn is_listener(&self, fd: RawFd) -> bool {
        self.clients.listener().map(AsRawFd::as_raw_fd) == Some(fd)
    }

    fn accept(&mut self) -> anyhow::Result<()> {
        for _ in 0..ACCEPTS_PER_TURN {
            if !(self.arrivals && self.clients.accepting()) {
                break;
            }
            let Some(key) = self.clients.accept()? else {
                // None waits, unless accept itself could not go on.
                self.arrivals = !self.clients.accepting();
                break;
            };
            let client = &self.clients[key];
            let fd = client.as_raw_fd() as usize;
            if let Err(errno) = arm(client) {
                self.clients.abort(key, errno);
                continue;
            }
            if self.keys.len() <= fd {
                self.keys.resize(fd + 1, usize::MAX);
            }
            self.keys[fd] = key;
            // What came before it was armed.
            let next = self.clients.ask(key, Until::WouldBlock);
            self.remember(key, next);
        }
        Ok(())
    }

    /// Moves the bytes of one client.
    fn step(&mut self, key: usize) {
        let next = self.clients.step(key, Until::WouldBlock);
        self.remember(key, next);
    }

    fn remember(&mut self, key: usize, next: Next) {
        if next == Next::Again {
            self.unfinished.push(key);
        }
    }

    fn begin_stop(&mut self) -> nix::Result<()> {
        // The next one ends the process.
        stop_signals().thread_unblock()?;
        self.clients.stop();
        for key in self.clients.keys() {
            self.step(key);
        }
        Ok(())
    }
}

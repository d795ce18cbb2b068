//! # sigio: the kernel sends a signal
//!
//! The server does not ask. When a descriptor becomes ready, the kernel sends a signal with its
//! number: a real-time signal. These wait in a queue, one for each event, and carry data. A plain
//! SIGIO says only that something is ready.
//!
//! ```text
//!   clients --> sockets --> [ signal queue, RLIMIT_SIGPENDING long ] --full--> SIGIO
//!                                          | read a signalfd                     |
//!                              "descriptor 7", "descriptor 9"              poll all of them
//!                          listener? accept     client? read, answer, write
//! ```
//!
//! * System calls: `fcntl` with `F_SETSIG`, `F_SETOWN` and `O_ASYNC` once for each descriptor;
//!   `read` of a signalfd takes many signals at once; `accept4`, `recvfrom` until it says EAGAIN,
//!   `sendto`. A read has no timeout, so while there is a deadline, `poll` waits for the signalfd.
//! * All these signals are blocked, and so are those of a stop. So no handler interrupts anything.
//! * What breaks it: a full queue. The event is lost, and the kernel sends one SIGIO instead. Then
//!   this server empties the queue and finds what was lost with one `poll` of all sockets.
//! * As with `epoll-edge` the kernel reports an arrival once, so a server that stops before EAGAIN
//!   must remember it. Bytes that came before a socket was armed are not reported, so a new client
//!   is tried at once.
//! * A signal can be older than its descriptor, which may belong to another client by now. A signal
//!   is only a hint, and trying does no harm.
//!
//! Source: fcntl(2), signal(7), signalfd(2); Dan Kegel, "The C10K problem", on readiness by
//! real-time signals, which phhttpd by Zach Brown used first, 1999.
#![deny(unsafe_code)]

use std::collections::HashMap;
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::read;
use serverkit::accept::{Accepted, Blocking, accept};
use serverkit::clients::{ACCEPTS_PER_TURN, Clients, LISTENER, STOP};
use serverkit::deadlines::millis;
use serverkit::nonblocking::Trigger;
use serverkit::stop::{let_second_signal_end, stop_signals};
use serverkit::{Context, Model, NoFlags, listener, trace};

use crate::signals::{SIGNAL_SIZE, Told, arm, discard_ready_signals, with_ready_signal};

mod signals;

const MODEL: Model<NoFlags> = Model {
    name: "sigio",
    family: "readiness",
    summary: "The kernel sends one thread a real-time signal for each descriptor that becomes ready",
    limits: |context, _| context.descriptor_limits(),
};

fn main() -> ExitCode {
    serverkit::main(&MODEL, serve)
}

fn serve(context: &'static Context, _: NoFlags) -> anyhow::Result<()> {
    let mut signals = stop_signals();
    signals.add(Signal::SIGIO);
    let signals = with_ready_signal(signals);
    signals.thread_block()?;
    let signals = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC).context("signalfd")?;
    let listener = listener::bind(&context.options)?;
    arm(&listener).context("the kernel refuses to send signals for sockets")?;
    listener::announce(listener.local_addr()?)?;
    let tokens = HashMap::from([(listener.as_raw_fd(), LISTENER)]);
    Server {
        context,
        signals,
        listener: Some(listener),
        // Someone may have come before the listener was armed.
        arrivals: true,
        tokens,
        clients: Clients::new(context, context.max_connections()),
    }
    .run()
}

struct Server {
    context: &'static Context,
    /// The queue of signals.
    signals: SignalFd,
    /// `None` once the server is stopping.
    listener: Option<TcpListener>,
    /// The listener was reported, and accept has not said EAGAIN since.
    arrivals: bool,
    /// What a signal is about, by its descriptor.
    tokens: HashMap<RawFd, usize>,
    clients: Clients,
}

impl Server {
    fn run(&mut self) -> anyhow::Result<()> {
        let mut ready = Vec::new();
        while self.listener.is_some() || !self.clients.is_empty() {
            self.wait(&mut ready)?;
            // A client may be both ready and due: it gets one turn, not two.
            ready.extend(self.clients.due());
            if self.may_accept() {
                ready.push(LISTENER);
            }
            ready.sort_unstable();
            ready.dedup();
            for token in ready.drain(..) {
                match token {
                    STOP => self.stop()?,
                    LISTENER => self.accept(ACCEPTS_PER_TURN)?,
                    key => self.step(key),
                }
            }
        }
        Ok(())
    }

    /// The one place where this server blocks. Adds what is ready to an empty list.
    fn wait(&mut self, ready: &mut Vec<usize>) -> anyhow::Result<()> {
        let mut timeout = match self.clients.timeout() {
            _ if self.may_accept() => Some(Duration::ZERO),
            timeout => timeout,
        };
        let mut told = Told::default();
        loop {
            match self.read_signals(timeout, &mut told) {
                // One packet, one signal: a busy client can have many signals in the queue, with
                // the others behind them. So all are read, and then each client has one turn.
                Ok(true) => timeout = Some(Duration::ZERO),
                Ok(false) | Err(Errno::EINTR) => break,
                Err(errno) => return Err(errno).context("the wait for signals"),
            }
        }
        ready.extend(told.ready.iter().filter_map(|(fd, _)| self.tokens.get(fd)));
        if told.overflow {
            self.poll_all(ready).context("poll")?;
        }
        if let Some(signal) = told.stop {
            let_second_signal_end(signal as libc::c_int)?;
            ready.push(STOP);
        }
        Ok(())
    }

    /// Clients wait at the listener, and no event will report them.
    fn may_accept(&self) -> bool {
        self.arrivals && self.listener.is_some() && self.clients.have_room()
    }

    /// Accepts at most `most` of the clients that wait, while there is room for them.
    fn accept(&mut self, most: usize) -> anyhow::Result<()> {
        let Some(listener) = &self.listener else {
            return Ok(());
        };
        self.arrivals = true;
        for _ in 0..most {
            if !self.clients.have_room() {
                break;
            }
            match accept(self.context, listener, Blocking::None)? {
                Accepted::Client(socket) => {
                    let key = self.clients.insert(socket);
                    let client = &self.clients[key];
                    if let Err(errno) = arm(client) {
                        self.clients.fail(key, errno);
                        continue;
                    }
                    self.tokens.insert(client.as_fd().as_raw_fd(), key);
                    // What came before it was armed.
                    self.clients.step(key, Trigger::Edge);
                }
                Accepted::None => {
                    self.arrivals = false;
                    break;
                }
                Accepted::Overloaded => self.clients.overloaded(),
            }
        }
        Ok(())
    }

    /// Moves the bytes of one client, until its socket is empty.
    fn step(&mut self, key: usize) {
        self.clients.step(key, Trigger::Edge);
    }

    /// Accepts the clients that still wait, closes the listener, and lets each client's input end with what
    /// has arrived.
    fn stop(&mut self) -> anyhow::Result<()> {
        self.accept(usize::MAX)?;
        self.listener = None;
        self.clients.stop();
        Ok(())
    }

    /// Takes signals from the queue, and waits for the first one. Tells whether there may be more.
    fn read_signals(&self, timeout: Option<Duration>, told: &mut Told) -> nix::Result<bool> {
        let call = if timeout.is_some() { "poll" } else { "read" };
        let waiting = self.clients.wait(call, timeout, self.listener.is_some());
        let mut entry = [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        if timeout.is_some() && poll(&mut entry, PollTimeout::from(millis(timeout)))? == 0 {
            waiting.woke(Vec::new);
            return Ok(false);
        }
        let mut batch = [0; 64 * SIGNAL_SIZE];
        let length = read(&self.signals, &mut batch)?;
        let before = told.add(&batch[..length]);
        waiting.woke(|| self.clients.names_ready(told.since(before, &self.tokens)));
        Ok(length == batch.len())
    }

    /// Finds what the full queue had no room for.
    fn poll_all(&self, ready: &mut Vec<usize>) -> nix::Result<()> {
        // `poll` also finds what these signals report, and the queue has room for new ones.
        discard_ready_signals()?;
        let mut entries = Vec::new();
        let mut tokens = Vec::new();
        if let Some(listener) = &self.listener {
            entries.push(PollFd::new(listener.as_fd(), PollFlags::POLLIN));
            tokens.push(LISTENER);
        }
        for (key, client) in self.clients.iter() {
            let mut events = PollFlags::empty();
            events.set(PollFlags::POLLIN, client.interest().read);
            events.set(PollFlags::POLLOUT, client.interest().write);
            entries.push(PollFd::new(client.as_fd(), events));
            tokens.push(key);
        }
        while let Err(errno) = poll(&mut entries, PollTimeout::ZERO) {
            if errno != Errno::EINTR {
                return Err(errno);
            }
        }
        trace::note(None, || {
            "the signal queue was full: all are asked by poll".to_owned()
        });
        for (entry, token) in entries.iter().zip(tokens) {
            // `None`: flags without a name here. Their descriptor is looked at as well.
            if entry.any().unwrap_or(true) {
                ready.push(token);
            }
        }
        Ok(())
    }
}

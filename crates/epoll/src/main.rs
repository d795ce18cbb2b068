//! # epoll: the kernel keeps the list
//!
//! `select` and `poll` hand the whole list of descriptors to the kernel with every call. Here the
//! kernel keeps it: a descriptor is entered once, and each wait returns only those that are
//! ready, so that the idle ones cost nothing.
//!
//! ```text
//!   clients --> sockets --> [ interest set ]      in the kernel, changed by epoll_ctl
//!                                  |
//!                            [ ready list ]
//!                                  | epoll_wait
//!                  listener? accept     client? read, answer, write
//! ```
//!
//! * System calls: `epoll_create1`, `epoll_ctl`, `epoll_wait`; `accept4`, `read`, `write`.
//! * `--trigger level`: a descriptor is reported as long as it is ready. What was left over is
//!   told again, and so the set must be changed when a client stops reading: room to write is
//!   only asked for while something waits to be written.
//! * `--trigger edge`: it is reported once each time that something arrives. The set never
//!   changes, but the socket must be read until it says EAGAIN; whoever stops sooner, here
//!   because a budget is used up, has to remember it: nobody will tell again.
//! * What breaks it: a handler that takes long, for all clients wait behind it; in edge mode one
//!   forgotten byte, for the client hangs.
//!
//! Source: epoll(7); Davide Libenzi, "Improving (network) I/O performance", 2002.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use serverkit::clients::{ACCEPTS_PER_TURN, Clients};
use serverkit::deadlines::millis;
use serverkit::listener::Listener;
use serverkit::nonblocking::{Next, Until};
use serverkit::session::Interest;
use serverkit::stop::StopSignal;
use serverkit::{Context, Model, trace};

const MODEL: Model<Flags> = Model {
    name: "epoll",
    family: "readiness",
    summary: "One thread asks the kernel which of the descriptors it keeps a list of are ready",
    descriptors: None,
    limits: |context, _| context.descriptor_limits(),
};

#[derive(Debug, Clone, Copy, clap::Args)]
struct Flags {
    /// Whether readiness is reported as long as it lasts, or once when it comes
    #[arg(long, value_enum, default_value_t = Trigger::Level)]
    trigger: Trigger,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Trigger {
    Level,
    Edge,
}

fn main() -> ExitCode {
    serverkit::main(&MODEL, serve)
}

fn serve(context: &'static Context, flags: Flags) -> anyhow::Result<()> {
    let stop = StopSignal::new()?;
    let listener = Listener::bind(&context.options)?;
    listener.announce();
    let mut server = Server {
        context,
        trigger: flags.trigger,
        epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
        listening: false,
        interests: Vec::new(),
        unfinished: Vec::new(),
        clients: Clients::new(context, listener, context.max_connections()),
    };
    server
        .epoll
        .add(&stop, EpollEvent::new(EpollFlags::EPOLLIN, STOP))?;
    server.run(&stop)
}

/// What an event is about: one of these, or else the key of a client.
const LISTENER: u64 = u64::MAX;
const STOP: u64 = u64::MAX - 1;

struct Server {
    context: &'static Context,
    trigger: Trigger,
    /// The interest set, which the kernel keeps.
    epoll: Epoll,
    /// The listener is in it.
    listening: bool,
    /// What it holds of each client, by the client's key.
    interests: Vec<Interest>,
    /// Edge only: clients whose budget was used up before their socket was empty.
    unfinished: Vec<usize>,
    clients: Clients,
}

impl Server {
    fn run(&mut self, stop: &StopSignal) -> anyhow::Result<()> {
        let mut events = [EpollEvent::empty(); 512];
        while !self.clients.is_finished() {
            self.arm_listener()?;
            let ready = self.wait(&mut events)?;
            let unfinished = std::mem::take(&mut self.unfinished);
            for event in &events[..ready] {
                trace!(
                    self.context,
                    "{} {:?}",
                    self.name(event.data()),
                    event.events()
                );
                match event.data() {
                    LISTENER => self.accept()?,
                    STOP => self.begin_stop(stop)?,
                    key => self.step(key as usize),
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
    fn wait(&self, events: &mut [EpollEvent]) -> nix::Result<usize> {
        let timeout = match millis(self.clients.timeout()) {
            _ if !self.unfinished.is_empty() => EpollTimeout::ZERO,
            Some(milliseconds) => EpollTimeout::from(milliseconds),
            None => EpollTimeout::NONE,
        };
        let ready = match self.epoll.wait(events, timeout) {
            Err(Errno::EINTR) => 0,
            result => result?,
        };
        trace!(self.context, "epoll_wait: {ready} ready");
        Ok(ready)
    }

    /// The listener is in the interest set only while there is room for another client.
    fn arm_listener(&mut self) -> nix::Result<()> {
        let Some(listener) = self.clients.listener() else {
            return Ok(());
        };
        let wanted = self.clients.accepting();
        if wanted && !self.listening {
            self.epoll
                .add(listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
        } else if self.listening && !wanted {
            self.epoll.delete(listener)?;
        }
        self.listening = wanted;
        Ok(())
    }

    fn accept(&mut self) -> anyhow::Result<()> {
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(key) = self.clients.accept()? else {
                break;
            };
            let client = &self.clients[key];
            let interest = client.interest();
            let entered = self.epoll.add(client, event(self.trigger, interest, key));
            if let Err(errno) = entered {
                self.clients.abort(key, errno);
                continue;
            }
            if self.interests.len() <= key {
                self.interests.resize(key + 1, interest);
            }
            self.interests[key] = interest;
        }
        Ok(())
    }

    /// Moves the bytes of one client. Closing its socket takes it out of the interest set.
    fn step(&mut self, key: usize) {
        match self.trigger {
            Trigger::Level => {
                if self.clients.step(key, Until::ShortRead) != Next::Closed {
                    self.rearm(key);
                }
            }
            Trigger::Edge => {
                // The first report may be of nothing but room to write.
                if self.clients.ask(key, Until::WouldBlock) == Next::Again {
                    self.unfinished.push(key);
                }
            }
        }
    }

    /// Tells the kernel what a client waits for, if that has changed.
    fn rearm(&mut self, key: usize) {
        let client = &self.clients[key];
        let interest = client.interest();
        if interest != self.interests[key] {
            self.interests[key] = interest;
            let changed = self
                .epoll
                .modify(client, &mut event(self.trigger, interest, key));
            if let Err(errno) = changed {
                self.clients.abort(key, errno);
            }
        }
    }

    fn name(&self, what: u64) -> String {
        match what {
            LISTENER => "listener".to_owned(),
            STOP => "stop signal".to_owned(),
            key => self.clients.name(key as usize),
        }
    }

    fn begin_stop(&mut self, stop: &StopSignal) -> anyhow::Result<()> {
        if stop.take()?.is_some() {
            self.clients.stop();
            for key in self.clients.keys() {
                self.step(key);
            }
        }
        Ok(())
    }
}

/// An entry of the interest set.
fn event(trigger: Trigger, interest: Interest, key: usize) -> EpollEvent {
    let flags = match trigger {
        Trigger::Edge => EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET,
        Trigger::Level => {
            let mut flags = EpollFlags::empty();
            flags.set(EpollFlags::EPOLLIN, interest.read);
            flags.set(EpollFlags::EPOLLOUT, interest.write);
            flags
        }
    };
    EpollEvent::new(flags, key as u64)
}

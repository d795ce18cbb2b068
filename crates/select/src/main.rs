//! # select: which of these are ready?
//!
//! One thread, many clients: the server gives the kernel the set of all descriptors it cares for
//! and sleeps until some of them are ready. A set is a field of bits, one for each descriptor
//! number, and the kernel answers in the same bits: those that stay set are ready.
//!
//! ```text
//!    descriptor   0 1 2 3 4 5 6 7 8 9 ... 1023
//!    asked        . . . x x . x x x .           built anew each time
//!                          | select
//!    answered     . . . . x . . x . .           looked through each time
//!               listener? accept     client? read, answer, write
//! ```
//!
//! * System calls: `select`; `accept4`, `read`, `write`.
//! * The answer overwrites the question, so the sets are built from all clients for each wait,
//!   the kernel asks each socket in turn, and the answer is looked through from end to end. All
//!   three cost the more the more clients there are, however few of them say something.
//! * What breaks it: a set has room for the descriptors 0 to `FD_SETSIZE - 1`, that is 1023. The
//!   1024th would be written beside it, into whatever memory is there. Here the process limits
//!   its own descriptors to `FD_SETSIZE`, so that the kernel never hands out such a number;
//!   clients beyond that wait in the backlog until one leaves.
//! * A descriptor that is ready and not asked for wakes nobody, and one that is asked for and
//!   not dealt with wakes every wait: the listener is in the set only while there is room, and a
//!   client is asked for what its session has a use for.
//!
//! Source: 4.2BSD, 1983; W. Richard Stevens, "UNIX Network Programming", volume 1, chapter 6.
#![forbid(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd};
use std::process::ExitCode;

use nix::errno::Errno;
use nix::sys::select::{FD_SETSIZE, FdSet, select};
use nix::sys::time::{TimeVal, TimeValLike};
use serverkit::clients::{ACCEPTS_PER_TURN, Clients};
use serverkit::listener::Listener;
use serverkit::nonblocking::Until;
use serverkit::stop::StopSignal;
use serverkit::{Context, Limits, Model, NoFlags, trace};

const MODEL: Model<NoFlags> = Model {
    name: "select",
    family: "readiness",
    summary: "One thread asks the kernel which of at most FD_SETSIZE descriptors are ready",
    descriptors: Some(FD_SETSIZE),
    limits: |context, _| {
        let Limits { clients, why } = context.descriptor_limits();
        let why = format!("{why}; an fd_set holds descriptors below {FD_SETSIZE} (FD_SETSIZE)");
        Limits { clients, why }
    },
};

fn main() -> ExitCode {
    serverkit::main(&MODEL, serve)
}

fn serve(context: &'static Context, _: NoFlags) -> anyhow::Result<()> {
    let stop = StopSignal::new()?;
    let listener = Listener::bind(&context.options)?;
    listener.announce();
    Server {
        context,
        stop,
        clients: Clients::new(context, listener, context.max_connections()),
    }
    .run()
}

/// What a descriptor is for.
#[derive(Debug, Clone, Copy)]
enum Subject {
    Stop,
    Listener,
    /// The client with this key.
    Client(usize),
}

struct Server {
    context: &'static Context,
    stop: StopSignal,
    clients: Clients,
}

impl Server {
    fn run(&mut self) -> anyhow::Result<()> {
        let mut ready = Vec::new();
        while !self.clients.is_finished() {
            self.wait(&mut ready)?;
            for subject in ready.drain(..) {
                match subject {
                    Subject::Listener => self.accept()?,
                    Subject::Stop => self.begin_stop()?,
                    Subject::Client(key) => self.step(key),
                }
            }
            self.clients.expire();
        }
        Ok(())
    }

    /// The one place where this server blocks. Adds what is ready to an empty list.
    fn wait(&self, ready: &mut Vec<Subject>) -> nix::Result<()> {
        let mut readable = FdSet::new();
        let mut writable = FdSet::new();
        let mut highest = self.stop.as_raw_fd();
        readable.insert(self.stop.as_fd());
        let listener = self.clients.listener().filter(|_| self.clients.accepting());
        if let Some(listener) = listener {
            readable.insert(listener.as_fd());
            highest = highest.max(listener.as_raw_fd());
        }
        for (_, client) in self.clients.iter() {
            let interest = client.interest();
            if interest.read {
                readable.insert(client.as_fd());
            }
            if interest.write {
                writable.insert(client.as_fd());
            }
            highest = highest.max(client.as_raw_fd());
        }

        let mut timeout = self.clients.timeout().map(|timeout| {
            // Rounded up, so that it does not wake too soon and spin.
            TimeVal::microseconds(timeout.as_nanos().div_ceil(1000) as i64)
        });
        // After an error the sets say nothing.
        let count = match select(
            highest + 1,
            &mut readable,
            &mut writable,
            None,
            timeout.as_mut(),
        ) {
            Err(Errno::EINTR) => return Ok(()),
            result => result?,
        };
        trace!(self.context, "select: {count} ready");

        if readable.contains(self.stop.as_fd()) {
            trace!(self.context, "stop signal readable");
            ready.push(Subject::Stop);
        }
        if listener.is_some_and(|listener| readable.contains(listener.as_fd())) {
            trace!(self.context, "listener readable");
            ready.push(Subject::Listener);
        }
        for (key, client) in self.clients.iter() {
            let (read, write) = (
                readable.contains(client.as_fd()),
                writable.contains(client.as_fd()),
            );
            if read || write {
                trace!(
                    self.context,
                    "{} readable: {read}, writable: {write}",
                    self.clients.name(key)
                );
                ready.push(Subject::Client(key));
            }
        }
        Ok(())
    }

    fn accept(&mut self) -> anyhow::Result<()> {
        for _ in 0..ACCEPTS_PER_TURN {
            if self.clients.accept()?.is_none() {
                break;
            }
        }
        Ok(())
    }

    /// Moves the bytes of one client. What is left over will be told by the next wait.
    fn step(&mut self, key: usize) {
        self.clients.step(key, Until::ShortRead);
    }

    fn begin_stop(&mut self) -> anyhow::Result<()> {
        if self.stop.take()?.is_some() {
            self.clients.stop();
            for key in self.clients.keys() {
                self.step(key);
            }
        }
        Ok(())
    }
}

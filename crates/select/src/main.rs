//! # select: which of these are ready?
//!
//! One thread serves many clients. It gives the kernel the set of all descriptors that it waits
//! for, and sleeps until some of them are ready. A set is a row of bits, one for each descriptor
//! number. The kernel answers in the same bits: those that stay set are ready.
//!
//! ```text
//!    descriptor   0 1 2 3 4 5 6 7 8 9 ... 1023
//!    asked        . . . x x . x x x .           built anew each time
//!                          | select
//!    answered     . . . . x . . x . .           looked through each time
//!               listener? accept     client? read, answer, write
//! ```
//!
//! * System calls: `pselect6` (the C library's `select`); `accept4`, `recvfrom`, `sendto`.
//! * The answer overwrites the question. So for each wait the server builds the sets from all
//!   clients, the kernel asks each socket in turn, and the server looks through the whole answer.
//!   All three cost more with each client, even if few of them send something.
//! * What breaks it: descriptor 1024. A set has room for the descriptors 0 to 1023 (`FD_SETSIZE -
//!   1`). A greater one would be written beside the set, into other memory. So the process limits
//!   its own descriptors to `FD_SETSIZE`, and the kernel never hands out such a number. Further
//!   clients wait in the backlog until one leaves.
//! * If a descriptor is ready and nobody handles it, each wait returns at once. So the listener is
//!   in the set only while there is room for a client, and a client is in a set only if its session
//!   can read or write now.
//! * A client that sends without a pause would keep the loop for itself. Its turn ends early, and
//!   it is due again in the next turn, whatever the kernel says.
//!
//! Source: 4.2BSD, 1983; W. Richard Stevens, "UNIX Network Programming", volume 1, chapter 6.
#![forbid(unsafe_code)]

use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd};
use std::process::ExitCode;

use anyhow::Context as _;
use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};
use nix::sys::select::{FD_SETSIZE, FdSet, select};
use nix::sys::time::{TimeVal, TimeValLike};
use serverkit::accept::{Accepted, Blocking, accept};
use serverkit::clients::{ACCEPTS_PER_TURN, Clients, LISTENER, STOP};
use serverkit::nonblocking::Trigger;
use serverkit::stop::StopSignal;
use serverkit::{Context, Limits, Model, NoFlags, listener};

const MODEL: Model<NoFlags> = Model {
    name: "select",
    family: "readiness",
    summary: "One thread asks the kernel which of at most FD_SETSIZE descriptors are ready",
    limits: |context, _| {
        let Limits { clients, why } = context.descriptor_limits();
        let why = format!("{why}; an fd_set holds descriptors below {FD_SETSIZE} (FD_SETSIZE)");
        Limits { clients, why }
    },
};

fn main() -> ExitCode {
    // Everybody may lower their own limit, so this does not fail.
    let limit = |limit: rlim_t| limit.min(FD_SETSIZE as rlim_t);
    let _ = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(soft, hard)| setrlimit(Resource::RLIMIT_NOFILE, limit(soft), limit(hard)));
    serverkit::main(&MODEL, serve)
}

fn serve(context: &'static Context, _: NoFlags) -> anyhow::Result<()> {
    let stop_signal = StopSignal::new()?;
    let listener = listener::bind(&context.options)?;
    listener::announce(listener.local_addr()?)?;
    Server {
        context,
        stop_signal,
        listener: Some(listener),
        clients: Clients::new(context, context.max_connections()),
    }
    .run()
}

struct Server {
    context: &'static Context,
    stop_signal: StopSignal,
    /// `None` once the server is stopping.
    listener: Option<TcpListener>,
    clients: Clients,
}

impl Server {
    fn run(&mut self) -> anyhow::Result<()> {
        let mut ready = Vec::new();
        while self.listener.is_some() || !self.clients.is_empty() {
            self.wait(&mut ready)?;
            // A client may be both ready and due: it gets one turn, not two.
            ready.extend(self.clients.due());
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
    fn wait(&self, ready: &mut Vec<usize>) -> anyhow::Result<()> {
        let mut readable = FdSet::new();
        let mut writable = FdSet::new();
        let mut highest = self.stop_signal.as_fd().as_raw_fd();
        readable.insert(self.stop_signal.as_fd());
        let listener = self.listener.as_ref().filter(|_| self.clients.have_room());
        if let Some(listener) = listener {
            highest = highest.max(listener.as_raw_fd());
            readable.insert(listener.as_fd());
        }
        for (_, client) in self.clients.iter() {
            highest = highest.max(client.as_fd().as_raw_fd());
            if client.interest().read {
                readable.insert(client.as_fd());
            }
            if client.interest().write {
                writable.insert(client.as_fd());
            }
        }

        let most = self.clients.timeout();
        let mut timeout = most.map(|timeout| {
            // Rounded up, so that it does not wake too soon and spin.
            TimeVal::microseconds(timeout.as_nanos().div_ceil(1000) as i64)
        });
        let waiting = self.clients.wait("pselect6", most, listener.is_some());
        match select(
            highest + 1,
            &mut readable,
            &mut writable,
            None,
            timeout.as_mut(),
        ) {
            Err(Errno::EINTR) => return Ok(()),
            result => result.context("select")?,
        };
        if readable.contains(self.stop_signal.as_fd()) {
            ready.push(STOP);
        }
        if listener.is_some_and(|listener| readable.contains(listener.as_fd())) {
            ready.push(LISTENER);
        }
        for (key, client) in self.clients.iter() {
            if readable.contains(client.as_fd()) || writable.contains(client.as_fd()) {
                ready.push(key);
            }
        }
        waiting.woke(|| self.clients.names(ready));
        Ok(())
    }

    /// Accepts at most `most` of the clients that wait, while there is room for them.
    fn accept(&mut self, most: usize) -> anyhow::Result<()> {
        let Some(listener) = &self.listener else {
            return Ok(());
        };
        for _ in 0..most {
            if !self.clients.have_room() {
                break;
            }
            match accept(self.context, listener, Blocking::None)? {
                Accepted::Client(socket) => {
                    self.clients.insert(socket);
                }
                Accepted::None => break,
                Accepted::Overloaded => self.clients.overloaded(),
            }
        }
        Ok(())
    }

    /// Moves the bytes of one client. The next wait reports what is left in its socket.
    fn step(&mut self, key: usize) {
        self.clients.step(key, Trigger::Level);
    }

    /// Accepts the clients that still wait, closes the listener, and lets each client's input end with what
    /// has arrived.
    fn stop(&mut self) -> anyhow::Result<()> {
        if self.stop_signal.take()? {
            self.accept(usize::MAX)?;
            self.listener = None;
            self.clients.stop();
        }
        Ok(())
    }
}

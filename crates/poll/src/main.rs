//! # poll: a list of any length
//!
//! As with `select` one thread asks the kernel which descriptors are ready, but it asks with a
//! list. An entry has the descriptor, what is waited for and, in a field of its own, what came. So
//! a descriptor may have any number.
//!
//! ```text
//!    descriptor    3      4        7          2041
//!    events       [IN]   [IN]     [IN|OUT]   [IN]     the question
//!                          | poll
//!    revents      [  ]   [IN]     [   OUT]   [  ]     the answer
//!               listener? accept     client? read, answer, write
//! ```
//!
//! * System calls: `poll`; `accept4`, `recvfrom`, `sendto`.
//! * The whole list goes to the kernel with every call, and the kernel asks each socket in turn. So
//!   one busy client among ten thousand idle ones pays for all of them. This cost limits the model,
//!   not the number of descriptors. (This file makes the list anew for each wait. A server that
//!   keeps its list saves a small part of that cost.)
//! * What breaks it: a ready entry that nobody handles, because each wait then returns at once. So
//!   the listener is in the list only while there is room for a client, and a client's entry asks
//!   only for what its session can do now. `POLLERR` and `POLLHUP` come unasked. The server then
//!   reads or writes, and the error of that call says what is wrong.
//! * A client that sends without a pause would keep the loop for itself. Its turn ends early, and
//!   it is due again in the next turn, whatever the kernel says.
//!
//! Source: System V Release 3, 1986; W. Richard Stevens, "UNIX Network Programming", volume 1,
//! chapter 6.
#![forbid(unsafe_code)]

use std::net::TcpListener;
use std::os::fd::AsFd;
use std::process::ExitCode;

use anyhow::Context as _;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serverkit::accept::{Accepted, Blocking, accept};
use serverkit::clients::{ACCEPTS_PER_TURN, Clients, LISTENER, STOP};
use serverkit::deadlines::millis;
use serverkit::nonblocking::Trigger;
use serverkit::session::Interest;
use serverkit::stop::StopSignal;
use serverkit::{Context, Model, NoFlags, listener};

const MODEL: Model<NoFlags> = Model {
    name: "poll",
    family: "readiness",
    summary: "One thread hands the kernel a list of all descriptors and asks which are ready",
    limits: |context, _| context.descriptor_limits(),
};

fn main() -> ExitCode {
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
        let mut entries = vec![PollFd::new(self.stop_signal.as_fd(), PollFlags::POLLIN)];
        let mut tokens = vec![STOP];
        let listener = self.listener.as_ref();
        let listener = listener.filter(|_| self.clients.have_room());
        if let Some(listener) = listener {
            entries.push(PollFd::new(listener.as_fd(), PollFlags::POLLIN));
            tokens.push(LISTENER);
        }
        for (key, client) in self.clients.iter() {
            entries.push(PollFd::new(client.as_fd(), events(client.interest())));
            tokens.push(key);
        }

        let most = self.clients.timeout();
        let waiting = self.clients.wait("poll", most, listener.is_some());
        match poll(&mut entries, PollTimeout::from(millis(most))) {
            Err(Errno::EINTR) => return Ok(()),
            result => result.context("poll")?,
        };
        for (entry, &token) in entries.iter().zip(&tokens) {
            // `None`: flags without a name here. Their descriptor is looked at as well.
            if entry.any().unwrap_or(true) {
                ready.push(token);
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

/// What an entry waits for.
fn events(interest: Interest) -> PollFlags {
    let mut flags = PollFlags::empty();
    flags.set(PollFlags::POLLIN, interest.read);
    flags.set(PollFlags::POLLOUT, interest.write);
    flags
}

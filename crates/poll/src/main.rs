//! # poll: a list of any length
//!
//! As with `select` one thread asks the kernel which descriptors are ready, but it asks with a
//! list: an entry for each descriptor, with what is waited for and, in a field of its own, what
//! came. So a descriptor may have any number and the question survives the answer.
//!
//! ```text
//!    descriptor    3      4        7          2041
//!    events       [IN]   [IN]     [IN|OUT]   [IN]     the question
//!                          | poll
//!    revents      [  ]   [IN]     [   OUT]   [  ]     the answer
//!               listener? accept     client? read, answer, write
//! ```
//!
//! * System calls: `poll`; `accept4`, `read`, `write`.
//! * The whole list goes to the kernel with every call, and the kernel asks each socket in turn:
//!   one busy client among ten thousand sleeping ones pays for all of them. That cost, not the
//!   number of descriptors, is what limits this model. (The list is made anew for each wait here,
//!   as it is for `select`; keeping it would save the smallest part.)
//! * What breaks it: an entry that is ready and not dealt with wakes every wait. The listener is
//!   in the list only while there is room for a client, and a client is asked for what its
//!   session has a use for. `POLLERR` and `POLLHUP` come unasked: they are answered like any
//!   other event, by reading or writing, and the socket itself tells what is wrong.
//!
//! Source: System V Release 3, 1986; W. Richard Stevens, "UNIX Network Programming", volume 1,
//! chapter 6.
#![forbid(unsafe_code)]

use std::os::fd::AsFd;
use std::process::ExitCode;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serverkit::clients::{ACCEPTS_PER_TURN, Clients};
use serverkit::deadlines::millis;
use serverkit::listener::Listener;
use serverkit::nonblocking::Until;
use serverkit::session::Interest;
use serverkit::stop::StopSignal;
use serverkit::{Context, Model, NoFlags, trace};

const MODEL: Model<NoFlags> = Model {
    name: "poll",
    family: "readiness",
    summary: "One thread hands the kernel a list of all descriptors and asks which are ready",
    descriptors: None,
    limits: |context, _| context.descriptor_limits(),
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

/// What an entry of the list is about.
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
                    Subject::Stop => self.begin_stop()?,
                    Subject::Listener => self.accept()?,
                    Subject::Client(key) => self.step(key),
                }
            }
            self.clients.expire();
        }
        Ok(())
    }

    /// The one place where this server blocks. Adds what is ready to an empty list.
    fn wait(&self, ready: &mut Vec<Subject>) -> nix::Result<()> {
        let mut entries = vec![PollFd::new(self.stop.as_fd(), PollFlags::POLLIN)];
        let mut subjects = vec![Subject::Stop];
        if let Some(listener) = self.clients.listener()
            && self.clients.accepting()
        {
            entries.push(PollFd::new(listener.as_fd(), PollFlags::POLLIN));
            subjects.push(Subject::Listener);
        }
        for (key, client) in self.clients.iter() {
            entries.push(PollFd::new(client.as_fd(), events(client.interest())));
            subjects.push(Subject::Client(key));
        }

        let timeout = PollTimeout::from(millis(self.clients.timeout()));
        let count = match poll(&mut entries, timeout) {
            Err(Errno::EINTR) => return Ok(()),
            result => result?,
        };
        trace!(
            self.context,
            "poll: {count} of {} entries ready",
            entries.len()
        );

        for (entry, &subject) in entries.iter().zip(&subjects) {
            // None: a flag without a name here, a reason to look as well.
            let events = entry.revents().unwrap_or(PollFlags::all());
            if !events.is_empty() {
                trace!(self.context, "{} {events:?}", self.name(subject));
                ready.push(subject);
            }
        }
        Ok(())
    }

    fn name(&self, subject: Subject) -> String {
        match subject {
            Subject::Stop => "stop signal".to_owned(),
            Subject::Listener => "listener".to_owned(),
            Subject::Client(key) => self.clients.name(key),
        }
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

/// What an entry waits for.
fn events(interest: Interest) -> PollFlags {
    let mut flags = PollFlags::empty();
    flags.set(PollFlags::POLLIN, interest.read);
    flags.set(PollFlags::POLLOUT, interest.write);
    flags
}

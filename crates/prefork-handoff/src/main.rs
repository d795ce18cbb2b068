//! # prefork-handoff: the parent accepts for its children
//!
//! As in `prefork`, the children are made before the first client comes, and each serves one at a
//! time. But they have no listener. The parent accepts when a child is idle, and passes it the
//! client's descriptor over a Unix socket (`SCM_RIGHTS`). The child says when it is idle again.
//!
//! ```text
//!   [ backlog ] --accept--> parent --- descriptor ---> child 1: recv, send, recv ...   client 1
//!                             |  ^
//!                             |  +--- "idle" --------- child 2: idle
//!                             +------ descriptor ----> child 3: recv, send, recv ...   client 2
//! ```
//!
//! * The parent knows which child is idle, so no client waits behind a busy child while another
//!   child is idle. A parent could also choose the child by other knowledge.
//! * Beside `recvfrom` and `sendto` for its requests, a client costs eleven system calls.
//!   (`prefork` needs one, `accept4`.) In the parent: `poll`, `accept4`, `sendmsg`, `close`, and at
//!   the end `poll`, `recvfrom`. In the child: `recvfrom`, `close`, `recvmsg`, and at the end
//!   `sendto`, `dup`. And two processes wake up for each client.
//! * If the child's table of descriptors is full, the kernel closes the descriptor, and the client
//!   is lost. So a child keeps one descriptor in reserve while it waits (`channel.rs`).
//! * What breaks it: clients that stay, as in `thread-pool`. If a child dies, only its own client
//!   is lost: the others wait in the parent's backlog.
//! * At a stop the parent accepts all clients that still wait, and closes the listener. It hands
//!   them over as children become idle, within the grace period. Then it closes the channels, which
//!   ends the children.
//!
//! Source: W. Richard Stevens, "UNIX Network Programming", volume 1, chapter 30.9 ("descriptor
//! passing"); unix(7).
#![deny(unsafe_code)]

mod channel;
mod workers;

use std::collections::VecDeque;
use std::net::TcpListener;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serverkit::accept::{Accepted, Blocking, RETRY, Socket, accept, refuse};
use serverkit::child::Parent;
use serverkit::{Context, Limits, Model, blocking, listener, options, stop};

use crate::channel::{Channel, Taken};
use crate::workers::{Event, Workers};

const MODEL: Model<Flags> = Model {
    name: "prefork-handoff",
    family: "blocking",
    summary: "Processes made ahead, each of which blocks for one client that the parent hands over",
    limits: |context, flags| Limits {
        clients: flags.workers(context),
        why: "a worker serves one client at a time (--workers); a stuck client holds its worker \
              until --idle-timeout"
            .to_owned(),
    },
};

#[derive(Debug, Clone, Copy, clap::Args)]
struct Flags {
    /// Processes that serve, each one client at a time
    #[arg(long, value_name = "N", default_value = "64", value_parser = options::workers)]
    workers: usize,
}

impl Flags {
    /// More workers than clients would never have anything to do.
    fn workers(self, context: &Context) -> usize {
        self.workers.min(context.max_connections())
    }
}

fn main() -> ExitCode {
    serverkit::main(&MODEL, serve)
}

#[allow(unsafe_code, reason = "a promise about threads")]
fn serve(context: &'static Context, flags: Flags) -> anyhow::Result<()> {
    // SAFETY: there is one thread, this one, and it starts no other.
    let parent = unsafe { Parent::new(context) }?;
    let mut server = Server {
        context,
        listener: Some(listener::bind(&context.options)?),
        workers: Workers::new(context, parent, flags.workers(context)),
        waiting: VecDeque::new(),
        retry_at: None,
    };
    let result = server.run();
    server.workers.parent.kill();
    result
}

/// The parent.
struct Server {
    context: &'static Context,
    /// `None` once nobody is accepted any more.
    listener: Option<TcpListener>,
    workers: Workers,
    /// Accepted, and not handed over yet.
    waiting: VecDeque<Socket>,
    /// When to accept again, after memory or a descriptor was missing.
    retry_at: Option<Instant>,
}

impl Server {
    fn run(&mut self) -> anyhow::Result<()> {
        self.start_missing()?;
        if let Some(listener) = &self.listener {
            listener::announce(listener.local_addr()?)?;
        }
        while self.listener.is_some() || self.workers.parent.running() > 0 {
            for event in self.wait()? {
                match event {
                    Event::Client => self.accept()?,
                    Event::Report(number) => self.workers.take_report(number),
                }
            }
            if stop::requested() {
                self.end_in_time();
            } else {
                self.replace();
            }
            self.hand_over();
        }
        Ok(())
    }

    /// The one place where the parent blocks. Gives what is ready.
    fn wait(&mut self) -> anyhow::Result<Vec<Event>> {
        let listener = self.listener.as_ref().filter(|_| self.can_accept());
        let news = self.workers.wait(listener, self.retry_in())?;
        if news.stop {
            self.stop()?;
        }
        Ok(news.ready)
    }

    /// There is an idle worker for another client, and accept has not just failed.
    fn can_accept(&self) -> bool {
        self.waiting.is_empty() && self.workers.have_idle() && self.retry_in().is_none()
    }

    fn retry_in(&self) -> Option<Duration> {
        self.retry_at?.checked_duration_since(Instant::now())
    }

    /// Accepts one of the clients that wait. The next wait reports the others.
    fn accept(&mut self) -> anyhow::Result<()> {
        if let Some(listener) = &self.listener {
            match accept(self.context, listener, Blocking::Client)? {
                Accepted::Client(client) => self.waiting.push_back(client),
                Accepted::None => {}
                Accepted::Overloaded => self.retry_at = Some(Instant::now() + RETRY),
            }
        }
        Ok(())
    }

    /// Gives the clients to idle workers. The parent's copy of each is closed.
    fn hand_over(&mut self) {
        while let Some(client) = self.waiting.pop_front() {
            if let Err(client) = self.workers.give(client) {
                self.waiting.push_front(client);
                break;
            }
        }
    }

    /// Starts the workers that have no process, as far as processes can be made.
    fn replace(&mut self) {
        if let Err(error) = self.start_missing() {
            self.workers.parent.slow_down(format!("{error:#}"));
        }
    }

    fn start_missing(&mut self) -> anyhow::Result<()> {
        self.workers.start_missing(|number, channel| {
            // The child closes its copies. Otherwise they would stay open as long as it lives.
            self.listener = None;
            self.waiting.clear();
            serve_clients(self.context, number, channel)
        })
    }

    /// Accepts the clients that still wait, closes the listener, and has the children answer what has
    /// arrived.
    fn stop(&mut self) -> anyhow::Result<()> {
        self.replace();
        self.workers.parent.stop();
        if let Some(listener) = self.listener.take() {
            while let Accepted::Client(client) = accept(self.context, &listener, Blocking::Client)?
            {
                self.waiting.push_back(client);
            }
        }
        Ok(())
    }

    /// When all clients have been handed over, or the grace is over, each child ends with its
    /// client.
    fn end_in_time(&mut self) {
        if stop::overdue(self.context.options.grace) {
            for client in self.waiting.drain(..) {
                refuse(
                    self.context,
                    client.number(),
                    "no worker became idle in time",
                );
            }
        }
        if self.waiting.is_empty() {
            self.workers.close();
        }
    }
}

/// A child, from its beginning to its end.
fn serve_clients(context: &'static Context, number: usize, parent: &Channel) -> anyhow::Result<()> {
    loop {
        match parent.take()? {
            Taken::Client(client) => blocking::serve(context, &client),
            Taken::Lost(client) => refuse(context, client, "no descriptor for it"),
            Taken::End => return Ok(()),
        }
        context.stats.set_serving(number, None);
        if parent.report_idle().is_err() {
            // The parent closed the channel. Otherwise it starts another child when this one ends.
            return Ok(());
        }
    }
}

//! # prefork: processes made ahead
//!
//! Forking for each client makes it wait for the fork. Here the children are made before the first
//! client comes, and each serves one after the other. The parent serves nobody: it replaces a
//! child that dies, and ends them all.
//!
//! ```text
//!   --accept shared       reuseport                    handoff
//!
//!     [ backlog ]     [ backlog ] [ backlog ]   [ backlog ] --accept--> parent
//!      |       |           |           |                  descriptor  |      ^  "idle"
//!   accept   accept     accept      accept                            v      |
//!   child 0  child 1    child 0     child 1                child 0   child 1
//! ```
//!
//! * System calls: `fork`, `accept4`, `recv`, `send`; `SO_REUSEPORT`, or `sendmsg` with
//!   `SCM_RIGHTS`.
//! * `shared`: all block in accept on one listener. Linux wakes one of them for each client
//!   (others woke all: the thundering herd), the one that waits longest.
//! * `reuseport`: a listener for each child, among which the kernel chooses by the client's address
//!   and port. Nobody is in another's way, and nobody helps: a client may wait in the backlog of a
//!   busy child while other children are idle.
//! * `handoff`: the parent accepts when a child is idle and passes it the descriptor. It knows who
//!   does what, at the price of more system calls.
//! * What breaks it: clients that stay, as in `thread-pool`. A child that dies, if its listener
//!   dies with it: all who wait there would be reset. So the parent keeps all listeners open, and
//!   the next child gets the same one.
//!
//! Source: W. Richard Stevens, "UNIX Network Programming", volume 1, chapters 30.6 to 30.9; Michael
//! Kerrisk, "The `SO_REUSEPORT` socket option", LWN.net, 2013.
#![deny(unsafe_code)]

mod channel;
mod parent;

use std::net::TcpStream;
use std::process::ExitCode;

use nix::errno::Errno;
use serverkit::accept::{Accepted, Blocking, RETRY, accept};
use serverkit::listener::Listener;
use serverkit::stop::{self, StopSignal};
use serverkit::{Context, Limits, Model, blocking, options, trace};

use crate::channel::{Channel, Taken};
use crate::parent::Parent;

const MODEL: Model<Flags> = Model {
    name: "prefork",
    family: "blocking",
    summary: "Processes made ahead, each of which blocks for one client at a time",
    descriptors: None,
    limits: |context, flags| Limits {
        clients: Some(flags.workers(context)),
        why: match flags.accept {
            Accept::Reuseport => {
                "a worker serves one client at a time (--workers), of its own backlog only: those \
                 behind a stuck client wait until --idle-timeout, though other workers may be idle"
            }
            Accept::Shared | Accept::Handoff => {
                "a worker serves one client at a time (--workers); a stuck client holds its worker \
                 until --idle-timeout"
            }
        }
        .to_owned(),
    },
};

#[derive(Debug, Clone, Copy, clap::Args)]
struct Flags {
    /// Processes that serve, each one client at a time
    #[arg(long, value_name = "N", default_value = "64", value_parser = options::workers)]
    workers: usize,

    /// Who accepts: all on one listener, each on its own, or the parent for them
    #[arg(long, value_enum, default_value_t = Accept::Shared)]
    accept: Accept,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Accept {
    Shared,
    Reuseport,
    Handoff,
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

fn serve(context: &'static Context, flags: Flags) -> anyhow::Result<()> {
    let stop = StopSignal::of_parent()?;
    let workers = flags.workers(context);
    context.stats.set_workers(workers);
    let listeners = match flags.accept {
        Accept::Shared => vec![Listener::bind(&context.options)?.blocking()?],
        Accept::Reuseport => Listener::bind_shared(&context.options, workers)?
            .into_iter()
            .map(Listener::blocking)
            .collect::<std::io::Result<_>>()?,
        Accept::Handoff => vec![Listener::bind(&context.options)?],
    };
    let mut parent = Parent::new(context, flags, stop, listeners);
    let served = parent.start_workers().and_then(|()| parent.run());
    parent.kill_children();
    served
}

/// The child that serves from a listener, its own or the one of all.
fn serve_listener(context: &Context, number: usize, listener: &Listener) -> anyhow::Result<()> {
    while !stop::requested() {
        trace!(context, "worker {number}: accept: waiting for a client");
        match accept(context, listener, Blocking::Yes) {
            Ok(Accepted::Client(client)) => {
                context.stats.took(number);
                context.stats.set_serving(number, true);
                serve_client(context, number, &client);
            }
            Ok(Accepted::None) => {}
            Ok(Accepted::Overloaded) => std::thread::sleep(RETRY),
            Err(_) if stop::requested() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The child that serves what the parent hands to it.
fn serve_handed(context: &Context, number: usize, parent: &Channel) -> anyhow::Result<()> {
    loop {
        trace!(context, "worker {number}: recvmsg: waiting for a client");
        match parent.take() {
            Ok(Taken::Client(client)) => serve_client(context, number, &client),
            Ok(Taken::Lost) => {
                context.stats.set_serving(number, false);
                context.stats.refuse();
            }
            Ok(Taken::End) => return Ok(()),
            Err(Errno::EINTR) => {
                if stop::requested() {
                    parent.take_no_more();
                }
                continue;
            }
            // No descriptor in reserve: what the parent gives waits in the channel.
            Err(Errno::EMFILE | Errno::ENFILE) => {
                std::thread::sleep(RETRY);
                continue;
            }
            // The parent has closed its end before it read a report. What it gave is still there.
            Err(Errno::ECONNRESET) => continue,
            Err(errno) => return Err(errno.into()),
        }
        if parent.report_idle().is_err() {
            // It stops and has closed its end.
            return Ok(());
        }
    }
}

fn serve_client(context: &Context, number: usize, client: &TcpStream) {
    blocking::serve(context, client);
    context.stats.set_serving(number, false);
}

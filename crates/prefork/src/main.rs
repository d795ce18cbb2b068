//! # prefork: processes made ahead
//!
//! If a server forks for each client, the client waits for the fork. Here the children are made
//! before the first client comes. Each of them blocks in accept, serves its client to the end, and
//! accepts the next one. The parent serves nobody: it replaces a child that dies, and ends them all
//! (`supervisor.rs`).
//!
//! ```text
//!     --accept shared              --accept reuseport
//!
//!       [ backlog ]             [ backlog ]   [ backlog ]
//!        |       |                   |             |
//!     accept   accept             accept        accept
//!     child 1  child 2            child 1       child 2
//! ```
//!
//! * System calls of a child: `accept4`, `recvfrom`, `sendto`. Before that, of the parent: `fork`
//!   (Linux calls it `clone`); `SO_REUSEPORT` where each child has a listener.
//! * `shared`: all block in accept on one listener. Linux wakes one of them for each client: the
//!   one that has waited longest. Other systems woke all of them (the thundering herd).
//! * `reuseport`: a listener for each child. The kernel chooses one by a hash of the client's
//!   address and port. The children do not compete for clients, and they cannot help each other: a
//!   client may wait in the backlog of a busy child while other children are idle.
//! * What breaks it: clients that stay, as in `thread-pool`. And a child that dies, if its listener
//!   dies with it: all clients that wait there would be reset. So the parent keeps all listeners
//!   open, and the next child gets the same one.
//! * At a stop each child accepts the clients that still wait, one after the other, until there are
//!   none or the grace period is over.
//!
//! Source: W. Richard Stevens, "UNIX Network Programming", volume 1, chapters 30.6 to 30.8; Michael
//! Kerrisk, "The `SO_REUSEPORT` socket option", LWN.net, 2013.
#![deny(unsafe_code)]

mod supervisor;

use std::net::TcpListener;
use std::process::ExitCode;

use serverkit::accept::{Accepted, Blocking, accept, pause};
use serverkit::child::Parent;
use serverkit::{Context, Limits, Model, blocking, listener, options, stop};

const MODEL: Model<Flags> = Model {
    name: "prefork",
    family: "blocking",
    summary: "Processes made ahead, each of which blocks for one client at a time",
    limits: |context, flags| Limits {
        clients: flags.workers(context),
        why: match flags.accept {
            Accept::Shared => {
                "a worker serves one client at a time (--workers); a stuck client holds its worker \
                 until --idle-timeout"
            }
            Accept::Reuseport => {
                "a worker serves one client at a time (--workers), of its own backlog only: those \
                 behind a stuck client wait until --idle-timeout, though other workers may be idle"
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

    /// Who accepts: all on one listener, or each on its own
    #[arg(long, value_enum, default_value_t = Accept::Shared)]
    accept: Accept,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Accept {
    Shared,
    Reuseport,
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
    let workers = flags.workers(context);
    let listeners = match flags.accept {
        Accept::Shared => vec![listener::bind(&context.options)?],
        Accept::Reuseport => listener::bind_shared(&context.options, workers)?,
    };
    for listener in &listeners {
        listener.set_nonblocking(false)?;
    }
    supervisor::run(context, parent, workers, listeners)
}

/// A child, from its beginning to its end.
fn serve_clients(
    context: &'static Context,
    number: usize,
    listener: &TcpListener,
) -> anyhow::Result<()> {
    while !stop::requested() {
        step(context, number, listener)?;
    }
    // By now the listener does not block.
    while !stop::overdue(context.options.grace) && step(context, number, listener)? {}
    Ok(())
}

/// Waits for a client and serves it to its end. False: there was none.
fn step(context: &'static Context, number: usize, listener: &TcpListener) -> anyhow::Result<bool> {
    match accept(context, listener, Blocking::Both) {
        Ok(Accepted::Client(client)) => {
            context.stats.took(number);
            context.stats.set_serving(number, Some(client.number()));
            blocking::serve(context, &client);
            context.stats.set_serving(number, None);
            return Ok(true);
        }
        Ok(Accepted::None) => {}
        Ok(Accepted::Overloaded) => pause(),
        // The parent has found that nobody waits any more, and has shut the listener down.
        Err(_) if stop::requested() => {}
        Err(error) => return Err(error),
    }
    Ok(false)
}

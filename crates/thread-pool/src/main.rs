//! # thread-pool: a fixed number of blocking threads
//!
//! Making a thread for each client costs time, and there is no end to their number. Here the
//! threads are made once, and take clients from a channel. A worker serves its client until that
//! has gone: as many clients as workers are served at once.
//!
//! ```text
//!                  client                  +--> worker 0: recv, send, recv ...
//!   accept (main) --------> [ channel ] ---+--> worker 1: recv, send, recv ...
//!         ^                                +--> worker 2: idle
//!         |        permit                           |
//!         +---------------- [ channel ] <-----------+ before it takes a client
//! ```
//!
//! * System calls: `accept4`, `recv`, `send`; `futex` below the channels.
//! * A channel alone would be a second backlog: clients accepted and served by nobody. Each worker
//!   that becomes idle gives a permit, and only with a permit is a client accepted: the others
//!   wait in the kernel's backlog.
//! * What breaks it: clients that stay. A connection that is kept open holds its worker whether
//!   it says something or not; with as many of them as workers nobody else is served, until
//!   `--idle-timeout`.
//!
//! Source: W. Richard Stevens, "UNIX Network Programming", volume 1, chapter 30.12 ("prethreaded
//! server, main thread accept").
#![forbid(unsafe_code)]

use std::net::TcpStream;
use std::os::unix::thread::JoinHandleExt;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use anyhow::Context as _;
use crossbeam_channel::{Receiver, Sender, bounded};
use serverkit::accept::{Accepted, Blocking, RETRY, accept};
use serverkit::listener::Listener;
use serverkit::{Context, Limits, Model, blocking, options, stop, trace};

/// The stack of a worker in bytes: the session's buffers are on the heap.
const STACK: usize = 128 * 1024;

const MODEL: Model<Flags> = Model {
    name: "thread-pool",
    family: "blocking",
    summary: "A fixed number of threads, each of which blocks for one client at a time",
    descriptors: None,
    limits: |context, flags| Limits {
        clients: Some(flags.workers(context)),
        why: "a worker serves one client at a time (--workers); a stuck client holds its worker \
              until --idle-timeout"
            .to_owned(),
    },
};

#[derive(Debug, Clone, Copy, clap::Args)]
struct Flags {
    /// Threads that serve, each one client at a time
    #[arg(long, value_name = "N", default_value = "64", value_parser = options::workers)]
    workers: usize,
}

impl Flags {
    /// More workers than clients would never have anything to do.
    fn workers(self, context: &Context) -> usize {
        self.workers.min(context.max_connections())
    }
}

/// A worker that became idle: a client may be accepted for it.
struct Permit;

fn main() -> ExitCode {
    serverkit::main(&MODEL, serve)
}

fn serve(context: &'static Context, flags: Flags) -> anyhow::Result<()> {
    let workers = flags.workers(context);
    context.stats.set_workers(workers);
    let listener = Arc::new(Listener::bind(&context.options)?.blocking()?);
    let (give_client, clients) = bounded(workers);
    let (give_permit, permits) = bounded(workers + 1);
    {
        let listener = Arc::clone(&listener);
        // One permit more: it wakes the acceptor when no worker is idle.
        let give_permit = give_permit.clone();
        stop::watch(move || {
            listener.close();
            let _ = give_permit.send(Permit);
        })
        .context("no thread to wait for the stop signals")?;
    }
    let workers = (0..workers)
        .map(|number| {
            let (permits, clients) = (give_permit.clone(), clients.clone());
            thread::Builder::new()
                .stack_size(STACK)
                .spawn(move || work(context, number, &permits, &clients))
                .with_context(|| format!("no thread for worker {number} (see --workers)"))
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    listener.announce();

    while let Some(client) = next_client(context, &listener, &permits)? {
        give_client.send(client)?;
    }

    // Idle workers see the end of the channel, the others have to be told.
    drop(give_client);
    let patience = context.options.grace + stop::ALLOWANCE;
    while !workers.iter().all(JoinHandle::is_finished) && !stop::overdue(patience) {
        for worker in &workers {
            stop::interrupt(worker.as_pthread_t());
        }
        thread::sleep(stop::INTERRUPT_AGAIN);
    }
    Ok(())
}

/// Waits for an idle worker, then for a client; `None` when the server stops.
fn next_client(
    context: &Context,
    listener: &Listener,
    permits: &Receiver<Permit>,
) -> anyhow::Result<Option<TcpStream>> {
    trace!(context, "waiting for an idle worker");
    permits.recv()?;
    while !stop::requested() {
        trace!(context, "accept: waiting for a client");
        match accept(context, listener, Blocking::Yes) {
            Ok(Accepted::Client(client)) => return Ok(Some(client)),
            Ok(Accepted::None) => {}
            Ok(Accepted::Overloaded) => thread::sleep(RETRY),
            Err(_) if stop::requested() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// A worker, from its beginning to its end.
fn work(context: &Context, number: usize, permits: &Sender<Permit>, clients: &Receiver<TcpStream>) {
    // The acceptor keeps its side of both channels until it stops.
    while permits.send(Permit).is_ok()
        && let Ok(client) = clients.recv()
    {
        trace!(context, "worker {number} takes a client");
        context.stats.took(number);
        blocking::serve(context, &client);
    }
}

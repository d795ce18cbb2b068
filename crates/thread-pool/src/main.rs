//! # thread-pool: a fixed number of blocking threads
//!
//! Making a thread for each client costs time, and nothing limits the number of threads. Here the
//! threads are made once, and take clients from a channel. A worker serves its client until the
//! client has gone. So the server serves as many clients at once as it has workers.
//!
//! ```text
//!                  client                  +--> worker 1: recv, send, recv ...
//!   accept (main) --------> [ channel ] ---+--> worker 2: recv, send, recv ...
//!         ^                                +--> worker 3: idle
//!         |        permit                           |
//!         +---------------- [ channel ] <-----------+ before it takes a client
//! ```
//!
//! * System calls: `accept4`, `recvfrom`, `sendto`; `futex` below the channels.
//! * A channel alone would be a second backlog, of clients that are accepted and not served. So a
//!   worker that becomes idle gives a permit, and the acceptor needs a permit for each client. The
//!   others wait in the kernel's backlog.
//! * What breaks it: clients that stay. An open connection holds its worker, whether the client
//!   sends or not. When all workers are held, nobody else is served until a client leaves or
//!   `--idle-timeout` ends one.
//! * At a stop a signal interrupts each worker in its blocking call. The worker answers what has
//!   arrived, and becomes idle. Clients in the backlog go to idle workers until there are none left
//!   or the grace period is over.
//!
//! Source: W. Richard Stevens, "UNIX Network Programming", volume 1, chapter 30.12 ("prethreaded
//! server, main thread accept").
#![forbid(unsafe_code)]

use std::net::TcpListener;
use std::os::unix::thread::JoinHandleExt;
use std::process::ExitCode;
use std::sync::OnceLock;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use anyhow::Context as _;
use crossbeam_channel::{Receiver, RecvError, Sender, bounded, select};
use nix::sys::pthread::{Pthread, pthread_self};
use serverkit::accept::{Accepted, Blocking, Socket, accept, pause, refuse};
use serverkit::trace::{self, Event};
use serverkit::workers::watch;
use serverkit::{Context, Limits, Model, blocking, limits, listener, options, stop};

const MODEL: Model<Flags> = Model {
    name: "thread-pool",
    family: "blocking",
    summary: "A fixed number of threads, each of which blocks for one client at a time",
    limits: |context, flags| Limits {
        clients: flags.workers(context),
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
        self.workers
            .min(context.max_connections())
            .min(limits::threads(context))
    }
}

fn main() -> ExitCode {
    serverkit::main(&MODEL, serve)
}

fn serve(context: &'static Context, flags: Flags) -> anyhow::Result<()> {
    limits::share_one_heap();
    let listener = listener::bind(&context.options)?;
    listener.set_nonblocking(false)?;
    let workers = flags.workers(context);
    context.stats.set_workers(workers);
    let server: &Server = Box::leak(Box::new(Server {
        context,
        listener,
        acceptor: pthread_self(),
        workers: OnceLock::new(),
        clients: bounded(workers),
        permits: bounded(workers),
        stops: bounded(1),
    }));
    watch(context, || server.interrupt())?;
    let start = |number| {
        thread::Builder::new()
            .stack_size(limits::STACK)
            .spawn(move || server.work(number))
            .inspect(|_| trace::spawned("clone3", "worker", 1 + number))
            .with_context(|| format!("no thread for worker {} (see --workers)", 1 + number))
    };
    let workers = (0..workers).map(start).collect::<anyhow::Result<_>>()?;
    server.run(server.workers.get_or_init(|| workers).len())
}

/// What the threads share; it lives as long as the process.
struct Server {
    context: &'static Context,
    listener: TcpListener,
    /// The main thread.
    acceptor: Pthread,
    /// Set when all of them have been started.
    workers: OnceLock<Vec<JoinHandle<()>>>,
    clients: Channel<Socket>,
    permits: Channel<Permit>,
    /// Wakes the acceptor when it waits for a permit.
    stops: Channel<()>,
}

type Channel<T> = (Sender<T>, Receiver<T>);

/// A worker has become idle: a client may be accepted for it.
struct Permit;

impl Server {
    fn run(&self, workers: usize) -> anyhow::Result<()> {
        listener::announce(self.listener.local_addr()?)?;
        let mut permit = None;
        while !stop::requested() {
            if permit.is_none() {
                permit = self.wait();
                continue;
            }
            match accept(self.context, &self.listener, Blocking::Both)? {
                Accepted::Client(client) => {
                    self.hand_over(client)?;
                    permit = None;
                }
                Accepted::None => {}
                Accepted::Overloaded => pause(),
            }
        }
        self.stop(workers, permit)
    }

    /// Waits for an idle worker, or for a stop.
    fn wait(&self) -> Option<Permit> {
        let waiting = trace::wait("futex", None, idle_worker);
        select! {
            recv(self.permits.1) -> permit => {
                waiting.woke(idle_worker);
                permit.ok()
            }
            recv(self.stops.1) -> _ => {
                waiting.woke(|| vec![trace::STOP.to_string()]);
                None
            }
        }
    }

    /// Puts the client into the channel: there is an idle worker.
    fn hand_over(&self, client: Socket) -> anyhow::Result<()> {
        trace::tell(|| Event::Pass {
            client: client.number(),
            to: None,
        });
        Ok(self.clients.0.send(client)?)
    }

    /// A worker, from its beginning to the end of the process.
    fn work(&self, number: usize) {
        trace::i_am("worker", 1 + number);
        while self.permits.0.send(Permit).is_ok()
            && let Ok(client) = self.take()
        {
            self.context.stats.took(number);
            blocking::serve(self.context, &client);
        }
    }

    /// Waits for a client from the channel.
    fn take(&self) -> Result<Socket, RecvError> {
        let what = || vec!["a client from the queue".to_owned()];
        let waiting = trace::wait("futex", None, what);
        let client = self.clients.1.recv();
        waiting.woke(what);
        client
    }

    /// Accepts the clients that still wait, closes the listener, hands them over as workers become idle, and
    /// waits until all are idle.
    fn stop(&self, workers: usize, mut permit: Option<Permit>) -> anyhow::Result<()> {
        self.listener.set_nonblocking(true)?;
        let mut waiting = Vec::new();
        while let Accepted::Client(client) = accept(self.context, &self.listener, Blocking::Client)?
        {
            waiting.push(client);
        }
        listener::shut_down(&self.listener);
        let end = stop::requested_until(self.context.options.grace);
        let end = end.unwrap_or_else(Instant::now);
        for client in waiting {
            match permit.take().or_else(|| self.wait_until(Some(end))) {
                Some(Permit) => self.hand_over(client)?,
                None => refuse(
                    self.context,
                    client.number(),
                    "no worker became idle in time",
                ),
            }
        }
        for _ in usize::from(permit.is_some())..workers {
            self.wait_until(None);
        }
        Ok(())
    }

    /// Waits for an idle worker, until this time at most.
    fn wait_until(&self, end: Option<Instant>) -> Option<Permit> {
        let most = end.map(|end| end.saturating_duration_since(Instant::now()));
        let waiting = trace::wait("futex", most, idle_worker);
        let permits = &self.permits.1;
        let permit = match end {
            Some(end) => permits.recv_deadline(end).ok(),
            None => permits.recv().ok(),
        };
        waiting.woke(|| permit.iter().flat_map(|_| idle_worker()).collect());
        permit
    }

    /// After a stop signal, again and again: no thread stays in a blocking call.
    fn interrupt(&self) {
        let _ = self.stops.0.try_send(());
        stop::interrupt(self.acceptor);
        for worker in self.workers.get().into_iter().flatten() {
            stop::interrupt(worker.as_pthread_t());
        }
    }
}

/// What the acceptor waits for, for the trace.
fn idle_worker() -> Vec<String> {
    vec!["an idle worker".to_owned()]
}

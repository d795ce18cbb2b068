//! # tokio: the runtime that people use
//!
//! The reference. Each client is a task, written as if it were alone: it awaits its socket, and
//! the runtime runs other tasks meanwhile. The waiting is inside of Tokio: an edge-triggered epoll
//! loop wakes the tasks whose sockets have become ready. `async` shows such a runtime from inside.
//!
//! ```text
//!   client 7   await bytes, answer --+
//!   client 8   await bytes, answer --+--> worker threads, which steal runnable
//!   client 9   await bytes, answer --+    tasks from each other
//!                 ^                  |
//!                 +--- wake: epoll, timers
//! ```
//!
//! * System calls: `epoll_wait` with EPOLLET; `accept4`, `recv`, `send`; `futex` between workers.
//! * `--workers 1` is Tokio's current-thread runtime: a single loop like those of the other
//!   models, with nothing to steal from. More are its multi-thread runtime with so many workers.
//!   A task wanders between them, and so `--stats` counts no clients per worker.
//! * What breaks it: a task that computes for long without an await holds up all others of its
//!   worker. A socket that never runs dry does not: Tokio lets a task go on for a budget of
//!   operations, then an await waits though it need not.
//! * Tokio takes a read that gave less than it asked for as the end of what has arrived, which spares
//!   a system call. Urgent data (`MSG_OOB`) cuts a read short, too: what follows it is then echoed
//!   with the next bytes or the end of input, not before. A reference has to leave that as it is.
//! * A future can be dropped at each await, as `select!` does. Here no byte is lost with it: bytes
//!   are in the socket or in the session, never in the future.
//!
//! Source: tokio.rs, "Tutorial"; Carl Lerche, "Making the Tokio scheduler 10x faster", 2019, and
//! "Reducing tail latencies with automatic cooperative task yielding", 2020.
#![forbid(unsafe_code)]

mod connection;

use std::convert::Infallible;
use std::os::fd::AsRawFd;
use std::panic;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::{Arc, Barrier};
use std::thread::available_parallelism;

use anyhow::Context as _;
use nix::errno::Errno;
use serverkit::accept::{Accepted, RETRY, sort_error};
use serverkit::listener::Listener;
use serverkit::options;
use serverkit::{Context, Model, trace};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep_until, timeout};

use crate::connection::Connection;

const MODEL: Model<Flags> = Model {
    name: "tokio",
    family: "runtime",
    summary: "Each client is an async task on the Tokio runtime",
    descriptors: None,
    limits: |context, _| context.descriptor_limits(),
};

#[derive(Debug, Clone, Copy, clap::Args)]
struct Flags {
    /// Threads that run tasks; 1: the current-thread runtime [default: the number of cores]
    #[arg(long, value_name = "N", value_parser = options::workers)]
    workers: Option<usize>,
}

fn main() -> ExitCode {
    serverkit::main(&MODEL, serve)
}

fn serve(context: &'static Context, flags: Flags) -> anyhow::Result<()> {
    let listener = Listener::bind(&context.options)?;
    let workers = match flags.workers {
        Some(workers) => workers,
        None => available_parallelism()?.get(),
    };
    // As a task, or else it would run on this thread, beside the workers.
    start_runtime(workers)?.block_on(async { tokio::spawn(run(context, listener)).await? })
}

fn start_runtime(workers: usize) -> anyhow::Result<Runtime> {
    if workers == 1 {
        let runtime = Builder::new_current_thread().enable_all().build();
        return runtime.context("cannot start the runtime");
    }
    // Where the system has no thread for a worker Tokio panics, and unwinding would wait for ever
    // for those already started.
    panic::set_hook(Box::new(|info| {
        let reason = info.payload_as_str().unwrap_or("no runtime");
        eprintln!("tokio-server: {reason}; try fewer --workers, or raise ulimit -u");
        std::process::exit(1);
    }));
    let started = Arc::new(Barrier::new(workers + 1));
    let worker_started = Arc::clone(&started);
    let runtime = Builder::new_multi_thread()
        .worker_threads(workers)
        .on_thread_start(move || {
            worker_started.wait();
        })
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    drop(panic::take_hook());
    // The ready line is a promise: only when each worker has what it needs to run.
    started.wait();
    Ok(runtime)
}

/// What all tasks share.
struct Server {
    context: &'static Context,
    /// A place for each client that may be served at once.
    places: Arc<Semaphore>,
    /// A client has left, and its descriptor is free.
    left: Notify,
    /// Once the server is stopping: the end of the grace.
    grace_ends: watch::Sender<Option<Instant>>,
}

async fn run(context: &'static Context, listener: Listener) -> anyhow::Result<()> {
    let places = context.max_connections();
    let server = Arc::new(Server {
        context,
        places: Arc::new(Semaphore::new(places)),
        left: Notify::new(),
        grace_ends: watch::Sender::new(None),
    });
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    listener.announce();
    // The listener is closed with the future that holds it.
    tokio::select! {
        failed = accept_clients(&server, listener) => match failed? {},
        signal = stop_signal(&mut terminate, &mut interrupt) => trace!(context, "{signal:?}"),
    }
    let grace_ends = Instant::now() + context.options.grace;
    server.grace_ends.send_replace(Some(grace_ends));
    // All places can be had when the last client has left.
    tokio::select! {
        all = server.places.acquire_many(places.try_into()?) => drop(all?),
        signal = stop_signal(&mut terminate, &mut interrupt) => {
            std::process::exit(128 + signal.as_raw_value());
        }
    }
    Ok(())
}

async fn stop_signal(terminate: &mut Signal, interrupt: &mut Signal) -> SignalKind {
    tokio::select! {
        _ = terminate.recv() => SignalKind::terminate(),
        _ = interrupt.recv() => SignalKind::interrupt(),
    }
}

async fn accept_clients(server: &Arc<Server>, listener: Listener) -> anyhow::Result<Infallible> {
    let context = server.context;
    let listener = TcpListener::from_std(listener.into())?;
    loop {
        // A full server does not accept: clients wait in the backlog.
        let place = Arc::clone(&server.places).acquire_owned().await?;
        match listener.accept().await {
            Ok((stream, _)) => {
                context.stats.accept();
                trace!(context, "accept: client {}", stream.as_raw_fd());
                let client = Connection::new(context, stream);
                tokio::spawn(serve_client(Arc::clone(server), client, place));
            }
            Err(error) => {
                let errno = Errno::from_raw(error.raw_os_error().unwrap_or_default());
                if let Accepted::Overloaded = sort_error(context, errno)? {
                    let _ = timeout(RETRY, server.left.notified()).await;
                }
            }
        }
    }
}

async fn serve_client(server: Arc<Server>, mut client: Connection, place: OwnedSemaphorePermit) {
    match converse(&server, &mut client).await {
        Ok(()) => trace!(server.context, "client {}: closed", client.as_raw_fd()),
        Err(error) => client.abort(&error),
    }
    // The descriptor is free before the place is.
    drop(client);
    drop(place);
    server.left.notify_one();
}

/// Serves one client to its end.
async fn converse(server: &Server, client: &mut Connection) -> std::io::Result<()> {
    let mut grace_ends = server.grace_ends.subscribe();
    let mut stop = pin!(async {
        grace_ends
            .wait_for(Option::is_some)
            .await
            .map_or(None, |at| *at)
    });
    let mut stopping = None;
    loop {
        // In this order, for a client that sends without a pause is always ready.
        tokio::select! {
            biased;
            grace_ends = &mut stop, if stopping.is_none() => {
                stopping = grace_ends;
                client.stop();
            }
            () = reached(stopping) => return Err(std::io::Error::other("the grace is over")),
            () = reached(client.deadline()) => return client.expire(),
            ended = client.advance() => {
                if ended? {
                    return Ok(());
                }
            }
        }
    }
}

/// Waits until `deadline`; for ever where there is none.
async fn reached(deadline: Option<Instant>) {
    match deadline {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

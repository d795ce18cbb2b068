//! # tokio: the runtime that people use
//!
//! Each client is a task, written as if it were the only one: it reads, answers, writes, and begins
//! again. At an `await` a task may wait, and then its worker runs other tasks. Tokio waits in an
//! edge-triggered epoll loop and wakes the tasks whose sockets are ready. `async` shows how such a
//! runtime works inside.
//!
//! ```text
//!   client 7   read().await, answer, write().await --+
//!   client 8   read().await, answer, write().await --+--> workers: threads that run tasks and
//!   client 9   read().await, answer, write().await --+    steal them from each other
//!                    ^                               |
//!                    +----- wake: epoll, timers -----+
//! ```
//!
//! * System calls: `epoll_wait`, `epoll_ctl` twice for each client; `accept4`, `recvfrom`,
//!   `sendto`; `futex` between workers. If a read does not fill its buffer, Tokio takes the socket
//!   for empty, so no `recvfrom` is spent on EAGAIN.
//! * `--workers 1` is Tokio's current-thread runtime: one loop, as in `epoll-edge`. A task moves
//!   between several workers, so `--stats` cannot count clients for each of them.
//! * What breaks it: a task that computes for long without an `await`. The other tasks of its
//!   worker wait for it. A client that sends without a pause does no such harm: Tokio makes its
//!   task yield after a number of reads and writes, and this file after a number of requests. When
//!   all workers compute, no task notices a stop signal. So a thread beside the runtime waits for
//!   the signal. A call that blocks goes to other threads (`work.rs`).
//! * A future may be dropped at an `await`: here at a stop and at a deadline. No byte is lost,
//!   because bytes are in the socket or in the connection, never in the future.
//! * Urgent data (`MSG_OOB`) also cuts a read short. Tokio then takes the socket for empty, so the
//!   bytes behind the urgent data are echoed only when more bytes come.
//!
//! Source: tokio.rs, "Tutorial"; Carl Lerche, "Making the Tokio scheduler 10x faster", 2019, and
//! "Reducing tail latencies with automatic cooperative task yielding", 2020.
#![forbid(unsafe_code)]

mod accept;
mod read;
mod runtime;
mod work;

use std::convert::Infallible;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use serverkit::connection::Connection;
use serverkit::nonblocking::REQUESTS_PER_TURN;
use serverkit::workers::watch;
use serverkit::{Context, Model, listener, options, stop, trace};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::task::{coop::consume_budget, yield_now};
use tokio::time::timeout_at;
use tokio_util::sync::CancellationToken;

use crate::accept::{Client, accept, try_accept};
use crate::read::{read_arrived, read_space};
use crate::work::Work;

const MODEL: Model<Flags> = Model {
    name: "tokio",
    family: "runtime",
    summary: "Each client is an async task on the Tokio runtime",
    limits: |context, _| context.descriptor_limits(),
};

#[derive(Debug, Clone, Copy, clap::Args)]
struct Flags {
    /// Threads that run tasks; 1: the current-thread runtime [default: the number of cores]
    #[arg(long, value_name = "N", value_parser = options::workers)]
    workers: Option<usize>,
}

/// This many bytes count as much as a request in the budget of a turn.
const LIKE_A_REQUEST: usize = 8 * 1024;

fn main() -> ExitCode {
    serverkit::main(&MODEL, serve)
}

fn serve(context: &'static Context, flags: Flags) -> anyhow::Result<()> {
    let listener = listener::bind(&context.options)?;
    let server = Arc::new(Server {
        context,
        permits: Arc::new(Semaphore::new(context.max_connections())),
        left: Notify::new(),
        stop: CancellationToken::new(),
    });
    let stop = server.stop.clone();
    watch(context, move || stop.cancel())?;
    let workers = flags.workers.unwrap_or_else(options::cores);
    let runtime = runtime::start(workers, !context.options.block.is_none())?;
    // As a task of its own it runs on a worker. Otherwise it would need this thread as well.
    runtime.block_on(async { tokio::spawn(server.run(listener)).await? })
}

/// What all tasks share.
struct Server {
    context: &'static Context,
    /// A permit for each client that may be served at once.
    permits: Arc<Semaphore>,
    /// Notified when a client has left and its descriptor is free.
    left: Notify,
    /// Cancelled when the server is to stop.
    stop: CancellationToken,
}

impl Server {
    async fn run(self: Arc<Self>, listener: std::net::TcpListener) -> anyhow::Result<()> {
        let address = listener.local_addr()?;
        let listener = TcpListener::from_std(listener).context("epoll_ctl")?;
        listener::announce(address)?;
        let accepting = self.accept(&listener);
        if let Some(failed) = self.stop.run_until_cancelled(accepting).await {
            match failed? {}
        }
        // The stop: those who still wait are taken, then the listener closes.
        while let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned()
            && let Some(client) = try_accept(self.context, &listener)?
        {
            tokio::spawn(Arc::clone(&self).serve_client(client, permit));
        }
        drop(listener);
        // All permits are free when the last client has left.
        let all = self.context.max_connections().try_into()?;
        self.permits.acquire_many(all).await?.forget();
        Ok(())
    }

    /// Accepts clients for as long as it is not dropped.
    async fn accept(self: &Arc<Self>, listener: &TcpListener) -> anyhow::Result<Infallible> {
        loop {
            // A full server does not accept: clients wait in the backlog.
            let permit = Arc::clone(&self.permits).acquire_owned().await?;
            let client = accept(self.context, listener, &self.left).await?;
            tokio::spawn(Arc::clone(self).serve_client(client, permit));
        }
    }

    /// The task of one client.
    async fn serve_client(self: Arc<Self>, client: Client, permit: OwnedSemaphorePermit) {
        let (mut stream, number) = client;
        let mut connection = Connection::new(self.context, number);
        let mut work = Work::default();
        let conversation = self.converse(&mut connection, &mut stream, &mut work);
        let ended = match self.stop.run_until_cancelled(conversation).await {
            Some(ended) => ended,
            // It was dropped while it waited. Begun again, it does not wait for requests any more.
            None => self.converse(&mut connection, &mut stream, &mut work).await,
        };
        if let Err(error) = ended {
            connection.fail(error);
        }
        // It is counted before the client sees the end, and the descriptor is free before the
        // permit is.
        drop((connection, stream, permit));
        self.left.notify_one();
    }

    /// Reads, answers and writes until the connection has ended.
    async fn converse(
        &self,
        connection: &mut Connection,
        stream: &mut TcpStream,
        work: &mut Work,
    ) -> io::Result<()> {
        let mut budget = REQUESTS_PER_TURN;
        while !connection.is_done() {
            if let Some(end_of_grace) = stop::requested_until(self.context.options.grace) {
                connection.stop(end_of_grace);
            }
            budget -= work.answer(connection, budget).await?;
            if connection.take_shutdown() {
                stream.shutdown().await?;
            }
            if budget == 0 && connection.pending().is_empty() {
                yield_now().await;
                budget = REQUESTS_PER_TURN;
                continue;
            }
            let deadline = connection.deadline();
            let step = self.step(connection, stream, &mut budget);
            let moved = match deadline {
                Some(at) => timeout_at(at.into(), step).await.ok().transpose(),
                None => step.await.map(Some),
            };
            let in_time = match moved {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                moved => moved?.is_some(),
            };
            if !in_time && connection.interest().read {
                // While the process stood still, bytes may have come in time.
                read_arrived(connection, stream)?;
            }
            // The timer cannot fire while there is always more to read.
            let may_be_late = !in_time || connection.is_stopping();
            if may_be_late && !connection.is_done() && connection.is_overdue() {
                break;
            }
        }
        Ok(())
    }

    /// Moves bytes once. What is to be written comes first: a client that does not read is not
    /// read from.
    async fn step(
        &self,
        connection: &mut Connection,
        stream: &mut TcpStream,
        budget: &mut u32,
    ) -> io::Result<()> {
        let interest = connection.interest();
        trace::note(Some(connection.number()), || {
            format!("its task awaits: {interest}")
        });
        if interest.write {
            let written = stream.write(connection.pending()).await;
            let n = written.inspect_err(|error| connection.could_not_write(error))?;
            connection.did_write(n);
        } else if connection.is_stopping() && !connection.is_lingering() {
            consume_budget().await;
            read_arrived(connection, stream)?;
        } else {
            if stream.try_io(Interest::READABLE, || Ok(())).is_err() {
                // Nothing has arrived: the read will wait, and that ends the turn.
                *budget = REQUESTS_PER_TURN;
            }
            // A client that is silent costs no buffer.
            connection.rest(0);
            poll_fn(|context| stream.poll_read_ready(context)).await?;
            let read = stream.read(read_space(connection)?).await;
            let n = read.inspect_err(|error| connection.could_not_read(error))?;
            connection.did_read(n);
            // To send back a long message takes as long as to answer several requests.
            *budget = budget.saturating_sub((n / LIKE_A_REQUEST) as u32).max(1);
        }
        Ok(())
    }
}

//! # async: what runs under async and await
//!
//! Each client is a task, written as if it were alone. The compiler turns [`serve_client`] into a
//! state machine that is left at each `await` and entered there again, and so writes what stands
//! by hand in `callbacks`. What enters it again is no part of the language. Here it is, in a few
//! small modules without a line of `unsafe`:
//!
//! ```text
//!   [executor] --- poll ---> task: serve_client(7) --- await ---> [reactor], [timer], [notify]
//!       ^                                                            keep its waker
//!       |                                                                 |
//!   [run queue] <----------------------- wake ----------------------------+ epoll_wait
//! ```
//!
//! * System calls: those of `epoll --trigger edge`, and an eventfd for wake-ups by other threads.
//! * What breaks it: a wake-up that gets lost, for the task then sleeps for ever ([`executor`] and
//!   [`reactor`] say why none is); a task that does not await, for all others wait behind it. A
//!   socket that never runs dry would be such a task: after a budget it yields.
//! * A future that loses a [`race`] is dropped where it stands. No byte is lost with it: bytes are in
//!   the socket or in the session, never in the future.
//!
//! Source: RFC 2592, "futures"; RFC 2394, "async/await".
#![forbid(unsafe_code)]

mod executor;
mod notify;
mod race;
mod reactor;
mod timer;

use std::cell::Cell;
use std::convert::Infallible;
use std::os::fd::AsRawFd;
use std::pin::pin;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Instant;

use serverkit::accept::{Accepted, Blocking, RETRY, accept};
use serverkit::clients::ACCEPTS_PER_TURN;
use serverkit::listener::Listener;
use serverkit::nonblocking::{Connection, Next, Until};
use serverkit::session::Interest;
use serverkit::stop::StopSignal;
use serverkit::{Context, Model, NoFlags, trace};

use crate::executor::{Executor, Handle, yield_now};
use crate::notify::Notify;
use crate::race::{Winner, race};

const MODEL: Model<NoFlags> = Model {
    name: "async",
    family: "runtime",
    summary: "Each client is an async function on a small executor over epoll",
    descriptors: None,
    limits: |context, _| context.descriptor_limits(),
};

fn main() -> ExitCode {
    serverkit::main(&MODEL, serve)
}

fn serve(context: &'static Context, _: NoFlags) -> anyhow::Result<()> {
    let stop = StopSignal::new()?;
    let listener = Listener::bind(&context.options)?;
    let mut executor = Executor::new(|line| trace!(context, "{line}"))?;
    let server = Server {
        context,
        executor: executor.handle(),
        open: Cell::new(0),
        left: Notify::default(),
        grace_ends: Cell::new(None),
        stopping: Notify::default(),
    };
    executor.block_on(run(Rc::new(server), listener, stop))?
}

/// What all tasks share.
struct Server {
    context: &'static Context,
    executor: Handle,
    /// Clients that are served now.
    open: Cell<usize>,
    /// Told when one of them has left.
    left: Notify,
    /// Once the server is stopping: the end of the grace.
    grace_ends: Cell<Option<Instant>>,
    /// Told when that is set.
    stopping: Notify,
}

async fn run(server: Rc<Server>, listener: Listener, stop: StopSignal) -> anyhow::Result<()> {
    listener.announce();
    // The listener is closed with the future that holds it.
    match race(
        accept_clients(&server, listener),
        stop_signal(&server, stop),
    )
    .await
    {
        Winner::First(failed) => match failed? {},
        Winner::Second(stopped) => stopped?,
    }
    let grace_ends = Instant::now() + server.context.options.grace;
    server.grace_ends.set(Some(grace_ends));
    server.stopping.notify_all();
    while server.open.get() > 0 {
        server.left.notified().await;
    }
    Ok(())
}

const READABLE: Interest = Interest {
    read: true,
    write: false,
};

async fn stop_signal(server: &Server, stop: StopSignal) -> anyhow::Result<()> {
    let mut stop = server.executor.watch(stop)?;
    while stop.take()?.is_none() {
        stop.ready(READABLE).await;
    }
    Ok(())
}

async fn accept_clients(server: &Rc<Server>, listener: Listener) -> anyhow::Result<Infallible> {
    let context = server.context;
    let mut listener = server.executor.watch(listener)?;
    loop {
        for _ in 0..ACCEPTS_PER_TURN {
            // A full server does not accept: clients wait in the backlog.
            while server.open.get() >= context.max_connections() {
                server.left.notified().await;
            }
            match accept(context, &listener, Blocking::No)? {
                Accepted::Client(socket) => {
                    server.open.update(|open| open + 1);
                    let client = Connection::new(context, socket);
                    let fd = client.as_raw_fd();
                    let task = server
                        .executor
                        .spawn(serve_client(Rc::clone(server), client));
                    trace!(context, "client {fd}: is task {task}");
                }
                Accepted::None => listener.ready(READABLE).await,
                Accepted::Overloaded => {
                    let retry = server.executor.sleep_until(Instant::now() + RETRY);
                    race(server.left.notified(), retry).await;
                }
            }
        }
        yield_now().await;
    }
}

async fn serve_client(server: Rc<Server>, mut client: Connection) {
    if let Err(error) = converse(&server, &mut client).await {
        client.abort(error);
    }
    drop(client);
    server.open.update(|open| open - 1);
    server.left.notify_all();
}

/// Serves one client to its end.
async fn converse(server: &Server, client: &mut Connection) -> anyhow::Result<()> {
    let mut client = server.executor.watch(client)?;
    let mut stop = pin!(server.stopping.notified());
    // Not stepped before the first byte has come, since until then it has no buffer; unless the
    // server was stopped before this task ran.
    let mut next = match server.grace_ends.get() {
        None => Next::Wait,
        Some(_) => Next::Again,
    };
    while next != Next::Closed {
        let grace_ends = server.grace_ends.get();
        let deadline = client.deadline().into_iter().chain(grace_ends).min();
        let interest = client.interest();
        let moves = async {
            if next == Next::Again {
                return yield_now().await;
            }
            let fd = client.as_raw_fd();
            trace!(server.context, "client {fd}: awaits {interest:?}");
            client.ready(interest).await;
        };
        match race(race(stop.as_mut(), reached(server, deadline)), moves).await {
            Winner::First(Winner::First(())) => stop.set(server.stopping.notified()),
            Winner::First(Winner::Second(())) => {
                let now = Instant::now();
                if client.is_overdue(now) {
                    return Ok(());
                }
                if grace_ends.is_some_and(|at| at <= now) {
                    anyhow::bail!("the grace is over");
                }
            }
            Winner::Second(()) => {}
        }
        if server.grace_ends.get().is_some() {
            client.stop();
        }
        next = client.step(Until::WouldBlock);
    }
    Ok(())
}

/// Waits until `deadline`; for ever where there is none.
async fn reached(server: &Server, deadline: Option<Instant>) {
    match deadline {
        Some(at) => server.executor.sleep_until(at).await,
        None => std::future::pending().await,
    }
}

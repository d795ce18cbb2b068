//! # async: what runs under async and await
//!
//! Each client is a task, written as if it were the only one. The compiler turns an async function
//! into a state machine, which stops at an `await` and later goes on there. (In `callbacks` the
//! program keeps such a state by hand.) The language does not say who resumes a task. This server
//! does it in a few small modules without a line of `unsafe`:
//!
//! ```text
//!   [executor] --- poll --> task: serve_client --- await --> [reactor], [timer], [notify]
//!       ^                                                       keep the task's waker
//!       |                                                                 |
//!   [run queue] <---------------------- wake -----------------------------+ epoll_wait
//! ```
//!
//! * System calls: those of `epoll-edge`, mostly without the read that says EAGAIN ([`reactor`]).
//!   One more `epoll_ctl` for each client: a socket is taken out of the interest set before it is
//!   closed. An eventfd carries wake-ups by other threads, of which this server has none.
//! * What breaks it: a lost wake-up, because the task then sleeps for ever ([`executor`] and
//!   [`reactor`] say why none is lost). And a task that does not `await`, because all others wait.
//!   The task of a client that sends without a pause would be one. So its turn ends early, and it
//!   yields.
//! * A future may be dropped at an `await`: [`select()`] drops the one that is not ready. No byte
//!   is lost, because bytes are in the socket or in the client, never in the future.
//!
//! Source: RFC 2592, "futures"; RFC 2394, "async/await".
#![forbid(unsafe_code)]

mod executor;
mod notify;
mod reactor;
mod select;
mod timer;

use std::cell::Cell;
use std::convert::Infallible;
use std::net::TcpListener;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Instant;

use anyhow::Context as _;
use serverkit::accept::{Accepted, Blocking, RETRY, Socket, accept};
use serverkit::clients::ACCEPTS_PER_TURN;
use serverkit::nonblocking::{Client, Next, Trigger};
use serverkit::session::READ;
use serverkit::stop::StopSignal;
use serverkit::trace::{self, LISTENER, Name, STOP};
use serverkit::{Context, Model, NoFlags, listener};

use crate::executor::{Executor, Handle, yield_now};
use crate::notify::Notify;
use crate::reactor::Registered;
use crate::select::{Either, select};

const MODEL: Model<NoFlags> = Model {
    name: "async",
    family: "runtime",
    summary: "Each client is an async function on a small executor over epoll",
    limits: |context, _| context.descriptor_limits(),
};

fn main() -> ExitCode {
    serverkit::main(&MODEL, serve)
}

fn serve(context: &'static Context, _: NoFlags) -> anyhow::Result<()> {
    let stop_signal = StopSignal::new()?;
    let listener = listener::bind(&context.options)?;
    let mut executor = Executor::new().context("cannot make an epoll and an eventfd")?;
    let server = Rc::new(Server {
        context,
        executor: executor.handle(),
        open: Cell::new(0),
        left: Notify::default(),
        end_of_grace: Cell::new(None),
        stop: Notify::default(),
    });
    let result = executor.block_on(server.run(listener, stop_signal));
    result.context("epoll_wait")?
}

/// What all tasks share.
struct Server {
    context: &'static Context,
    executor: Handle,
    /// How many clients there are.
    open: Cell<usize>,
    /// Notified when a client has left.
    left: Notify,
    /// Set once the server is stopping.
    end_of_grace: Cell<Option<Instant>>,
    /// Notified when that is set.
    stop: Notify,
}

impl Server {
    async fn run(self: Rc<Self>, listener: TcpListener, signal: StopSignal) -> anyhow::Result<()> {
        let mut signal = self.executor.register(STOP, signal).context("epoll_ctl")?;
        let listener = self.executor.register(LISTENER, listener);
        let mut listener = listener.context("epoll_ctl")?;
        listener::announce(listener.local_addr()?)?;
        match select(stop_signal(&mut signal), self.accept(&mut listener)).await {
            Either::First(stopped) => stopped?,
            Either::Second(failed) => match failed? {},
        }
        self.stop(listener).await
    }

    /// Accepts clients for as long as it is not dropped.
    async fn accept(
        self: &Rc<Self>,
        listener: &mut Registered<TcpListener>,
    ) -> anyhow::Result<Infallible> {
        loop {
            for _ in 0..ACCEPTS_PER_TURN {
                // A full server does not accept: clients wait in the backlog.
                while !self.have_room() {
                    self.left.notified().await;
                }
                match accept(self.context, &**listener, Blocking::None)? {
                    Accepted::Client(socket) => self.start_client(socket),
                    Accepted::None => {
                        listener.ready(READ).await;
                    }
                    Accepted::Overloaded => {
                        let pause = self.executor.sleep_until(Instant::now() + RETRY);
                        select(self.left.notified(), pause).await;
                    }
                }
            }
            yield_now().await;
        }
    }

    fn have_room(&self) -> bool {
        self.open.get() < self.context.max_connections()
    }

    fn start_client(self: &Rc<Self>, socket: Socket) {
        self.open.update(|open| open + 1);
        let client = socket.number();
        let task = self
            .executor
            .spawn(Rc::clone(self).serve_client(Client::new(self.context, socket)));
        trace::note(Some(client), || format!("is served by task {task}"));
    }

    /// The task of one client.
    async fn serve_client(self: Rc<Self>, mut client: Client) {
        if let Err(error) = self.converse(&mut client).await {
            // epoll refuses its socket. This concerns no other client.
            client.fail(error);
        }
        drop(client);
        self.open.update(|open| open - 1);
        self.left.notify_all();
    }

    async fn converse(&self, client: &mut Client) -> anyhow::Result<()> {
        let name = Name::Client(client.number());
        let mut client = self.executor.register(name, client)?;
        let conversation = self.step(&mut client, Next::Wait);
        if let Either::First(end_of_grace) = select(self.stopping(), conversation).await {
            // The conversation was dropped while it waited. It is begun again, and its first step
            // finds out what has arrived.
            client.stop(end_of_grace);
            self.step(&mut client, Next::Again).await;
        }
        Ok(())
    }

    /// Does what is next and then moves the client's bytes, again and again until it has ended.
    async fn step(&self, client: &mut Registered<&mut Client>, mut next: Next) {
        while next != Next::Closed {
            let mut trigger = Trigger::Edge;
            if next == Next::Wait {
                let interest = client.interest();
                trace::note(Some(client.number()), || {
                    format!("its task awaits: {interest}")
                });
                let deadline = self.reached(client.deadline());
                if let Either::Second(reported) = select(deadline, client.ready(interest)).await {
                    trigger = reported;
                }
            } else {
                yield_now().await;
            }
            next = client.step(trigger);
        }
    }

    /// Waits until `deadline`, for ever if there is none.
    async fn reached(&self, deadline: Option<Instant>) {
        match deadline {
            Some(at) => self.executor.sleep_until(at).await,
            None => std::future::pending().await,
        }
    }

    /// Waits until the server is to stop, and returns the end of the grace.
    async fn stopping(&self) -> Instant {
        loop {
            let notified = self.stop.notified();
            if let Some(end_of_grace) = self.end_of_grace.get() {
                return end_of_grace;
            }
            notified.await;
        }
    }

    /// Accepts the clients that still wait, closes the listener, lets each client's input end with what has
    /// arrived, and waits until all have left.
    async fn stop(self: &Rc<Self>, listener: Registered<TcpListener>) -> anyhow::Result<()> {
        while self.have_room() {
            match accept(self.context, &*listener, Blocking::None)? {
                Accepted::Client(socket) => self.start_client(socket),
                Accepted::None | Accepted::Overloaded => break,
            }
        }
        drop(listener);
        let end_of_grace = Instant::now() + self.context.options.grace;
        self.end_of_grace.set(Some(end_of_grace));
        self.stop.notify_all();
        while self.open.get() > 0 {
            self.left.notified().await;
        }
        Ok(())
    }
}

/// Waits for SIGTERM or SIGINT.
async fn stop_signal(signal: &mut Registered<StopSignal>) -> anyhow::Result<()> {
    while !signal.take()? {
        signal.ready(READ).await;
    }
    Ok(())
}

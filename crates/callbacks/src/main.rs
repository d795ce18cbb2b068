//! # callbacks: do not call us, we call you
//!
//! The loop is hidden in a library, [`event_loop`]. A program tells it what to call when, gives up
//! control, and consists of nothing but answers to events from then on. This is how Redis, nginx
//! and Node.js are built.
//!
//! ```text
//!   watch(listener, on_connection) --+                  +--> on_connection
//!   watch(client 7, on_ready) -------+--> EventLoop ----+--> on_ready(client 7)
//!   set_timer(at, on_deadline) ------+    epoll_wait    +--> on_deadline(client 7)
//!   watch_signal(TERM, on_stop) -----+                  +--> on_stop
//! ```
//!
//! * System calls: those of `epoll --trigger level`, and `signalfd`.
//! * No callback can wait for anything: what has to outlive it is put by hand into a state, here a
//!   slab of clients, under a key that the closure holds. `async` leaves that to the compiler.
//! * What breaks it: a callback that blocks or computes for long; and the ones that remove others
//!   while an event for those is on its way, which the library answers.
//!
//! Source: Douglas Schmidt, "Reactor: An Object Behavioral Pattern for Demultiplexing and
//! Dispatching Handles for Synchronous Events", 1995.
#![forbid(unsafe_code)]

mod event_loop;

use std::os::fd::AsRawFd;
use std::process::ExitCode;
use std::time::Instant;

use serverkit::accept::{Accepted, Admission, Blocking, accept};
use serverkit::clients::ACCEPTS_PER_TURN;
use serverkit::listener::Listener;
use serverkit::nonblocking::{Connection, Next, Until};
use serverkit::session::Interest;
use serverkit::stop::stop_signals;
use serverkit::{Context, Model, NoFlags, trace};
use slab::Slab;

use crate::event_loop::{EventLoop, READABLE, Result, Timer, Watch};

const MODEL: Model<NoFlags> = Model {
    name: "callbacks",
    family: "runtime",
    summary: "A library waits with epoll and calls the server back",
    descriptors: None,
    limits: |context, _| context.descriptor_limits(),
};

fn main() -> ExitCode {
    serverkit::main(&MODEL, serve)
}

fn serve(context: &'static Context, _: NoFlags) -> Result {
    let mut events = EventLoop::new(|server: &Server, ready| {
        trace!(server.context, "epoll_wait: {ready} ready");
    })?;
    for signal in &stop_signals() {
        events.watch_signal(signal, |events, server| server.on_stop(events))?;
    }
    let listener = Listener::bind(&context.options)?;
    let watch = events.watch(&listener, READABLE, |events, server, _| {
        server.on_connection(events)
    })?;
    listener.announce();
    let mut server = Server {
        context,
        listener: Some((listener, watch)),
        admission: Admission::new(context.max_connections()),
        clients: Slab::new(),
        grace: None,
    };
    // Returns when there is nothing left to wait for: no listener, no signal, no client.
    events.run(&mut server)
}

/// What the callbacks work on.
struct Server {
    context: &'static Context,
    /// `None` once the server is stopping.
    listener: Option<(Listener, Watch)>,
    admission: Admission,
    clients: Slab<Client>,
    /// The end of the grace, once the server is stopping.
    grace: Option<Timer>,
}

struct Client {
    connection: Connection,
    watch: Watch,
    deadline: Option<Timer>,
}

impl Server {
    fn on_connection(&mut self, events: &mut EventLoop<Self>) -> Result {
        for _ in 0..ACCEPTS_PER_TURN {
            let Some((listener, _)) = &self.listener else {
                break;
            };
            if !self.admission.is_open(self.clients.len()) {
                break;
            }
            match accept(self.context, listener, Blocking::No)? {
                Accepted::Client(socket) => {
                    self.add(events, Connection::new(self.context, socket));
                }
                Accepted::None => break,
                Accepted::Overloaded => {
                    let retry_at = self.admission.overloaded();
                    events.set_timer(retry_at, |events, server| {
                        server.admission.retry();
                        server.listen(events)
                    });
                }
            }
        }
        self.listen(events)
    }

    fn add(&mut self, events: &mut EventLoop<Self>, mut connection: Connection) {
        let entry = self.clients.vacant_entry();
        let key = entry.key();
        let watched = events.watch(
            &connection,
            connection.interest(),
            move |events, server, ready| {
                let fd = server.clients[key].connection.as_raw_fd();
                trace!(server.context, "callback: client {fd} ready, {ready:?}");
                server.on_ready(events, key)
            },
        );
        match watched {
            Ok(watch) => {
                entry.insert(Client {
                    connection,
                    watch,
                    deadline: None,
                });
                self.set_deadline(events, key);
            }
            Err(errno) => connection.abort(errno),
        }
    }

    /// Waits for new clients only while there is room for one: what is ready and is not taken
    /// would be told again and again.
    fn listen(&mut self, events: &mut EventLoop<Self>) -> Result {
        if let Some((listener, watch)) = &self.listener {
            let interest = if self.admission.is_open(self.clients.len()) {
                READABLE
            } else {
                Interest::default()
            };
            events.change(*watch, listener, interest)?;
        }
        Ok(())
    }

    /// Moves the bytes of one client; what is left over is told again.
    fn on_ready(&mut self, events: &mut EventLoop<Self>, key: usize) -> Result {
        let client = &mut self.clients[key];
        if client.connection.step(Until::ShortRead) == Next::Closed {
            return self.close(events, key);
        }
        let interest = client.connection.interest();
        if let Err(errno) = events.change(client.watch, &client.connection, interest) {
            client.connection.abort(errno);
            return self.close(events, key);
        }
        self.set_deadline(events, key);
        Ok(())
    }

    /// A deadline that moves later, as it does with each byte, costs nothing: the timer stays, and
    /// when it runs it is set anew.
    fn set_deadline(&mut self, events: &mut EventLoop<Self>, key: usize) {
        let client = &mut self.clients[key];
        let Some(at) = client.connection.deadline() else {
            return;
        };
        if client.deadline.is_none_or(|timer| at < timer.at()) {
            let sooner =
                events.set_timer(at, move |events, server| server.on_deadline(events, key));
            if let Some(later) = client.deadline.replace(sooner) {
                events.cancel(later);
            }
        }
    }

    fn on_deadline(&mut self, events: &mut EventLoop<Self>, key: usize) -> Result {
        let client = &mut self.clients[key];
        let fd = client.connection.as_raw_fd();
        trace!(self.context, "callback: deadline of client {fd}");
        client.deadline = None;
        if client.connection.is_overdue(Instant::now()) {
            return self.close(events, key);
        }
        self.set_deadline(events, key);
        Ok(())
    }

    fn on_stop(&mut self, events: &mut EventLoop<Self>) -> Result {
        trace!(self.context, "callback: stop signal");
        // The next one ends the process.
        for signal in &stop_signals() {
            events.remove_signal(signal)?;
        }
        if let Some((listener, watch)) = self.listener.take() {
            events.remove(watch, &listener)?;
        }
        let keys = self.keys();
        if !keys.is_empty() {
            let at = Instant::now() + self.context.options.grace;
            self.grace = Some(events.set_timer(at, |events, server| server.on_grace_end(events)));
        }
        // A client's socket may be empty, and then nothing would make it ready.
        for key in keys {
            self.clients[key].connection.stop();
            self.on_ready(events, key)?;
        }
        Ok(())
    }

    fn on_grace_end(&mut self, events: &mut EventLoop<Self>) -> Result {
        for key in self.keys() {
            self.clients[key].connection.abort("the grace is over");
            self.close(events, key)?;
        }
        Ok(())
    }

    fn close(&mut self, events: &mut EventLoop<Self>, key: usize) -> Result {
        let client = self.clients.remove(key);
        events.remove(client.watch, &client.connection)?;
        if let Some(deadline) = client.deadline {
            events.cancel(deadline);
        }
        drop(client);
        self.admission.retry();
        if self.clients.is_empty()
            && let Some(grace) = self.grace.take()
        {
            events.cancel(grace);
        }
        self.listen(events)
    }

    fn keys(&self) -> Vec<usize> {
        self.clients.iter().map(|(key, _)| key).collect()
    }
}

//! # callbacks: the loop calls your functions
//!
//! The loop is hidden in a library, [`event_loop`]. A program tells it which function to call when,
//! and gives up control. Redis, nginx and Node.js are built in this way.
//!
//! ```text
//!   watch(stop_signal, on_stop) ----+                   +--> on_stop
//!   watch(listener, on_accept) -----+--> EventLoop -----+--> on_accept
//!   watch(client 7, on_ready) ------+    epoll_wait     +--> on_ready(7)
//!   set_timer(at, on_timer) --------+                   +--> on_timer(7)
//! ```
//!
//! * System calls: those of `epoll`, and `epoll_ctl` to take a client out before it is closed.
//! * No callback can wait. The program keeps by hand what must outlive a callback: here in a slab
//!   of clients, whose key the closure holds. `async` leaves that to the compiler.
//! * What breaks it: a callback that blocks or computes for long, because all others wait. And a
//!   callback that removes another one whose event is in the same batch. So the library drops the
//!   events of removed callbacks.
//! * A client's turn is bounded. A timer that is due at once gives it the next turn.
//!
//! Source: Douglas Schmidt, "Reactor", in "Pattern Languages of Program Design", 1995.
#![forbid(unsafe_code)]

mod event_loop;

use std::net::TcpListener;
use std::process::ExitCode;
use std::time::Instant;

use serverkit::accept::{Accepted, Blocking, RETRY, accept};
use serverkit::clients::ACCEPTS_PER_TURN;
use serverkit::nonblocking::{Client, Next, Trigger};
use serverkit::session::READ;
use serverkit::stop::StopSignal;
use serverkit::trace::{self, LISTENER, Name, STOP};
use serverkit::{Context, Model, NoFlags, listener};
use slab::Slab;

use crate::event_loop::{EventLoop, NOTHING, Result, Timer, Watch};

const MODEL: Model<NoFlags> = Model {
    name: "callbacks",
    family: "runtime",
    summary: "A library waits with epoll and calls the server back",
    limits: |context, _| context.descriptor_limits(),
};

fn main() -> ExitCode {
    serverkit::main(&MODEL, serve)
}

fn serve(context: &'static Context, _: NoFlags) -> Result {
    let stop_signal = StopSignal::new()?;
    let listener = listener::bind(&context.options)?;
    let mut events: EventLoop<Server> = EventLoop::new()?;
    let on_stop = events.watch(STOP, &stop_signal, READ, |events, server, _| {
        server.on_stop(events)
    })?;
    let on_accept = events.watch(LISTENER, &listener, READ, |events, server, _| {
        server.on_accept(events, ACCEPTS_PER_TURN)
    })?;
    listener::announce(listener.local_addr()?)?;
    let mut server = Server {
        context,
        stop_signal: (stop_signal, on_stop),
        listener: Some((listener, on_accept)),
        retry: None,
        clients: Slab::new(),
    };
    // Returns when there is nothing left to wait for: no signal, no listener, no client.
    events.run(&mut server)
}

/// What the callbacks work on.
struct Server {
    context: &'static Context,
    stop_signal: (StopSignal, Watch),
    /// `None` once the server is stopping.
    listener: Option<(TcpListener, Watch)>,
    /// accept ran out of descriptors or memory, and is tried again when this runs.
    retry: Option<Timer>,
    clients: Slab<Entry>,
}

struct Entry {
    client: Client,
    watch: Watch,
    /// Runs at its deadline, or at once if its last turn ended early.
    timer: Option<Timer>,
    /// Its last turn ended early.
    unfinished: bool,
}

impl Server {
    /// Accepts at most `most` of the clients that wait, while there is room for them.
    fn on_accept(&mut self, events: &mut EventLoop<Self>, most: usize) -> Result {
        for _ in 0..most {
            let Some((listener, _)) = &self.listener else {
                break;
            };
            if !self.have_room() {
                break;
            }
            match accept(self.context, listener, Blocking::None)? {
                Accepted::Client(socket) => self.add(events, Client::new(self.context, socket)),
                Accepted::None => break,
                Accepted::Overloaded => self.overloaded(events),
            }
        }
        self.listen(events);
        Ok(())
    }

    /// Leaves the listener alone for a moment, or until a client leaves.
    fn overloaded(&mut self, events: &mut EventLoop<Self>) {
        self.retry.get_or_insert_with(|| {
            events.set_timer(Instant::now() + RETRY, |events, server| {
                server.retry = None;
                server.listen(events);
                Ok(())
            })
        });
    }

    /// Takes in a client that was just accepted.
    fn add(&mut self, events: &mut EventLoop<Self>, mut client: Client) {
        let entry = self.clients.vacant_entry();
        let key = entry.key();
        let on_ready = move |events: &mut EventLoop<Self>, server: &mut Self, _| {
            server.on_ready(events, key);
            Ok(())
        };
        match events.watch(Name::Client(client.number()), &client, READ, on_ready) {
            Ok(watch) => {
                entry.insert(Entry {
                    client,
                    watch,
                    timer: None,
                    unfinished: false,
                });
                self.set_timer(events, key);
            }
            Err(error) => client.fail(error),
        }
    }

    fn have_room(&self) -> bool {
        self.clients.len() < self.context.max_connections() && self.retry.is_none()
    }

    /// Waits for new clients only while there is room for one: a listener that is ready and not
    /// handled would end every wait at once.
    fn listen(&mut self, events: &mut EventLoop<Self>) {
        let interest = if self.have_room() { READ } else { NOTHING };
        if let Some((listener, watch)) = &self.listener
            && events.change(*watch, listener, interest).is_err()
        {
            self.overloaded(events);
        }
    }

    fn on_ready(&mut self, events: &mut EventLoop<Self>, key: usize) {
        // If its timer is due in this turn as well, it has one turn all the same.
        if !self.clients[key].unfinished {
            self.step(events, key);
        }
    }

    fn on_timer(&mut self, events: &mut EventLoop<Self>, key: usize) {
        self.clients[key].timer = None;
        self.step(events, key);
    }

    /// Moves the bytes of one client. The next wait reports what is left in its socket.
    fn step(&mut self, events: &mut EventLoop<Self>, key: usize) {
        let entry = &mut self.clients[key];
        trace::note(Some(entry.client.number()), || {
            "its callback runs".to_owned()
        });
        let next = entry.client.step(Trigger::Level);
        if next == Next::Closed {
            return self.close(events, key);
        }
        let interest = entry.client.interest();
        if let Err(error) = events.change(entry.watch, &entry.client, interest) {
            entry.client.fail(error);
            return self.close(events, key);
        }
        entry.unfinished = next == Next::Again;
        self.set_timer(events, key);
    }

    /// A deadline that moves later costs nothing: the timer stays and is set anew when it runs.
    fn set_timer(&mut self, events: &mut EventLoop<Self>, key: usize) {
        let entry = &mut self.clients[key];
        let now = entry.unfinished.then(Instant::now);
        if let Some(at) = now.or_else(|| entry.client.deadline())
            && entry.timer.is_none_or(|timer| at < timer.at())
        {
            let sooner = events.set_timer(at, move |events, server: &mut Self| {
                server.on_timer(events, key);
                Ok(())
            });
            if let Some(later) = entry.timer.replace(sooner) {
                events.cancel(later);
            }
        }
    }

    fn close(&mut self, events: &mut EventLoop<Self>, key: usize) {
        let entry = self.clients.remove(key);
        events.remove(entry.watch, &entry.client);
        if let Some(timer) = entry.timer {
            events.cancel(timer);
        }
        if let Some(retry) = self.retry.take() {
            events.cancel(retry);
        }
        self.listen(events);
    }

    /// Accepts the clients that still wait, closes the listener, and lets each client's input end with what
    /// has arrived.
    fn on_stop(&mut self, events: &mut EventLoop<Self>) -> Result {
        let (stop_signal, on_stop) = &self.stop_signal;
        if !stop_signal.take()? {
            return Ok(());
        }
        events.remove(*on_stop, stop_signal);
        self.on_accept(events, usize::MAX)?;
        if let Some((listener, on_accept)) = self.listener.take() {
            events.remove(on_accept, &listener);
        }
        if let Some(retry) = self.retry.take() {
            events.cancel(retry);
        }
        let end_of_grace = Instant::now() + self.context.options.grace;
        let keys: Vec<usize> = self.clients.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.clients[key].client.stop(end_of_grace);
            self.step(events, key);
        }
        Ok(())
    }
}

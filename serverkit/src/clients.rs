//! A loop's clients and its listener: who is let in, who has to leave, and when to wake for it.
//!
//! What the loop waits with, what it waits for and what it is told stays in the loop.

use std::fmt::Display;
use std::ops::Index;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use slab::Slab;

use crate::accept::{Accepted, Admission, Blocking, accept};
use crate::context::Context;
use crate::deadlines::Deadlines;
use crate::listener::Listener;
use crate::nonblocking::{Connection, Next, Until};

/// New clients in one turn of a loop, at most: a storm of them must not starve those who are
/// already served.
pub const ACCEPTS_PER_TURN: usize = 64;

/// The deadline of a listener that ran out of something.
const RETRY: usize = 0;
/// The end of the grace.
const GRACE: usize = 1;
/// A client's deadline has its key, counted from here.
const FIRST_CLIENT: usize = 2;

/// The clients of one loop, by small keys that are used again, and the listener they come from.
#[derive(Debug)]
pub struct Clients {
    context: &'static Context,
    /// `None` once the server is stopping.
    listener: Option<Listener>,
    admission: Admission,
    connections: Slab<Connection>,
    deadlines: Deadlines,
}

impl Clients {
    /// No clients yet; `capacity` at most.
    pub fn new(context: &'static Context, listener: Listener, capacity: usize) -> Self {
        Self {
            context,
            listener: Some(listener),
            admission: Admission::new(capacity),
            connections: Slab::new(),
            deadlines: Deadlines::new(),
        }
    }

    /// The listener, until the server is stopped.
    pub fn listener(&self) -> Option<&Listener> {
        self.listener.as_ref()
    }

    /// The listener belongs in the interest set: there is room for another client. A listener
    /// that is ready and not accepted from would wake every wait.
    pub fn accepting(&self) -> bool {
        self.listener.is_some() && self.admission.is_open(self.connections.len())
    }

    /// Accepts one client and gives its key; `None` when no more can be had in this turn.
    pub fn accept(&mut self) -> anyhow::Result<Option<usize>> {
        let Some(listener) = self.listener.as_ref().filter(|_| self.accepting()) else {
            return Ok(None);
        };
        match accept(self.context, listener, Blocking::No)? {
            Accepted::Client(socket) => {
                let key = self
                    .connections
                    .insert(Connection::new(self.context, socket));
                self.set_deadline(key);
                Ok(Some(key))
            }
            Accepted::None => Ok(None),
            Accepted::Overloaded => {
                let retry_at = self.admission.overloaded();
                self.deadlines.set(RETRY, retry_at);
                Ok(None)
            }
        }
    }

    /// Moves a client's bytes as far as they go, and drops it when it has ended.
    pub fn step(&mut self, key: usize, until: Until) -> Next {
        self.turn(key, |client| client.step(until))
    }

    /// As [`Clients::step`], where nothing told that the client is ready: [`Connection::ask`].
    pub fn ask(&mut self, key: usize, until: Until) -> Next {
        self.turn(key, |client| client.ask(until))
    }

    fn turn(&mut self, key: usize, turn: impl FnOnce(&mut Connection) -> Next) -> Next {
        let next = self.connections.get_mut(key).map_or(Next::Closed, turn);
        match next {
            Next::Closed => self.remove(key),
            Next::Wait | Next::Again => self.set_deadline(key),
        }
        next
    }

    /// Drops a client that cannot be served any further, because of `error`.
    pub fn abort(&mut self, key: usize, error: impl Display) {
        if let Some(client) = self.connections.get_mut(key) {
            client.abort(error);
        }
        self.remove(key);
    }

    fn remove(&mut self, key: usize) {
        if self.connections.try_remove(key).is_some() {
            self.admission.retry();
        }
    }

    /// A client's name in the trace: its descriptor.
    pub fn name(&self, key: usize) -> String {
        self.connections
            .get(key)
            .map_or("client gone".to_owned(), |client| {
                format!("client {}", client.as_raw_fd())
            })
    }

    /// How many clients there are.
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// All clients with their keys.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &Connection)> {
        self.connections.iter()
    }

    /// The keys of all clients.
    pub fn keys(&self) -> Vec<usize> {
        self.iter().map(|(key, _)| key).collect()
    }

    /// Closes the listener and lets every client's input end with what has arrived. Each client
    /// must be stepped once now: its socket may be empty, and then nothing will make it ready.
    pub fn stop(&mut self) {
        self.listener = None;
        self.deadlines
            .set(GRACE, Instant::now() + self.context.options.grace);
        self.connections
            .iter_mut()
            .for_each(|(_, client)| client.stop());
    }

    /// The server was stopped and the last client has left.
    pub fn is_finished(&self) -> bool {
        self.listener.is_none() && self.connections.is_empty()
    }

    /// How long the loop may wait; `None`: until something is ready.
    pub fn timeout(&self) -> Option<Duration> {
        self.deadlines.timeout(Instant::now())
    }

    /// Drops the clients whose time is over: the idle ones, those that do not close, and at the
    /// end of the grace all.
    pub fn expire(&mut self) {
        let now = Instant::now();
        while let Some(token) = self.deadlines.expired(now) {
            match token {
                RETRY => self.admission.retry(),
                GRACE => {
                    self.connections
                        .iter_mut()
                        .for_each(|(_, client)| client.abort("the grace is over"));
                    self.connections.clear();
                }
                token => {
                    let key = token - FIRST_CLIENT;
                    if self
                        .connections
                        .get_mut(key)
                        .is_some_and(|client| client.is_overdue(now))
                    {
                        self.remove(key);
                    } else {
                        self.set_deadline(key);
                    }
                }
            }
        }
    }

    fn set_deadline(&mut self, key: usize) {
        if let Some(at) = self.connections.get(key).and_then(Connection::deadline) {
            self.deadlines.set(FIRST_CLIENT + key, at);
        }
    }
}

impl Index<usize> for Clients {
    type Output = Connection;

    fn index(&self, key: usize) -> &Connection {
        &self.connections[key]
    }
}

//! The door and who is inside: what the workers share behind one lock.

use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serverkit::Context;
use serverkit::accept::Admission;
use serverkit::deadlines::Deadlines;
use serverkit::listener::Listener;
use serverkit::nonblocking::Connection;
use slab::Slab;

/// What an event is about: one of these, or else the number of a client.
pub const LISTENER: u64 = u64::MAX;
/// The stop signal.
pub const STOP: u64 = u64::MAX - 1;
/// There is nothing more to do.
pub const FINISHED: u64 = u64::MAX - 2;

/// A deadline that is not a client's.
const RETRY: usize = 0;
const GRACE: usize = 1;
/// A client's deadline has its place, counted from here.
const FIRST_CLIENT: usize = 2;

/// The listener, the clients and when to see to them.
pub struct Clients {
    /// `None` once the server is stopping.
    pub listener: Option<Listener>,
    /// The listener is armed, or a worker was told of it and is on its way.
    pub listening: bool,
    admission: Admission,
    slab: Slab<Arc<Client>>,
    accepted: u32,
    deadlines: Deadlines,
    /// What was left has been given up.
    pub grace_is_over: bool,
}

/// One client.
pub struct Client {
    /// Its place among the clients in the lower half; the upper half tells it from all those who
    /// had the place before.
    pub number: u64,
    connection: Mutex<Option<Connection>>,
}

impl Client {
    /// Its connection, for whoever serves it now; `None` once it has ended.
    pub fn lock(&self) -> MutexGuard<'_, Option<Connection>> {
        self.connection.lock().expect("workers do not panic")
    }
}

fn place(number: u64) -> usize {
    number as u32 as usize
}

impl Clients {
    /// No clients yet.
    pub fn new(context: &Context, listener: Listener) -> Self {
        Self {
            listener: Some(listener),
            listening: true,
            admission: Admission::new(context.max_connections()),
            slab: Slab::new(),
            accepted: 0,
            deadlines: Deadlines::new(),
            grace_is_over: false,
        }
    }

    /// The listener, if there is room for another client.
    pub fn open_listener(&self) -> Option<&Listener> {
        self.listener
            .as_ref()
            .filter(|_| self.admission.is_open(self.slab.len()))
    }

    /// accept ran out of something: no room for a while.
    pub fn overloaded(&mut self) {
        let retry_at = self.admission.overloaded();
        self.deadlines.set(RETRY, retry_at);
    }

    /// The number that [`Clients::enter`] will give to the next client.
    pub fn next_number(&self) -> u64 {
        u64::from(self.accepted) << 32 | self.slab.vacant_key() as u64
    }

    /// Takes in a client, under the number that [`Clients::next_number`] gave.
    pub fn enter(&mut self, number: u64, connection: Connection) {
        if let Some(at) = connection.deadline() {
            self.set_deadline(number, at);
        }
        self.accepted = self.accepted.wrapping_add(1);
        self.slab.insert(Arc::new(Client {
            number,
            connection: Mutex::new(Some(connection)),
        }));
    }

    /// The client with this number, unless it is gone.
    pub fn find(&self, number: u64) -> Option<Arc<Client>> {
        self.slab
            .get(place(number))
            .filter(|client| client.number == number)
            .cloned()
    }

    /// What an event is about, for the trace. A client's name is its descriptor.
    pub fn name(&self, what: Option<u64>) -> String {
        match what {
            None => "nothing".to_owned(),
            Some(LISTENER) => "listener".to_owned(),
            Some(STOP) => "stop signal".to_owned(),
            Some(FINISHED) => "finished".to_owned(),
            Some(number) => self
                .find(number)
                .and_then(|client| Some(client.connection.try_lock().ok()?.as_ref()?.as_raw_fd()))
                .map_or("client gone".to_owned(), |fd| format!("client {fd}")),
        }
    }

    /// All clients.
    pub fn all(&self) -> Vec<Arc<Client>> {
        self.slab.iter().map(|(_, client)| client.clone()).collect()
    }

    /// The client with this number has ended and its socket is closed.
    pub fn remove(&mut self, number: u64) {
        self.slab.remove(place(number));
        self.admission.retry();
    }

    /// Takes no more clients, and gives those that are there until then.
    pub fn stop(&mut self, grace_ends: Instant) {
        self.listener = None;
        self.deadlines.set(GRACE, grace_ends);
    }

    /// The server was stopped and the last client has left.
    pub fn is_finished(&self) -> bool {
        self.listener.is_none() && self.slab.is_empty()
    }

    /// The client with this number is to be looked at by then.
    pub fn set_deadline(&mut self, number: u64, at: Instant) {
        self.deadlines.set(FIRST_CLIENT + place(number), at);
    }

    /// The clients whose time may have come.
    pub fn due(&mut self, now: Instant) -> Vec<Arc<Client>> {
        let mut due = Vec::new();
        while let Some(token) = self.deadlines.expired(now) {
            match token {
                RETRY => self.admission.retry(),
                GRACE => self.give_up(),
                token => due.extend(self.slab.get(token - FIRST_CLIENT).cloned()),
            }
        }
        due
    }

    /// Ends those that nobody is serving at this moment.
    fn give_up(&mut self) {
        for (_, client) in &self.slab {
            if let Ok(mut connection) = client.connection.try_lock()
                && let Some(mut connection) = connection.take()
            {
                connection.abort("the grace is over");
            }
        }
        self.grace_is_over = true;
    }

    /// How long until someone's time comes; `None`: nobody's will.
    pub fn timeout(&self, now: Instant) -> Option<Duration> {
        self.deadlines.timeout(now)
    }
}

//! The clients of one loop, and when it has to look at one though nothing is ready.
//!
//! What the loop waits with, what it waits for and what it is told stays in the loop.

use std::fmt::Display;
use std::net::TcpStream;
use std::ops::Deref;
use std::time::{Duration, Instant};

use slab::Slab;

use crate::accept::Admission;
use crate::connection::Connection;
use crate::context::Context;
use crate::deadlines::Deadlines;
use crate::nonblocking::{Client, Next, Trigger};

/// New clients in one turn of a loop, at most: a storm of them must not starve those who are
/// already served.
pub const ACCEPTS_PER_TURN: usize = 64;

/// Wakes the loop to accept again. A client's deadline has the number that follows its key.
const ACCEPT_AGAIN: usize = 0;

/// The clients of one loop, by small keys that are used again.
#[derive(Debug)]
pub struct Clients {
    context: &'static Context,
    admission: Admission,
    slab: Slab<Client>,
    /// Clients whose turn ended before their socket was empty.
    unfinished: Vec<usize>,
    deadlines: Deadlines,
}

impl Clients {
    /// No clients yet; `capacity` at most.
    pub fn new(context: &'static Context, capacity: usize) -> Self {
        Self {
            context,
            admission: Admission::new(capacity),
            slab: Slab::new(),
            unfinished: Vec::new(),
            deadlines: Deadlines::default(),
        }
    }

    /// There is room for another client. If not, the listener does not belong in the interest set:
    /// it would wake every wait.
    pub fn have_room(&self) -> bool {
        self.admission.is_open(self.slab.len())
    }

    /// accept ran out of descriptors or memory: there is no room until a client leaves or a moment
    /// has passed.
    pub fn overloaded(&mut self) {
        let retry_at = self.admission.overloaded();
        self.deadlines.set(ACCEPT_AGAIN, retry_at);
    }

    /// Takes in a client that was just accepted, and gives its key.
    pub fn insert(&mut self, socket: TcpStream) -> usize {
        let key = self.slab.insert(Client::new(self.context, socket));
        self.set_deadline(key);
        key
    }

    /// Moves a client's bytes as far as they go, and drops it when it has ended.
    pub fn step(&mut self, key: usize, trigger: Trigger) -> Next {
        self.step_by(key, trigger, Connection::answer)
    }

    /// As [`Clients::step`], for a server that has its own way to answer at most so many requests.
    pub fn step_by(
        &mut self,
        key: usize,
        trigger: Trigger,
        answer: impl FnMut(&mut Connection, u32) -> u32,
    ) -> Next {
        let Some(client) = self.slab.get_mut(key) else {
            return Next::Closed;
        };
        let next = client.step_by(trigger, answer);
        match next {
            Next::Closed => self.remove(key),
            Next::Again => self.unfinished.push(key),
            Next::Wait => {}
        }
        self.set_deadline(key);
        next
    }

    /// The job of a client's last request was run: see [`Connection::answer_apart`].
    pub fn finish(&mut self, key: usize) {
        if let Some(client) = self.slab.get_mut(key) {
            client.finish();
        }
    }

    /// Drops a client that cannot be served any further, because of `error`.
    pub fn fail(&mut self, key: usize, error: impl Display) {
        if let Some(client) = self.slab.get_mut(key) {
            client.fail(error);
            self.remove(key);
        }
    }

    fn remove(&mut self, key: usize) {
        self.slab.remove(key);
        self.admission.retry();
    }

    /// The server is stopping, and nobody is accepted any more: what each client has sent is answered,
    /// and then it is closed, at the end of the grace at the latest. All clients are due: a socket that is empty would not
    /// wake the loop.
    pub fn stop(&mut self) {
        let at = Instant::now() + self.context.options.grace;
        for (key, client) in &mut self.slab {
            client.stop(at);
            self.unfinished.push(key);
        }
    }

    /// How long the loop may wait; `None`: until something is ready.
    pub fn timeout(&self) -> Option<Duration> {
        if self.unfinished.is_empty() {
            self.deadlines.timeout(Instant::now())
        } else {
            Some(Duration::ZERO)
        }
    }

    /// The clients to step now though nothing told so: those whose last turn ended early, and
    /// those whose time may be over.
    pub fn due(&mut self) -> Vec<usize> {
        let mut due = std::mem::take(&mut self.unfinished);
        if !self.deadlines.is_empty() {
            let now = Instant::now();
            while let Some(number) = self.deadlines.expired(now) {
                match number {
                    ACCEPT_AGAIN => self.admission.retry(),
                    client => due.push(client - 1),
                }
            }
        }
        due.retain(|&key| self.slab.contains(key));
        due
    }

    fn set_deadline(&mut self, key: usize) {
        if let Some(at) = self.slab.get(key).and_then(Client::deadline) {
            self.deadlines.set(1 + key, at);
        }
    }
}

/// To look at the clients, and to count them.
impl Deref for Clients {
    type Target = Slab<Client>;

    fn deref(&self) -> &Slab<Client> {
        &self.slab
    }
}

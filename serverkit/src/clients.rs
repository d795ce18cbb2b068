//! The clients of one loop, and when the loop must look at one that is not ready.
//!
//! The wait itself, the interest set and the ready list stay in the loop.

use std::fmt::Display;
use std::ops::Deref;
use std::time::{Duration, Instant};

use slab::Slab;

use crate::accept::{Admission, Socket};
use crate::connection::Connection;
use crate::context::Context;
use crate::deadlines::Deadlines;
use crate::nonblocking::{Client, Next, Trigger};
use crate::session::Interest;
use crate::trace::{self, Name, Waiting};

/// New clients in one turn of a loop, at most: a storm of them must not starve those who are
/// already served.
pub const ACCEPTS_PER_TURN: usize = 64;

// What a token of a loop stands for: one of these, or else the key of a client.
/// A stop signal.
pub const STOP: usize = usize::MAX;
/// The listener.
pub const LISTENER: usize = usize::MAX - 1;
/// A permit for another client, where loops share a limit.
pub const PERMIT: usize = usize::MAX - 2;
/// Jobs that were done by other threads.
pub const POOL: usize = usize::MAX - 3;

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
    pub fn insert(&mut self, socket: Socket) -> usize {
        let key = self.slab.insert(Client::new(self.context, socket));
        self.set_deadline(key);
        key
    }

    /// Moves a client's bytes as far as they go, and drops it when it has ended.
    pub fn step(&mut self, key: usize, trigger: Trigger) -> Next {
        self.step_by(key, trigger, Connection::answer)
    }

    /// As [`Clients::step`], for a server that has its own way to answer at most this many requests.
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

    /// Tells the trace that the loop begins to wait in a system call: for its clients, and for new
    /// ones if it `listens`.
    pub fn wait(&self, call: &'static str, most: Option<Duration>, listens: bool) -> Waiting {
        trace::wait(call, most, || {
            let listener = listens.then(|| trace::LISTENER.to_string());
            let clients = self.slab.iter().map(|(_, client)| client);
            let awaited = clients
                .filter(|client| !client.is_held() && client.interest() != Interest::default());
            let names =
                awaited.map(|client| Name::Client(client.number()).awaited(client.interest()));
            trace::list(listener.into_iter().chain(names))
        })
    }

    /// The names of ready tokens for the trace.
    pub fn names(&self, tokens: &[usize]) -> Vec<String> {
        let tokens = tokens.iter().map(|&token| (token, None));
        self.names_ready(tokens)
    }

    /// The same, if the kernel has said what each client is ready for.
    pub fn names_ready(
        &self,
        tokens: impl IntoIterator<Item = (usize, Option<Interest>)>,
    ) -> Vec<String> {
        trace::list(tokens.into_iter().filter_map(|(token, ready)| {
            Some(match token {
                STOP => trace::STOP.to_string(),
                LISTENER => trace::LISTENER.to_string(),
                PERMIT => "a permit".to_owned(),
                POOL => "a job that is done".to_owned(),
                key => {
                    let client = self.slab.get(key)?;
                    let name = Name::Client(client.number());
                    ready.map_or_else(
                        || name.some_of(client.interest()),
                        |ready| name.ready(ready),
                    )
                }
            })
        }))
    }

    /// The clients to step now though no event named them: those whose last turn ended early, and
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

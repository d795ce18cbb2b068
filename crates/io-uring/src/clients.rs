//! The clients by their keys: whose turn it is, and when to look at one though nothing completes.

use std::collections::VecDeque;
use std::io;
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use serverkit::Context;
use serverkit::deadlines::Deadlines;
use slab::Slab;

use crate::Completions;
use crate::buffers::BufferRing;
use crate::connection::Connection;
use crate::ring::{Completion, Operation, Ring};

/// The end of the grace.
const GRACE: usize = 0;
/// A client's deadline has its key, counted from here.
const FIRST_CLIENT: usize = 1;

/// All clients.
pub struct Clients {
    context: &'static Context,
    completions: Completions,
    connections: Slab<Connection>,
    /// Those to whom something happened in this turn.
    touched: Vec<usize>,
    /// Those that want a multishot receive: first the ones for whom there was no buffer the last
    /// time, then the others.
    receivers: [VecDeque<usize>; 2],
    /// Buffers that went back to the ring in this turn.
    buffers_back: usize,
    deadlines: Deadlines,
    stopping: bool,
}

impl Clients {
    /// None yet.
    pub fn new(context: &'static Context, completions: Completions) -> Self {
        Self {
            context,
            completions,
            connections: Slab::new(),
            touched: Vec::new(),
            receivers: Default::default(),
            buffers_back: 0,
            deadlines: Deadlines::new(),
            stopping: false,
        }
    }

    /// How many there are, those included whose last completion is awaited.
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// The name in the trace of whoever has this key: the descriptor.
    pub fn name(&self, key: usize) -> String {
        self.connections
            .get(key)
            .map_or("server".to_owned(), |client| {
                format!("client {}", client.as_raw_fd())
            })
    }

    /// A client was accepted.
    pub fn insert(&mut self, socket: TcpStream) {
        let entry = self.connections.vacant_entry();
        let key = entry.key();
        let client = entry.insert(Connection::new(self.context, self.completions, socket, key));
        if self.stopping {
            client.stop();
        }
        self.touched.push(key);
    }

    /// An operation of a client has completed.
    pub fn completed(&mut self, completion: &Completion, buffers: Option<&mut BufferRing>) {
        let key = completion.key;
        // The server's own cancellations have no client.
        let Some(client) = self.connections.get_mut(key) else {
            return;
        };
        match completion.operation {
            Operation::Poll => client.polled(),
            Operation::Receive => client.received(completion.result),
            Operation::ReceiveMany => {
                if let (Some(id), Some(buffers)) = (completion.buffer, buffers) {
                    let bytes = completion.result.unwrap_or(0) as usize;
                    buffers.consume(id, bytes, |bytes| client.received_many(bytes));
                    self.buffers_back += 1;
                }
                if !completion.more {
                    client.receiving_ended(completion.result);
                }
            }
            Operation::Send => client.sent(completion.result),
            _ => client.cancelled(),
        }
        self.touched.push(key);
    }

    /// Submits what is next for everyone to whom something happened, and drops those that have
    /// ended; tells whether any were dropped.
    pub fn advance(&mut self, ring: &mut Ring) -> io::Result<bool> {
        let before = self.connections.len();
        for key in self.touched.drain(..) {
            let Some(client) = self.connections.get_mut(key) else {
                continue;
            };
            client.advance(ring)?;
            if client.wants_to_receive() {
                self.receivers[usize::from(!client.is_starved())].push_back(key);
            }
            if client.is_over() {
                self.connections.remove(key);
            } else if let Some(at) = client.deadline() {
                self.deadlines.set(FIRST_CLIENT + key, at);
            }
        }
        self.receive(ring)?;
        Ok(self.connections.len() < before)
    }

    /// Submits the multishot receives that are wanted, in an order in which each client gets a
    /// buffer in the end, however few there are.
    ///
    /// Whoever comes first takes what it needs. All buffers are in the ring now, but for those of
    /// completions that are still to be seen: while there are such, only as many clients receive
    /// as buffers have just come back. Whoever asked too soon would lose its place to the others.
    fn receive(&mut self, ring: &mut Ring) -> io::Result<()> {
        let mut buffers = std::mem::take(&mut self.buffers_back);
        if !ring.has_overflowed() {
            buffers = usize::MAX;
        }
        let [starved, others] = &mut self.receivers;
        while buffers > 0
            && let Some(key) = starved.pop_front().or_else(|| others.pop_front())
        {
            // It may have gone meanwhile, or be in the queue twice.
            if let Some(client) = self.connections.get_mut(key)
                && client.wants_to_receive()
            {
                client.receive_many(ring)?;
                buffers -= 1;
            }
        }
        Ok(())
    }

    /// How long to wait before [`Clients::expire`] may have something to do.
    pub fn timeout(&self, now: Instant) -> Option<Duration> {
        self.deadlines.timeout(now)
    }

    /// Ends the clients whose time is over: the idle ones, those that do not close, and at the
    /// end of the grace all.
    pub fn expire(&mut self, now: Instant) {
        while let Some(token) = self.deadlines.expired(now) {
            if token == GRACE {
                for (key, client) in &mut self.connections {
                    client.abort("the grace is over");
                    self.touched.push(key);
                }
            } else if let Some(client) = self.connections.get_mut(token - FIRST_CLIENT) {
                client.expire(now);
                self.touched.push(token - FIRST_CLIENT);
            }
        }
    }

    /// The server is stopping: what has arrived is answered, then everyone ends.
    pub fn stop(&mut self) {
        self.stopping = true;
        self.deadlines
            .set(GRACE, Instant::now() + self.context.options.grace);
        for (key, client) in &mut self.connections {
            client.stop();
            self.touched.push(key);
        }
    }
}

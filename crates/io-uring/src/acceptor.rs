//! The listener: accepts are in flight while there is room for the clients they bring, and no
//! longer.
//!
//! A multishot accept brings as many clients as there are, so it is used only while one wait
//! cannot bring more than there is room for. Closer to the limit each accept brings one client,
//! and there are at most as many accepts as places.

use std::io;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use serverkit::Context;
use serverkit::accept::{Accepted, RETRY, sort_error};
use serverkit::listener::Listener;

use crate::Completions;
use crate::ring::{Completion, InFlight, Operation, Ring, socket};

/// Accepts of one client each that are in flight at once, at most: a storm of clients must not
/// starve those who are already served.
const ACCEPTS: usize = 16;

/// Lets clients in.
pub struct Acceptor {
    context: &'static Context,
    completions: Completions,
    /// `None` once the server is stopping and no accept is in flight.
    listener: Option<Listener>,
    /// The multishot accept.
    many: Option<InFlight>,
    /// Accepts of one client that are in flight.
    single: usize,
    /// When to accept again, after the descriptors or the memory ran out.
    retry_at: Option<Instant>,
    stopping: bool,
}

impl Acceptor {
    /// The listener blocks: `io_uring` then waits for clients, and would say EAGAIN otherwise.
    pub fn new(context: &'static Context, completions: Completions, listener: Listener) -> Self {
        Self {
            context,
            completions,
            listener: Some(listener),
            many: None,
            single: 0,
            retry_at: None,
            stopping: false,
        }
    }

    /// Submits and cancels accepts so that `open` clients and those to come have room.
    pub fn arm(&mut self, ring: &mut Ring, open: usize) -> io::Result<()> {
        let Some(listener) = &self.listener else {
            return Ok(());
        };
        self.retry_at = self.retry_at.filter(|&at| Instant::now() < at);
        let room = if self.stopping || self.retry_at.is_some() {
            0
        } else {
            self.context.max_connections().saturating_sub(open)
        };
        let many = self.completions == Completions::Multishot && room > ring.most_completions();
        if !many {
            ring.cancel_once(&mut self.many, Ring::NOBODY)?;
        }
        if self.many.is_some() {
            return Ok(());
        }
        if many && self.single == 0 {
            ring.accept(listener, Operation::AcceptMany)?;
            self.many = Some(InFlight::new(Operation::AcceptMany));
        } else if !many {
            while self.single < room.min(ACCEPTS) {
                ring.accept(listener, Operation::Accept)?;
                self.single += 1;
            }
        }
        if self.stopping && self.single == 0 {
            self.listener = None;
        }
        Ok(())
    }

    /// An accept has completed; gives the client that it brought.
    pub fn completed(&mut self, completion: &Completion) -> anyhow::Result<Option<TcpStream>> {
        match completion.operation {
            Operation::Accept => self.single -= 1,
            _ if completion.more => {}
            _ => self.many = None,
        }
        match completion.result {
            Ok(fd) => {
                self.context.stats.accept();
                return Ok(Some(socket(fd)));
            }
            // By this server.
            Err(Errno::ECANCELED) => {}
            Err(errno) => {
                if let Accepted::Overloaded = sort_error(self.context, errno)? {
                    self.retry_at = Some(Instant::now() + RETRY);
                }
            }
        }
        Ok(None)
    }

    /// A client has left: what ran out may be there again.
    pub fn retry(&mut self) {
        self.retry_at = None;
    }

    /// How long to wait before [`Acceptor::arm`] may find that it can accept again.
    pub fn timeout(&self, now: Instant) -> Option<Duration> {
        let at = self.retry_at.filter(|_| self.listener.is_some())?;
        Some(at.saturating_duration_since(now))
    }

    /// Accepts nobody any more, and closes the listener when no accept is in flight.
    pub fn stop(&mut self, ring: &mut Ring) -> io::Result<()> {
        self.stopping = true;
        if self.single > 0 {
            ring.cancel(Operation::Accept, Ring::NOBODY)?;
        }
        Ok(())
    }

    /// The listener is closed.
    pub fn is_closed(&self) -> bool {
        self.listener.is_none()
    }
}

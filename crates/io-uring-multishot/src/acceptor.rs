//! The listener: accepts are in flight while there is room for the clients they may bring.
//!
//! A multishot accept brings all clients that come, so it is in flight only while one wait cannot
//! bring more than there is room for. Closer to the limit each accept brings one client.

use std::io;
use std::net::{TcpListener, TcpStream};

use nix::errno::Errno;
use serverkit::Context;
use serverkit::accept::{Accepted, Admission, Blocking, Socket};
use serverkit::accept::{accept, accepted, count_error, tell_nobody};

use crate::ring::{More, Operation, Ring};

/// Accepts of one client each that are in flight at once, at most: a storm of clients must not
/// starve those who are already served.
const ACCEPTS: usize = 16;

/// Lets clients in.
pub struct Acceptor {
    context: &'static Context,
    /// `None` after the last sweep.
    listener: Option<TcpListener>,
    /// Accepts in flight.
    in_flight: usize,
    /// The one accept in flight is multishot.
    is_many: bool,
    admission: Admission,
}

impl Acceptor {
    /// The listener blocks: `io_uring` then waits for clients, and would say EAGAIN otherwise.
    pub fn new(context: &'static Context, listener: TcpListener) -> Self {
        Self {
            context,
            listener: Some(listener),
            in_flight: 0,
            is_many: false,
            admission: Admission::new(context.max_connections()),
        }
    }

    /// Submits and cancels accepts so that there is room for `clients` and those to come.
    pub fn arm(&mut self, ring: &mut Ring, clients: usize) -> io::Result<()> {
        let Some(listener) = &self.listener else {
            return Ok(());
        };
        if self.admission.is_open(clients + ring.most_completions()) {
            if self.in_flight == 0 {
                ring.accept_many(listener)?;
                self.is_many = true;
                self.in_flight = 1;
            }
        } else if self.is_many {
            ring.cancel_accept()?;
        } else {
            while self.in_flight < ACCEPTS && self.admission.is_open(clients + self.in_flight) {
                ring.accept(listener)?;
                self.in_flight += 1;
            }
        }
        Ok(())
    }

    /// An accept has completed; returns what it means.
    pub fn completed(
        &mut self,
        result: Result<TcpStream, Errno>,
        more: More,
    ) -> anyhow::Result<Accepted> {
        let call = if self.is_many {
            Operation::AcceptMany.name()
        } else {
            Operation::Accept.name()
        };
        if more == More::No {
            self.in_flight -= 1;
            self.is_many = false;
        }
        if let Err(errno) = result {
            tell_nobody(call, errno);
        }
        Ok(match result {
            Ok(socket) => Accepted::Client(accepted(self.context, socket, call)),
            Err(Errno::ECANCELED) => Accepted::None,
            Err(errno) => {
                // Whatever the error is: a server whose accept fails time after time must not spin.
                count_error(self.context, errno)?;
                self.admission.overloaded();
                Accepted::Overloaded
            }
        })
    }

    /// A client has left, or the time has come: what ran out may be there again.
    pub fn retry(&mut self) {
        self.admission.retry();
    }

    /// For a server that is stopping. When no accept is in flight any more, gives one of the
    /// clients that still wait, or else closes the listener.
    pub fn sweep(&mut self, clients: usize) -> anyhow::Result<Option<Socket>> {
        if self.in_flight > 0 {
            return Ok(None);
        }
        if let Some(listener) = &self.listener {
            listener.set_nonblocking(true)?;
            if self.admission.is_open(clients)
                && let Accepted::Client(socket) = accept(self.context, listener, Blocking::Client)?
            {
                return Ok(Some(socket));
            }
        }
        self.listener = None;
        Ok(None)
    }

    /// The listener is closed.
    pub fn is_closed(&self) -> bool {
        self.listener.is_none()
    }
}

//! One client, without its socket: the session, and what is counted and traced of it.
//!
//! The drivers move bytes between a socket and a [`Connection`]; all else is here, once.

use std::fmt::Display;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Instant;

use crate::context::Context;
use crate::session::{Interest, Session};
use crate::stats::Closed;
use crate::{trace, work};

/// A client that was accepted. Counted as closed when dropped.
#[derive(Debug)]
pub struct Connection {
    context: &'static Context,
    session: Session,
    closed: Closed,
    /// Its name in the trace: the descriptor of its socket.
    fd: RawFd,
    accepted_at: Instant,
}

impl Connection {
    /// A client just accepted.
    pub fn new(context: &'static Context, socket: &impl AsRawFd) -> Self {
        let options = &context.options;
        let accepted_at = Instant::now();
        let idle_timeout = Some(options.idle_timeout).filter(|timeout| !timeout.is_zero());
        Self {
            context,
            session: Session::new(options.mode, options.buffer_size, idle_timeout, accepted_at),
            closed: Closed::default(),
            fd: socket.as_raw_fd(),
            accepted_at,
        }
    }

    /// Where the driver puts what it reads; empty while [`Interest::read`] is set only if there is no memory. The first
    /// call makes the buffer.
    pub fn read_space(&mut self) -> &mut [u8] {
        self.session.read_space()
    }

    /// The client has not sent a byte yet: it has cost no buffer.
    pub fn is_silent(&self) -> bool {
        self.closed.bytes_in == 0
    }

    /// `n` bytes were read into [`Connection::read_space`]; 0 is the client's end of input.
    pub fn did_read(&mut self, n: usize) {
        trace!(self.context, "client {}: read {n} bytes", self.fd);
        self.closed.bytes_in += n as u64;
        self.session.did_read(n, self.now());
    }

    /// The socket has no more bytes at this moment: the end of the input, if the server is
    /// stopping.
    pub fn found_no_input(&mut self) {
        self.session.found_no_input();
    }

    /// Answers at most `most` requests of those that were read, each with its `--work`; tells how
    /// many. To be called before [`Connection::pending`] is written.
    pub fn answer(&mut self, most: u32) -> u32 {
        let answered = self.session.answer(most);
        work::burn(self.context.options.work * answered);
        answered
    }

    /// [`Connection::answer`] has something to do, and everything before it is written.
    pub fn can_answer(&self) -> bool {
        self.session.can_answer()
    }

    /// What is to be written next; empty when there is nothing.
    pub fn pending(&self) -> &[u8] {
        self.session.pending()
    }

    /// The first `n` bytes of [`Connection::pending`] were written.
    pub fn did_write(&mut self, n: usize) {
        trace!(self.context, "client {}: wrote {n} bytes", self.fd);
        self.closed.bytes_out += n as u64;
        self.session.did_write(n, self.now());
    }

    /// True once: the last byte is written and the driver shall shut down the sending side.
    pub fn take_shutdown(&mut self) -> bool {
        let shutdown = self.session.wants_shutdown();
        if shutdown {
            self.session.take_shutdown(Instant::now());
            trace!(
                self.context,
                "client {}: answered, waiting for its close", self.fd
            );
        }
        shutdown
    }

    /// When bytes move. Only the idle timeout needs to know, so without one the clock is not read
    /// for each request.
    fn now(&self) -> Instant {
        if self.context.options.idle_timeout.is_zero() {
            self.accepted_at
        } else {
            Instant::now()
        }
    }

    /// What to wait for.
    pub fn interest(&self) -> Interest {
        self.session.interest()
    }

    /// When to look at this connection though nothing is ready: see [`Connection::is_overdue`].
    pub fn deadline(&self) -> Option<Instant> {
        self.session.deadline()
    }

    /// What has arrived is still answered, until `end_of_grace` at the latest.
    pub fn stop(&mut self, end_of_grace: Instant) {
        self.session.stop(end_of_grace);
    }

    /// Everything is written and the connection may be closed.
    pub fn is_done(&self) -> bool {
        self.session.is_done()
    }

    /// Everything was answered and sent, and only the client's close is awaited.
    pub fn is_lingering(&self) -> bool {
        self.session.is_lingering()
    }

    /// The server is stopping: see [`Connection::stop`].
    pub fn is_stopping(&self) -> bool {
        self.session.is_stopping()
    }

    /// Its deadline has passed, and it is to be dropped. To be asked after one more try to read:
    /// while the process stood still, bytes may have come in time.
    pub fn is_overdue(&mut self) -> bool {
        let overdue = self.deadline().is_some_and(|at| at <= Instant::now());
        if overdue {
            self.fail(if self.is_stopping() {
                "the grace is over"
            } else {
                "idle for too long"
            });
        }
        overdue
    }

    /// The connection ends here, because of `error`. Counted as reset, unless everything was
    /// answered and sent: then it does not matter how the client leaves.
    pub fn fail(&mut self, error: impl Display) {
        trace!(self.context, "client {}: {error}", self.fd);
        self.closed.reset = !self.session.is_lingering();
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        trace!(self.context, "client {}: closed", self.fd);
        self.context.stats.close(self.closed);
    }
}

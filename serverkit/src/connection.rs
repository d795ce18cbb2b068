//! One client, without its socket: the session, and what is counted and traced of it.
//!
//! The drivers move bytes between a socket and a [`Connection`]; all else is here, once.

use std::fmt::Display;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Instant;

use crate::context::Context;
use crate::demand::Stream;
use crate::session::Session;
use crate::trace;
use crate::work::Job;

/// A client that was accepted. Counted as closed when dropped.
#[derive(Debug)]
pub struct Connection {
    context: &'static Context,
    session: Session,
    bytes_in: u64,
    bytes_out: u64,
    /// It ends by an error.
    reset: bool,
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
            bytes_in: 0,
            bytes_out: 0,
            reset: false,
            fd: socket.as_raw_fd(),
            accepted_at,
        }
    }

    /// The client has not sent a byte yet: it has cost no buffer.
    pub fn is_silent(&self) -> bool {
        self.bytes_in == 0
    }

    /// `n` bytes were read into [`Session::read_space`]; 0 is the client's end of input.
    pub fn did_read(&mut self, n: usize) {
        trace!(self.context, "client {}: read {n} bytes", self.fd);
        self.bytes_in += n as u64;
        self.session.did_read(n, self.now());
    }

    /// Answers at most `most` requests of those that were read, each after its `--work` and `--block`;
    /// tells how many. To be called before [`Session::pending`] is written.
    pub fn answer(&mut self, most: u32) -> u32 {
        let answered = self.session.answer(most);
        if self.context.demands() {
            for _ in 0..answered {
                self.job().run();
            }
        }
        answered
    }

    /// As [`Connection::answer`], for a server that does not do the work of a request in its loop.
    /// Stops at the first request that demands something: its answer is held until its job was run
    /// and [`Connection::finish`] was called.
    pub fn answer_apart(&mut self, most: u32) -> (u32, Option<Job>) {
        if !self.context.demands() {
            return (self.session.answer(most), None);
        }
        // The answer before it does not wait for this job.
        if !self.session.can_answer() {
            return (0, None);
        }
        let answered = self.session.answer(most.min(1));
        let job = (answered > 0).then(|| self.job());
        let job = job.filter(|job| !job.is_nothing());
        if job.is_some() {
            self.session.hold();
        }
        (answered, job)
    }

    /// The job of the last request was run.
    pub fn finish(&mut self) {
        self.session.release(self.now());
    }

    /// What the next request demands.
    fn job(&self) -> Job {
        let options = &self.context.options;
        let number = if options.work.is_constant() && options.block.is_constant() {
            0
        } else {
            self.context.stats.draw()
        };
        Job {
            context: self.context,
            client: self.fd,
            work: options.work.of(Stream::Work, number),
            block: options.block.of(Stream::Block, number),
        }
    }

    /// The first `n` bytes of [`Session::pending`] were written.
    pub fn did_write(&mut self, n: usize) {
        trace!(self.context, "client {}: wrote {n} bytes", self.fd);
        self.bytes_out += n as u64;
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
        self.reset = !self.is_lingering();
    }
}

/// What needs neither counting nor tracing is asked of the session.
impl Deref for Connection {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.session
    }
}

impl DerefMut for Connection {
    fn deref_mut(&mut self) -> &mut Session {
        &mut self.session
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        trace!(self.context, "client {}: closed", self.fd);
        self.context
            .stats
            .close(self.bytes_in, self.bytes_out, self.reset);
    }
}

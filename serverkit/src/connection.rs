//! One client, without its socket: the session, and what is counted and traced of it.
//!
//! The drivers move bytes between a socket and a [`Connection`]; all else is here, once.

use std::fmt::Display;
use std::io;
use std::ops::{Deref, DerefMut};
use std::sync::OnceLock;
use std::time::Instant;

use crate::context::Context;
use crate::demand::Stream;
use crate::session::Session;
use crate::trace::{self, Event, Moved};
use crate::work::Job;

/// The calls by which a server reads and writes, if they are not `recvfrom` and `sendto`.
static CALLS: OnceLock<[&'static str; 2]> = OnceLock::new();

/// This server reads and writes by other calls than `recvfrom` and `sendto`.
pub fn name_calls(read: &'static str, write: &'static str) {
    CALLS.get_or_init(|| [read, write]);
}

fn read_call() -> &'static str {
    CALLS.get().map_or("recvfrom", |[read, _]| read)
}

fn write_call() -> &'static str {
    CALLS.get().map_or("sendto", |[_, write]| write)
}

/// A client that was accepted. Counted as closed when dropped.
#[derive(Debug)]
pub struct Connection {
    context: &'static Context,
    session: Session,
    bytes_in: u64,
    bytes_out: u64,
    /// It ends by an error.
    reset: bool,
    /// Its name in the trace.
    number: u64,
    /// Why it ends, if the trace needs it.
    why: Option<Box<str>>,
    accepted_at: Instant,
}

impl Connection {
    /// The client with this number, just accepted.
    pub fn new(context: &'static Context, number: u64) -> Self {
        let options = &context.options;
        let accepted_at = Instant::now();
        let idle_timeout = Some(options.idle_timeout).filter(|timeout| !timeout.is_zero());
        Self {
            context,
            session: Session::new(options.mode, options.buffer_size, idle_timeout, accepted_at),
            bytes_in: 0,
            bytes_out: 0,
            reset: false,
            number,
            why: None,
            accepted_at,
        }
    }

    /// Which client it is, as [`Socket::number`](crate::accept::Socket::number).
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The client has not sent a byte yet: it has cost no buffer.
    pub fn is_silent(&self) -> bool {
        self.bytes_in == 0
    }

    /// `n` bytes were read into [`Session::read_space`]; 0 is the client's end of input.
    pub fn did_read(&mut self, n: usize) {
        self.did_read_by(read_call(), n);
    }

    /// As [`Connection::did_read`], where the trace is to name another call than usual.
    pub fn did_read_by(&mut self, call: &'static str, n: usize) {
        self.tell_read(call, Moved::Bytes(n));
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
            client: self.number,
            work: options.work.of(Stream::Work, number),
            block: options.block.of(Stream::Block, number),
        }
    }

    /// The first `n` bytes of [`Session::pending`] were written.
    pub fn did_write(&mut self, n: usize) {
        self.tell_write(Moved::Bytes(n));
        self.bytes_out += n as u64;
        self.session.did_write(n, self.now());
    }

    /// The result of a look whether there is something to read.
    pub fn did_peek(&self, result: io::Result<usize>) -> io::Result<usize> {
        trace::tell(|| Event::Peek {
            call: read_call(),
            client: self.number,
            moved: result
                .as_ref()
                .map_or_else(Moved::from, |n| Moved::Bytes(*n)),
        });
        result
    }

    /// A read has failed.
    pub fn could_not_read(&self, error: &io::Error) {
        self.could_not_read_by(read_call(), error);
    }

    /// As [`Connection::could_not_read`], where the trace is to name another call than usual.
    pub fn could_not_read_by(&self, call: &'static str, error: &io::Error) {
        self.tell_read(call, error.into());
    }

    /// A write has failed.
    pub fn could_not_write(&self, error: &io::Error) {
        self.tell_write(error.into());
    }

    fn tell_read(&self, call: &'static str, moved: Moved) {
        let client = self.number;
        trace::tell(|| Event::Read {
            call,
            client,
            moved,
        });
    }

    fn tell_write(&self, moved: Moved) {
        let client = self.number;
        trace::tell(|| Event::Write {
            call: write_call(),
            client,
            moved,
        });
    }

    /// True once: the last byte is written and the driver shall shut down the sending side.
    pub fn take_shutdown(&mut self) -> bool {
        let shutdown = self.session.wants_shutdown();
        if shutdown {
            self.session.take_shutdown(Instant::now());
            let client = self.number;
            trace::tell(|| Event::Shutdown {
                call: "shutdown",
                client,
            });
        }
        shutdown
    }

    /// When bytes move. Only the idle timeout needs it, so without one the clock is not read for
    /// each request.
    fn now(&self) -> Instant {
        if self.context.options.idle_timeout.is_zero() {
            self.accepted_at
        } else {
            Instant::now()
        }
    }

    /// Its deadline has passed.
    pub fn is_late(&self) -> bool {
        self.deadline().is_some_and(|at| at <= Instant::now())
    }

    /// Its deadline has passed, and it is to be dropped. To be asked after one more try to read:
    /// while the process stood still, bytes may have come in time.
    pub fn is_overdue(&mut self) -> bool {
        let overdue = self.is_late();
        if overdue {
            let idle_timeout = self.context.options.idle_timeout;
            if self.is_lingering() {
                self.fail("answered, and the client did not close in time");
            } else if self.is_stopping() {
                self.fail("the grace is over");
            } else {
                self.fail(format_args!(
                    "idle for {}",
                    humantime::format_duration(idle_timeout)
                ));
            }
        }
        overdue
    }

    /// The connection ends here, because of `error`. Counted as reset, unless everything was
    /// answered and sent: then it does not matter how the client leaves.
    pub fn fail(&mut self, error: impl Display) {
        if trace::is_on() {
            self.why.get_or_insert_with(|| error.to_string().into());
        }
        self.reset = !self.is_lingering();
    }
}

/// Calls that need neither counting nor tracing go to the session.
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
        trace::tell(|| Event::Close {
            client: self.number,
            why: match &self.why {
                Some(why) if why.contains("reset by peer") => "reset by the client",
                Some(why) if why.contains("Broken pipe") => "the client has gone",
                Some(why) => why,
                None if self.is_stopping() => "the server stops",
                None => "the client has closed",
            },
        });
        // A server may end with clients that had no turn any more when the grace was over.
        let reset = self.reset || !self.session.pending().is_empty();
        self.context
            .stats
            .close(self.bytes_in, self.bytes_out, reset);
    }
}

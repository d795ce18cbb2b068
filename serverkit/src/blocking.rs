//! Drives a session over a blocking stream: read, answer, read again.
//!
//! A signal interrupts whatever call it is blocked in (see [`crate::stop`]); between any two
//! calls it looks whether a stop was requested.

use std::io::{Error, ErrorKind, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};

use crate::context::Context;
use crate::session::Session;
use crate::stats::Closed;
use crate::{stop, trace, work};

/// How long the client's own close is awaited after the server shut down its side.
pub const LINGER_TIME: Duration = Duration::from_secs(1);

/// Serves one client from its first byte to its last, and counts it as closed.
///
/// An error of the client ends this call and nothing else. On a stop request what has arrived
/// is answered, and nothing more is waited for.
pub fn serve(context: &Context, stream: &TcpStream) {
    let mut conversation = Conversation {
        context,
        stream,
        session: Session::new(context.options.mode, context.options.buffer_size),
        begun: false,
        linger_until: None,
        closed: Closed::default(),
    };
    let fd = stream.as_raw_fd();
    match conversation.run() {
        Ok(()) => trace!(context, "client {fd}: closed"),
        // The answer is out: how the client leaves does not matter any more.
        Err(_) if conversation.linger_until.is_some() => trace!(context, "client {fd}: closed"),
        Err(error) => {
            conversation.closed.reset = true;
            trace!(context, "client {fd}: {error}");
        }
    }
    context.stats.close(conversation.closed);
}

struct Conversation<'a> {
    context: &'a Context,
    stream: &'a TcpStream,
    session: Session,
    /// The client has said something; one that only connects costs no buffer.
    begun: bool,
    linger_until: Option<Instant>,
    closed: Closed,
}

impl Conversation<'_> {
    fn run(&mut self) -> std::io::Result<()> {
        let options = &self.context.options;
        if !options.idle_timeout.is_zero() {
            self.stream.set_read_timeout(Some(options.idle_timeout))?;
            self.stream.set_write_timeout(Some(options.idle_timeout))?;
        }
        while !self.session.is_done() {
            if stop::overdue(options.grace) {
                return Err(Error::other("the grace is over"));
            }
            if self.session.take_shutdown() {
                self.shut_down()?;
            }
            let moved = if self.session.interest().write {
                self.write()
            } else {
                self.read()
            };
            match moved {
                // By a signal; if it was a stop, the next turn will see it.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // The socket's own timeout.
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Err(Error::new(ErrorKind::TimedOut, "idle for too long"));
                }
                result => result?,
            }
        }
        Ok(())
    }

    fn write(&mut self) -> std::io::Result<()> {
        let n = (&mut &*self.stream).write(self.session.pending())?;
        trace!(self.context, "client {}: wrote {n} bytes", self.name());
        self.closed.bytes_out += n as u64;
        self.session.did_write(n);
        self.work();
        Ok(())
    }

    fn read(&mut self) -> std::io::Result<()> {
        let mut flags = MsgFlags::empty();
        if let Some(until) = self.linger_until {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ErrorKind::TimedOut.into());
            }
            self.stream.set_read_timeout(Some(left))?;
        } else if stop::requested() {
            flags |= MsgFlags::MSG_DONTWAIT;
        }
        let received = if self.begun {
            recv(self.name(), self.session.read_space(), flags)
        } else {
            recv(self.name(), &mut [0], flags | MsgFlags::MSG_PEEK)
        };
        match received {
            Err(Errno::EAGAIN) if flags.contains(MsgFlags::MSG_DONTWAIT) => self.session.stop(),
            Ok(_) if !self.begun => self.begun = true,
            Ok(n) => {
                trace!(self.context, "client {}: read {n} bytes", self.name());
                self.closed.bytes_in += n as u64;
                self.session.did_read(n);
                self.work();
            }
            Err(errno) => return Err(errno.into()),
        }
        Ok(())
    }

    fn shut_down(&mut self) -> std::io::Result<()> {
        // Set first: an error from here on is one of a client that was answered.
        self.linger_until = Some(Instant::now() + LINGER_TIME);
        self.stream.shutdown(Shutdown::Write)?;
        trace!(
            self.context,
            "client {}: answered, waiting for its close",
            self.name()
        );
        Ok(())
    }

    /// Of the requests that became complete. A write may do that too: pipelined ones wait for room
    /// for their answers.
    fn work(&mut self) {
        work::burn(self.context.options.work * self.session.take_requests());
    }

    /// A client's name in the trace: its descriptor.
    fn name(&self) -> i32 {
        self.stream.as_raw_fd()
    }
}

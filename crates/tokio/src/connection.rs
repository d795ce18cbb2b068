//! Drives a session over Tokio's stream, as serverkit's two drivers do over the standard library's.

use std::future::poll_fn;
use std::io::{Error, ErrorKind, Read, Result};
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::task::{self, Poll, ready};

use serverkit::blocking::LINGER_TIME;
use serverkit::session::Session;
use serverkit::stats::Closed;
use serverkit::{Context, trace, work};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// A client. Counted as closed when dropped.
pub struct Connection {
    context: &'static Context,
    stream: TcpStream,
    session: Session,
    closed: Closed,
    /// When bytes last moved; kept only for `--idle-timeout`.
    moved: Option<Instant>,
    linger_until: Option<Instant>,
    /// The server is stopping: an empty socket counts as the end of input.
    stopping: bool,
}

impl Connection {
    /// A client just accepted.
    pub fn new(context: &'static Context, stream: TcpStream) -> Self {
        let options = &context.options;
        Self {
            context,
            stream,
            session: Session::new(options.mode, options.buffer_size),
            closed: Closed::default(),
            moved: (!options.idle_timeout.is_zero()).then(Instant::now),
            linger_until: None,
            stopping: false,
        }
    }

    /// Waits until bytes have moved in either direction; tells whether the connection has ended.
    ///
    /// It may be dropped while it waits: bytes are in the socket or in the session, never in
    /// the future.
    pub async fn advance(&mut self) -> Result<bool> {
        match self.try_advance().await {
            // The answer was out: how the client leaves does not matter any more.
            Err(_) if self.session.is_lingering() => Ok(true),
            result => result.map(|()| self.session.is_done()),
        }
    }

    async fn try_advance(&mut self) -> Result<()> {
        // Both directions at once, for a client that does not read may still send. Two futures
        // would need two buffers; polled one after the other the directions share the session's.
        poll_fn(|task| -> Poll<Result<()>> {
            let reads = self.session.interest().read && self.poll_read(task)?.is_ready();
            let writes = self.session.interest().write && self.poll_write(task)?.is_ready();
            if reads || writes {
                return Poll::Ready(Ok(()));
            }
            trace!(
                self.context,
                "client {}: awaits {:?}",
                self.as_raw_fd(),
                self.session.interest()
            );
            Poll::Pending
        })
        .await?;
        // A write may complete requests too: pipelined ones wait for room for their answers.
        work::burn(self.context.options.work * self.session.take_requests());
        if self.session.take_shutdown() {
            self.stream.shutdown().await?;
            trace!(
                self.context,
                "client {}: answered, waiting for its close",
                self.as_raw_fd()
            );
            self.linger_until = Some(Instant::now() + LINGER_TIME);
        }
        Ok(())
    }

    fn poll_read(&mut self, task: &mut task::Context) -> Poll<Result<()>> {
        let asks_socket = self.stopping && !self.session.is_lingering();
        if !asks_socket && self.closed.bytes_in == 0 {
            // A client that only connects costs no buffer. Tokio takes a new socket for readable
            // until it has tried.
            ready!(self.stream.poll_peek(task, &mut ReadBuf::new(&mut [0])))?;
        }
        let space = self.session.read_space();
        let n = if asks_socket {
            // What has arrived is to be answered, though Tokio may not have heard of it yet.
            match (&*SockRef::from(&self.stream)).read(space) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.session.stop();
                    return Poll::Ready(Ok(()));
                }
                result => result?,
            }
        } else {
            let mut space = ReadBuf::new(space);
            ready!(Pin::new(&mut self.stream).poll_read(task, &mut space))?;
            space.filled().len()
        };
        trace!(self.context, "client {}: read {n} bytes", self.as_raw_fd());
        self.closed.bytes_in += n as u64;
        self.moved();
        self.session.did_read(n);
        Poll::Ready(Ok(()))
    }

    fn poll_write(&mut self, task: &mut task::Context) -> Poll<Result<()>> {
        let n = ready!(Pin::new(&mut self.stream).poll_write(task, self.session.pending()))?;
        trace!(self.context, "client {}: wrote {n} bytes", self.as_raw_fd());
        self.closed.bytes_out += n as u64;
        self.moved();
        self.session.did_write(n);
        Poll::Ready(Ok(()))
    }

    /// The server is stopping: what has arrived is answered, then the connection ends.
    pub fn stop(&mut self) {
        self.stopping = true;
    }

    /// When to end it though nothing moves: see [`Connection::expire`].
    pub fn deadline(&self) -> Option<Instant> {
        let idle = self
            .moved
            .map(|moved| moved + self.context.options.idle_timeout);
        idle.into_iter().chain(self.linger_until).min()
    }

    /// Its deadline has passed: drop it. An error unless it was answered before.
    pub fn expire(&self) -> Result<()> {
        match self.linger_until {
            Some(_) => Ok(()),
            None => Err(Error::new(ErrorKind::TimedOut, "idle for too long")),
        }
    }

    /// It ends, because of `error`.
    pub fn abort(&mut self, error: &Error) {
        self.closed.reset = true;
        trace!(self.context, "client {}: {error}", self.as_raw_fd());
    }

    fn moved(&mut self) {
        if let Some(moved) = &mut self.moved {
            *moved = Instant::now();
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.context.stats.close(self.closed);
    }
}

impl AsRawFd for Connection {
    fn as_raw_fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }
}

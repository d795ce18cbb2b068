//! Drives a session over a blocking stream: read, answer, read again.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use crate::context::Context;
use crate::session::Session;
use crate::stats::Closed;
use crate::{stop, trace, work};

/// How long the client's own close is awaited after the server shut down its side.
pub const LINGER_TIME: Duration = Duration::from_secs(1);

/// Serves one client from its first byte to its last, and counts it as closed.
///
/// An error of the client ends this call and nothing else. A stop request is answered by
/// shutting down the reading side: what has arrived is still read, then comes the end.
pub fn serve(context: &Context, stream: &TcpStream) {
    let mut closed = Closed::default();
    let fd = stream.as_raw_fd();
    match converse(context, stream, &mut closed) {
        Ok(()) => trace!(context, "client {fd}: closed"),
        Err(error) => {
            closed.reset = true;
            trace!(context, "client {fd}: {error}");
        }
    }
    context.stats.close(closed);
}

fn converse(context: &Context, stream: &TcpStream, closed: &mut Closed) -> std::io::Result<()> {
    let fd = stream.as_raw_fd();
    let idle = context.options.idle_timeout;
    if !idle.is_zero() {
        stream.set_read_timeout(Some(idle))?;
        stream.set_write_timeout(Some(idle))?;
    }
    let mut session = Session::new(context.options.mode, context.options.buffer_size);
    // A client that only connects costs no buffer.
    uninterrupted(context, stream, |s: &TcpStream| s.peek(&mut [0]))?;
    let mut linger_until = None;
    while !session.is_done() {
        if session.take_shutdown() {
            stream.shutdown(Shutdown::Write)?;
            trace!(context, "client {fd}: answered, waiting for its close");
            linger_until = Some(Instant::now() + LINGER_TIME);
        }
        if !session.pending().is_empty() {
            let n = uninterrupted(context, stream, |mut s| s.write(session.pending()))?;
            trace!(context, "client {fd}: wrote {n} bytes");
            closed.bytes_out += n as u64;
            session.did_write(n);
            continue;
        }
        if let Some(until) = linger_until {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            stream.set_read_timeout(Some(left))?;
        }
        let space = session.read_space();
        match uninterrupted(context, stream, |mut s| s.read(space)) {
            Ok(n) => {
                trace!(context, "client {fd}: read {n} bytes");
                closed.bytes_in += n as u64;
                session.did_read(n);
                work::burn(context.options.work * session.take_requests());
            }
            // The answer is out: how the client leaves does not matter any more.
            Err(_) if linger_until.is_some() => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Repeats a call that a signal has interrupted; on a stop request ends the input first.
fn uninterrupted<T>(
    context: &Context,
    stream: &TcpStream,
    mut call: impl FnMut(&TcpStream) -> std::io::Result<T>,
) -> std::io::Result<T> {
    loop {
        match call(stream) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {
                if stop::overdue(context.options.grace) {
                    return Err(std::io::Error::other("the grace is over"));
                }
                if stop::requested() {
                    // Fails where the client is gone, which the next call will tell.
                    let _ = stream.shutdown(Shutdown::Read);
                }
            }
            // The socket's own timeout.
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                return Err(std::io::Error::new(
                    ErrorKind::TimedOut,
                    "idle for too long",
                ));
            }
            result => return result,
        }
    }
}

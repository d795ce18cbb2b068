//! Drives a connection over a blocking socket: read, answer, write, read again.
//!
//! A signal interrupts whatever call it is blocked in (see [`crate::stop`]); between any two
//! calls it looks whether a stop was requested.

use std::borrow::Borrow;
use std::io::{ErrorKind, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use nix::sys::socket::{MsgFlags, recv};

use crate::connection::Connection;
use crate::context::Context;
use crate::stop;

/// Requests that are answered before the clock is looked at again, at most: each may take `--work`.
const REQUESTS_PER_TURN: u32 = 16;

/// Serves one client from its first byte to its last, and counts it as closed.
///
/// An error of the client ends this call and nothing else. On a stop request what has arrived
/// is answered, and nothing more is waited for.
pub fn serve(context: &'static Context, socket: &TcpStream) {
    Client::new(context, socket).serve();
}

/// A client with a thread or process for itself. Counted as closed when dropped.
#[derive(Debug)]
pub struct Client<S> {
    context: &'static Context,
    connection: Connection,
    socket: S,
}

impl<S: Borrow<TcpStream>> Client<S> {
    /// A client just accepted; its socket blocks.
    pub fn new(context: &'static Context, socket: S) -> Self {
        Self {
            context,
            connection: Connection::new(context, socket.borrow()),
            socket,
        }
    }

    /// Serves it to its end.
    pub fn serve(mut self) {
        self.serve_while(|_| true);
    }

    /// As [`Client::serve`], but gives the client back as soon as a stop was requested, for a server
    /// that has something else to do then.
    pub fn serve_until_stop(mut self) -> Option<Self> {
        let ended = self.serve_while(|connection| !connection.is_stopping());
        (!ended).then_some(self)
    }

    /// True when the client has ended.
    fn serve_while(&mut self, goes_on: impl Fn(&Connection) -> bool) -> bool {
        loop {
            if let Some(end_of_grace) = stop::requested_until(self.context.options.grace) {
                self.connection.stop(end_of_grace);
            }
            if self.connection.is_done() {
                return true;
            }
            if !goes_on(&self.connection) {
                return false;
            }
            match self.turn() {
                // By a signal. If it was a stop, the next turn will see it; if the process stood still,
                // bytes may have come in time.
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                // The deadline has passed, or the server is stopping.
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.connection.found_no_input();
                }
                Err(error) => {
                    self.connection.fail(error);
                    return true;
                }
                Ok(()) => {}
            }
            if !self.connection.is_done() && self.connection.is_overdue() {
                return true;
            }
        }
    }

    /// Answers what there is to answer, and makes the one call that has to be made next.
    fn turn(&mut self) -> std::io::Result<()> {
        let (connection, socket) = (&mut self.connection, self.socket.borrow());
        connection.answer(REQUESTS_PER_TURN);
        if connection.take_shutdown() {
            socket.shutdown(Shutdown::Write)?;
        }
        let writes = connection.interest().write;
        if let Some(at) = connection.deadline() {
            let left = at.saturating_duration_since(Instant::now());
            // To the kernel zero means no limit.
            let left = Some(left.max(Duration::from_micros(1)));
            if writes {
                socket.set_write_timeout(left)?;
            } else {
                socket.set_read_timeout(left)?;
            }
        }
        if writes {
            write(connection, socket)
        } else {
            read(connection, socket)
        }
    }
}

fn write(connection: &mut Connection, mut socket: &TcpStream) -> std::io::Result<()> {
    let n = socket.write(connection.pending())?;
    connection.did_write(n);
    Ok(())
}

/// Waits for bytes. While the server is stopping only those count that have arrived.
fn read(connection: &mut Connection, socket: &TcpStream) -> std::io::Result<()> {
    let mut flags = MsgFlags::empty();
    flags.set(
        MsgFlags::MSG_DONTWAIT,
        connection.is_stopping() && !connection.is_lingering(),
    );
    if connection.is_silent() {
        // A client that only connects costs no buffer.
        recv(socket.as_raw_fd(), &mut [0], flags | MsgFlags::MSG_PEEK)?;
    }
    let space = connection.read_space();
    if space.is_empty() {
        return Err(ErrorKind::OutOfMemory.into());
    }
    let n = recv(socket.as_raw_fd(), space, flags)?;
    connection.did_read(n);
    Ok(())
}

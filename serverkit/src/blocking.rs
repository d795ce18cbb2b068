//! Drives a connection over a blocking socket: read, answer, write, read again.
//!
//! A signal interrupts whatever call it is blocked in (see [`crate::stop`]); between any two
//! calls it looks whether a stop was requested.

use std::io::{ErrorKind, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use nix::sys::socket::{MsgFlags, recv};

use crate::connection::Connection;
use crate::context::Context;
use crate::nonblocking::REQUESTS_PER_TURN;
use crate::stop;

/// Serves one client from its first byte to its last, and counts it as closed.
///
/// An error of the client ends this call and nothing else. On a stop request what has arrived
/// is answered, and nothing more is waited for.
pub fn serve(context: &'static Context, socket: &TcpStream) {
    let mut connection = Connection::new(context, socket);
    while step(context, &mut connection, socket) {}
}

/// Answers what there is to answer, and makes the one call that has to be made next. False: the
/// client has ended.
pub fn step(context: &Context, connection: &mut Connection, socket: &TcpStream) -> bool {
    if let Some(end_of_grace) = stop::requested_until(context.options.grace) {
        connection.stop(end_of_grace);
    }
    match turn(connection, socket) {
        Ok(()) => {}
        // By a signal. If it was a stop, the next step will see it; if the process stood still, bytes
        // may have come in time.
        Err(error) if error.kind() == ErrorKind::Interrupted => return true,
        // The deadline has passed, or the server is stopping.
        Err(error) if error.kind() == ErrorKind::WouldBlock => connection.found_no_input(),
        Err(error) => {
            connection.fail(error);
            return false;
        }
    }
    !connection.is_done() && !connection.is_overdue()
}

fn turn(connection: &mut Connection, mut socket: &TcpStream) -> std::io::Result<()> {
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
        let n = socket.write(connection.pending())?;
        connection.did_write(n);
        return Ok(());
    }
    // While the server is stopping only those bytes count that have arrived.
    let mut flags = MsgFlags::empty();
    let dont_wait = connection.is_stopping() && !connection.is_lingering();
    flags.set(MsgFlags::MSG_DONTWAIT, dont_wait);
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

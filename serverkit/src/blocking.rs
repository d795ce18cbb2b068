//! Drives a connection over a blocking socket: read, answer, write, read again.
//!
//! A signal interrupts whatever call it is blocked in (see [`crate::stop`]); between any two
//! calls it looks whether a stop was requested.

use std::io::{self, ErrorKind, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use nix::sys::socket::{MsgFlags, recv};

use crate::accept::Socket;
use crate::connection::Connection;
use crate::context::Context;
use crate::nonblocking::REQUESTS_PER_TURN;
use crate::session::{READ, WRITE};
use crate::{stop, trace};

/// Serves one client from its first byte to its last, and counts it as closed.
///
/// An error of the client ends this call and nothing else. On a stop request what has arrived
/// is answered, and nothing more is waited for.
pub fn serve(context: &'static Context, socket: &Socket) {
    let mut connection = Connection::new(context, socket.number());
    while step(context, &mut connection, socket) {}
}

/// Answers what there is to answer, and makes the one call that has to be made next. False: the
/// client has ended.
pub fn step(context: &Context, connection: &mut Connection, socket: &Socket) -> bool {
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

fn turn(connection: &mut Connection, socket: &Socket) -> io::Result<()> {
    let mut stream: &TcpStream = socket;
    let client = socket.number();
    connection.answer(REQUESTS_PER_TURN);
    if connection.take_shutdown() {
        stream.shutdown(Shutdown::Write)?;
    }
    let writes = connection.interest().write;
    let deadline = connection.deadline();
    // To the kernel zero means no limit.
    let left = deadline.map(|at| {
        let left = at.saturating_duration_since(Instant::now());
        left.max(Duration::from_micros(1))
    });
    if writes {
        if left.is_some() {
            stream.set_write_timeout(left)?;
        }
        let waiting = trace::wait_for("sendto", left, client, WRITE);
        let result = stream.write(connection.pending());
        waiting.ended(&result, client, WRITE);
        let n = result.inspect_err(|error| connection.could_not_write(error))?;
        connection.did_write(n);
        return Ok(());
    }
    if left.is_some() {
        stream.set_read_timeout(left)?;
    }
    // While the server is stopping, only bytes that have arrived already are answered.
    let only_arrived = connection.is_stopping() && !connection.is_lingering();
    let receive = |space: &mut [u8], mut flags: MsgFlags, may_wait: bool| {
        flags.set(MsgFlags::MSG_DONTWAIT, !may_wait);
        let receive = |space| recv(stream.as_raw_fd(), space, flags).map_err(io::Error::from);
        if !may_wait {
            return receive(space);
        }
        let waiting = trace::wait_for("recvfrom", left, client, READ);
        let result = receive(space);
        waiting.ended(&result, client, READ);
        result
    };
    if let Some(space) = connection.space_again() {
        match receive(space, MsgFlags::empty(), false) {
            Ok(n) => {
                connection.did_read(n);
                return Ok(());
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => {
                connection.could_not_read(&error);
                return Err(error);
            }
        }
    }
    let is_silent = connection.is_silent();
    if is_silent {
        // A client that only connects costs no buffer.
        connection.did_peek(receive(&mut [0], MsgFlags::MSG_PEEK, !only_arrived))?;
    }
    let space = connection.waiting_space();
    if space.is_empty() {
        return Err(ErrorKind::OutOfMemory.into());
    }
    let received = receive(space, MsgFlags::empty(), !only_arrived && !is_silent);
    let n = received.inspect_err(|error| connection.could_not_read(error))?;
    connection.did_read(n);
    while let Some(space) = connection.more_space() {
        let received = receive(space, MsgFlags::empty(), false);
        let n = received.inspect_err(|error| connection.could_not_read(error))?;
        connection.did_read(n);
    }
    Ok(())
}

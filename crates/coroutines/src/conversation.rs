//! The conversation with one client, written as if its calls blocked. Compare `blocking.rs` in
//! serverkit, where they do.

use std::io::{self, ErrorKind};

use serverkit::Context;
use serverkit::connection::Connection;
use serverkit::nonblocking::REQUESTS_PER_TURN;

use crate::stream::Stream;

/// Serves one client from its first byte to its last, and counts it as closed.
pub fn converse(context: &'static Context, stream: &mut Stream) {
    let mut connection = Connection::new(context, stream.number());
    while !connection.is_done() && !connection.is_overdue() {
        if let Err(error) = turn(&mut connection, stream) {
            connection.fail(error);
            break;
        }
    }
}

/// Answers what there is to answer, and moves bytes once.
fn turn(connection: &mut Connection, stream: &mut Stream) -> io::Result<()> {
    if let Some(end_of_grace) = stream.end_of_grace()? {
        connection.stop(end_of_grace);
    }
    let answered = connection.answer(REQUESTS_PER_TURN);
    if connection.take_shutdown() {
        stream.shutdown()?;
    }
    stream.set_deadline(connection.deadline());
    if connection.pending().is_empty() {
        read(connection, stream)?;
    } else {
        write(connection, stream)?;
    }
    // The thread is shared: a client that asks without a pause is not served alone.
    if answered == REQUESTS_PER_TURN {
        stream.give_way()?;
    }
    Ok(())
}

fn read(connection: &mut Connection, stream: &mut Stream) -> io::Result<()> {
    // While the server is stopping only those bytes count that have arrived.
    let result = if connection.is_stopping() && !connection.is_lingering() {
        stream.give_way()?;
        stream.read_arrived(connection)
    } else {
        stream.read(connection)
    };
    match result {
        Ok(n) => connection.did_read(n),
        Err(error) => {
            connection.could_not_read(&error);
            match error.kind() {
                ErrorKind::WouldBlock => connection.found_no_input(),
                ErrorKind::Interrupted => {}
                _ => return Err(error),
            }
        }
    }
    Ok(())
}

fn write(connection: &mut Connection, stream: &mut Stream) -> io::Result<()> {
    match stream.write(connection.pending()) {
        Ok(n) => connection.did_write(n),
        Err(error) => {
            connection.could_not_write(&error);
            match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::Interrupted => {}
                _ => return Err(error),
            }
        }
    }
    Ok(())
}

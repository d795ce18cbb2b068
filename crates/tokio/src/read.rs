//! Reads into a connection.

use std::io::{self, ErrorKind, Read};

use serverkit::connection::Connection;
use socket2::SockRef;
use tokio::net::TcpStream;

/// Reads without waiting. It asks the kernel itself: Tokio may not have heard of the latest bytes.
pub fn read_arrived(connection: &mut Connection, stream: &TcpStream) -> io::Result<()> {
    match (&*SockRef::from(stream)).read(read_space(connection)?) {
        Ok(n) => connection.did_read(n),
        Err(error) => {
            connection.could_not_read(&error);
            if error.kind() != ErrorKind::WouldBlock {
                return Err(error);
            }
            connection.found_no_input();
        }
    }
    Ok(())
}

/// Where to read to.
pub fn read_space(connection: &mut Connection) -> io::Result<&mut [u8]> {
    match connection.read_space() {
        [] => Err(ErrorKind::OutOfMemory.into()),
        space => Ok(space),
    }
}

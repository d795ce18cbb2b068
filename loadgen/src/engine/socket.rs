//! Reading and writing by the system call itself.
//!
//! In the C library these calls are cancellation points. If the program has more than one thread, each of them costs two
//! atomic operations there: 20 ns of the 3.5 us that a request takes.

use std::io;

use rustix::net::{RecvFlags, SendFlags};
use socket2::Socket;

/// Reads what has arrived; returns how many bytes. 0: the peer has ended its side.
pub fn receive(socket: &Socket, buffer: &mut [u8]) -> io::Result<usize> {
    let (count, _) = rustix::net::recv(socket, buffer, RecvFlags::empty())?;
    Ok(count)
}

/// Writes as many of the bytes as the socket takes; returns how many.
pub fn send(socket: &Socket, bytes: &[u8]) -> io::Result<usize> {
    Ok(rustix::net::send(socket, bytes, SendFlags::NOSIGNAL)?)
}

//! Reading and writing by the system call itself.
//!
//! In the C library these calls are cancellation points. If the program has more than one thread, each of them costs two
//! atomic operations there: 20 ns of the 3.5 us that a request takes.

use std::io::{self, IoSliceMut};
use std::mem;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::libc::{self, cmsghdr, msghdr, timespec};
use rustix::net::{RecvFlags, SendFlags};
use socket2::Socket;

/// Reads what has arrived; returns how many bytes. 0: the peer has ended its side.
pub fn receive(socket: &Socket, buffer: &mut [u8]) -> io::Result<usize> {
    let (count, _) = rustix::net::recv(socket, buffer, RecvFlags::empty())?;
    Ok(count)
}

/// The control message that holds the stamps.
#[repr(C)]
struct Control {
    header: cmsghdr,
    /// Of the kernel, nothing, and of the network card.
    stamps: [timespec; 3],
}

/// As [`receive`]. The second value is the kernel's stamp of the last byte, if the socket hands out stamps.
#[allow(
    unsafe_code,
    reason = "the safe calls are cancellation points, and cost 50 ns more"
)]
pub fn receive_stamped(
    socket: &Socket,
    buffer: &mut [u8],
) -> io::Result<(usize, Option<timespec>)> {
    let mut part = IoSliceMut::new(buffer);
    // SAFETY: all of their fields are numbers and pointers, and may be 0.
    let (mut control, mut message) = unsafe { (mem::zeroed::<Control>(), mem::zeroed::<msghdr>()) };
    // `IoSliceMut` is an `iovec`.
    message.msg_iov = (&raw mut part).cast();
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = size_of::<Control>() as _;
    let room = message.msg_controllen;
    // SAFETY: the message names the two buffers with their lengths, and both outlive the call.
    let result =
        unsafe { libc::syscall(libc::SYS_recvmsg, socket.as_raw_fd(), &raw mut message, 0) };
    let count = Errno::result(result)? as usize;
    let Control { header, stamps } = control;
    let is_there = message.msg_controllen == room
        && (header.cmsg_level, header.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_TIMESTAMPING);
    Ok((count, is_there.then_some(stamps[0])))
}

/// Writes as many of the bytes as the socket takes; returns how many.
pub fn send(socket: &Socket, bytes: &[u8]) -> io::Result<usize> {
    Ok(rustix::net::send(socket, bytes, SendFlags::NOSIGNAL)?)
}

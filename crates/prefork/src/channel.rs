//! The channel over which a parent hands a client to its child (unix(7), `SCM_RIGHTS`).

use std::io::{IoSlice, IoSliceMut};
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, Shutdown, SockFlag, SockType,
    recv, recvmsg, send, sendmsg, shutdown, socketpair,
};
use nix::unistd::dup;

/// One end of the channel. Each message is one byte, which says nothing: what counts is the
/// descriptor that comes with it or, on the way back, that it comes.
#[derive(Debug)]
pub struct Channel(OwnedFd);

impl Channel {
    /// The parent's and the child's end.
    pub fn pair() -> nix::Result<(Self, Self)> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let (parent, child) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
        Ok((Self(parent), Self(child)))
    }

    /// The parent hands over a client. It does not block: an idle child has read everything.
    pub fn give(&self, client: &TcpStream) -> nix::Result<()> {
        let descriptors = [client.as_raw_fd()];
        let rights = [ControlMessage::ScmRights(&descriptors)];
        let (fd, flags) = (self.0.as_raw_fd(), MsgFlags::MSG_NOSIGNAL);
        sendmsg::<()>(fd, &[IoSlice::new(&[0])], &rights, flags, None)?;
        Ok(())
    }

    /// The child waits for a client. While it waits it holds a descriptor in reserve, so that there
    /// is always one for the client: the kernel would close one for which there is none.
    pub fn take(&self) -> nix::Result<Taken> {
        let fd = self.0.as_raw_fd();
        let reserve = dup(&self.0)?;
        recv(fd, &mut [0], MsgFlags::MSG_PEEK)?;
        drop(reserve);
        let mut byte = [0];
        let mut buffer = [IoSliceMut::new(&mut byte)];
        let mut space = nix::cmsg_space!(RawFd);
        let message = recvmsg::<()>(
            fd,
            &mut buffer,
            Some(&mut space),
            MsgFlags::MSG_CMSG_CLOEXEC,
        )?;
        if message.bytes == 0 {
            return Ok(Taken::End);
        }
        // ENOBUFS: the descriptor did not fit into the message's space or the process's table.
        for rights in message.cmsgs().into_iter().flatten() {
            if let ControlMessageOwned::ScmRights(descriptors) = rights
                && let Some(&client) = descriptors.first()
            {
                return Ok(Taken::Client(stream(client)));
            }
        }
        Ok(Taken::Lost)
    }

    /// The child has no client any more.
    pub fn report_idle(&self) -> nix::Result<()> {
        send(self.0.as_raw_fd(), &[0], MsgFlags::MSG_NOSIGNAL).map(drop)
    }

    /// The parent takes such a report; false when the child is gone.
    pub fn took_report(&self) -> bool {
        recv(self.0.as_raw_fd(), &mut [0], MsgFlags::MSG_DONTWAIT).is_ok_and(|n| n > 0)
    }

    /// The child takes no more than what was given already: the parent gets EPIPE.
    pub fn take_no_more(&self) {
        // It fails where the parent is gone.
        let _ = shutdown(self.0.as_raw_fd(), Shutdown::Read);
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What a child got.
#[derive(Debug)]
pub enum Taken {
    /// A client.
    Client(TcpStream),
    /// A client for which this process had no descriptor left; the kernel has closed it.
    Lost,
    /// No client will come any more.
    End,
}

#[allow(unsafe_code, reason = "nix hands out what came as a bare number")]
fn stream(client: RawFd) -> TcpStream {
    // SAFETY: the kernel has just installed it, and nothing else knows of it.
    unsafe { OwnedFd::from_raw_fd(client) }.into()
}

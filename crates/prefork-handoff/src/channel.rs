//! The channel over which a parent hands a client to its child (unix(7), `SCM_RIGHTS`).

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::thread;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recv,
    recvmsg, send, sendmsg, socketpair,
};
use nix::unistd::dup;
use serverkit::accept::{RETRY, Socket};
use serverkit::trace;

/// One end of the channel. A message to the child is the number of a client, and its descriptor
/// comes with it. A message on the way back says nothing: what counts is that it comes.
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
    pub fn give(&self, client: &Socket) -> nix::Result<()> {
        let number = client.number().to_ne_bytes();
        let descriptors = [client.as_raw_fd()];
        let rights = [ControlMessage::ScmRights(&descriptors)];
        let (fd, flags) = (self.0.as_raw_fd(), MsgFlags::MSG_NOSIGNAL);
        sendmsg::<()>(fd, &[IoSlice::new(&number)], &rights, flags, None)?;
        Ok(())
    }

    /// The child waits for a client.
    pub fn take(&self) -> nix::Result<Taken> {
        let mut was_reset = false;
        loop {
            match self.try_to_take() {
                // A stop signal. A child without a client ignores it: the parent will close the
                // channel.
                Err(Errno::EINTR) => {}
                // The parent has closed its end before it read a report. This error comes once, and
                // what the parent sent before can still be read.
                Err(Errno::ECONNRESET) if !std::mem::replace(&mut was_reset, true) => {}
                // There is no descriptor for the reserve: the parent's message waits in the
                // channel.
                Err(Errno::EMFILE | Errno::ENFILE) => thread::sleep(RETRY),
                taken => return taken,
            }
        }
    }

    /// While the child waits it holds a descriptor in reserve, so that there is always one for the
    /// client: the kernel would close one for which there is none.
    fn try_to_take(&self) -> nix::Result<Taken> {
        let fd = self.0.as_raw_fd();
        let reserve = dup(&self.0)?;
        let what = || vec!["a client from the parent".to_owned()];
        let waiting = trace::wait("recvfrom", None, what);
        recv(fd, &mut [0], MsgFlags::MSG_PEEK)?;
        waiting.woke(what);
        drop(reserve);
        let mut number = [0; 8];
        let mut buffer = [IoSliceMut::new(&mut number)];
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
                return Ok(Taken::Client(Socket::new(
                    stream(client),
                    u64::from_ne_bytes(number),
                )));
            }
        }
        Ok(Taken::Lost(u64::from_ne_bytes(number)))
    }

    /// The child has no client any more. An error means that the parent will give no other.
    pub fn report_idle(&self) -> nix::Result<()> {
        loop {
            match send(self.0.as_raw_fd(), &[0], MsgFlags::MSG_NOSIGNAL) {
                Err(Errno::EINTR) => {}
                sent => return sent.map(drop),
            }
        }
    }

    /// The parent takes such a report; false when the child is gone.
    pub fn took_report(&self) -> bool {
        recv(self.0.as_raw_fd(), &mut [0], MsgFlags::MSG_DONTWAIT).is_ok_and(|n| n > 0)
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
    Client(Socket),
    /// The client with this number, for which this process had no descriptor left; the kernel has
    /// closed it.
    Lost(u64),
    /// No client will come any more.
    End,
}

#[allow(unsafe_code, reason = "nix hands out what came as a bare number")]
fn stream(client: RawFd) -> std::net::TcpStream {
    // SAFETY: the kernel has just installed it, and nothing else knows of it.
    unsafe { OwnedFd::from_raw_fd(client) }.into()
}

//! The ring: a queue of what the kernel is to do and a queue of what it did, in shared memory.
//!
//! # Safety
//!
//! The kernel reads and writes the memory that an operation names, from its submission to its
//! last completion, whatever the program does meanwhile. What has to hold, for all of them:
//!
//! * [`Ring::receive`] and [`Ring::send`] name bytes of a session. The session is then lent: its
//!   connection neither changes nor frees it before the completion is there, and outlives it.
//!   Where a server fails with operations in flight, the session is leaked.
//! * A multishot receive names no memory but that of the [`BufferRing`], which is never freed.
//! * The other operations name none.
//!
//! [`BufferRing`]: crate::buffers::BufferRing

use std::fmt::{self, Display, Formatter};
use std::io;
use std::net::TcpStream;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use anyhow::ensure;
use nix::errno::Errno;
use nix::libc;
use serverkit::{Context, trace};
use uring::types::{CancelBuilder, Fd, SubmitArgs, Timespec};
use uring::{IoUring, cqueue, opcode, squeue};

use crate::buffers::GROUP;

/// What the kernel was told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Accept one client.
    Accept,
    /// Accept clients until further notice: multishot.
    AcceptMany,
    /// Receive once, into memory of ours.
    Receive,
    /// Receive until further notice, into buffers of the kernel's choice: multishot.
    ReceiveMany,
    /// Send.
    Send,
    /// Tell when a client's socket is readable.
    Poll,
    /// Tell when a stop signal has come.
    StopSignal,
    /// Cancel another operation.
    Cancel,
}

impl Operation {
    const ALL: [Self; 8] = [
        Self::Accept,
        Self::AcceptMany,
        Self::Receive,
        Self::ReceiveMany,
        Self::Send,
        Self::Poll,
        Self::StopSignal,
        Self::Cancel,
    ];

    /// What the kernel hands back with each completion. A key is not used again before the last
    /// completion of all that its client had in flight, so that none is taken for another's.
    fn user_data(self, key: usize) -> u64 {
        (self as u64) << 32 | key as u64
    }
}

/// What the kernel did.
#[derive(Debug, Clone, Copy)]
pub struct Completion {
    /// Which operation.
    pub operation: Operation,
    /// Whose, as it was submitted.
    pub key: usize,
    /// What the system call of that name would have returned.
    pub result: Result<u32, Errno>,
    /// The buffer that was taken from the buffer ring.
    pub buffer: Option<u16>,
    /// The operation goes on and will complete again. Without this a multishot has ended, for
    /// whatever reason, and is to be submitted anew.
    pub more: bool,
}

impl From<cqueue::Entry> for Completion {
    fn from(entry: cqueue::Entry) -> Self {
        Self {
            operation: Operation::ALL[(entry.user_data() >> 32) as usize],
            key: entry.user_data() as u32 as usize,
            result: u32::try_from(entry.result()).map_err(|_| Errno::from_raw(-entry.result())),
            buffer: cqueue::buffer_select(entry.flags()),
            more: cqueue::more(entry.flags()),
        }
    }
}

impl Display for Completion {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: ", self.operation)?;
        match self.result {
            Ok(n) => write!(f, "{n}")?,
            Err(errno) => write!(f, "{errno}")?,
        }
        if let Some(id) = self.buffer {
            write!(f, " in buffer {id}")?;
        }
        f.write_str(if self.more { ", more to come" } else { "" })
    }
}

/// An operation that has not completed for the last time.
pub struct InFlight {
    /// Which.
    pub operation: Operation,
    cancelled: bool,
}

impl InFlight {
    /// Just submitted.
    pub fn new(operation: Operation) -> Self {
        Self {
            operation,
            cancelled: false,
        }
    }
}

/// The two queues.
pub struct Ring {
    context: &'static Context,
    uring: IoUring,
}

impl Ring {
    /// In place of a client's key, for operations of the server's own.
    pub const NOBODY: usize = u32::MAX as usize;

    /// A submission queue of `entries`, and a completion queue twice as long.
    pub fn new(context: &'static Context, entries: u32) -> anyhow::Result<Self> {
        let uring = IoUring::builder()
            // One thread submits and waits, so the kernel can complete what is ready in that
            // thread's wait, and never has to interrupt it.
            .setup_single_issuer()
            .setup_defer_taskrun()
            // An entry that fails at once must not keep the following ones from submission.
            .setup_submit_all()
            .build(entries)
            .map_err(|error| refused(&error))?;
        ensure!(
            uring.params().is_feature_nodrop(),
            "this kernel drops completions when their queue is full"
        );
        Ok(Self { context, uring })
    }

    /// How many completions can be there after one wait: what the queue holds, and one for which
    /// there was no room and with which a multishot ends.
    pub fn most_completions(&self) -> usize {
        self.uring.params().cq_entries() as usize + 1
    }

    /// The queues, to register more with the kernel.
    pub fn uring(&self) -> &IoUring {
        &self.uring
    }

    /// Submits all that was queued, waits for a completion, and puts those that are there into
    /// `completions`. When more came than the queue has room for, the kernel keeps the rest until
    /// the next wait. This is the one place where this server blocks.
    pub fn wait(
        &mut self,
        timeout: Option<Duration>,
        completions: &mut Vec<Completion>,
    ) -> io::Result<()> {
        let queue = self.uring.submitter();
        let entered = match timeout {
            None => queue.submit_and_wait(1),
            Some(timeout) => {
                let timeout = Timespec::from(timeout);
                queue.submit_with_args(1, &SubmitArgs::new().timespec(&timeout))
            }
        };
        let submitted = passing(entered)?;
        completions.clear();
        completions.extend(self.uring.completion().map(Completion::from));
        let kept_back = if self.has_overflowed() {
            ", more than there is room for"
        } else {
            ""
        };
        trace!(
            self.context,
            "io_uring_enter: {submitted} submitted, {} completed{kept_back}",
            completions.len()
        );
        Ok(())
    }

    /// More completions came than the queue has room for: the next wait brings some of them.
    pub fn has_overflowed(&mut self) -> bool {
        self.uring.submission().cq_overflow()
    }

    /// Accepts from `listener`, one client or many.
    pub fn accept(&mut self, listener: &impl AsRawFd, operation: Operation) -> io::Result<()> {
        let listener = Fd(listener.as_raw_fd());
        let entry = match operation {
            Operation::AcceptMany => opcode::AcceptMulti::new(listener)
                .flags(libc::SOCK_CLOEXEC)
                .build(),
            _ => opcode::Accept::new(listener, std::ptr::null_mut(), std::ptr::null_mut())
                .flags(libc::SOCK_CLOEXEC)
                .build(),
        };
        self.push_plain(operation, Self::NOBODY, entry)
    }

    /// Waits until a client's socket is readable.
    pub fn poll(&mut self, socket: &impl AsRawFd, key: usize) -> io::Result<()> {
        let entry = opcode::PollAdd::new(Fd(socket.as_raw_fd()), libc::POLLIN as u32).build();
        self.push_plain(Operation::Poll, key, entry)
    }

    /// Waits until a stop signal has come.
    pub fn await_stop(&mut self, signal: &impl AsRawFd) -> io::Result<()> {
        let entry = opcode::PollAdd::new(Fd(signal.as_raw_fd()), libc::POLLIN as u32).build();
        self.push_plain(Operation::StopSignal, Self::NOBODY, entry)
    }

    /// Receives into the buffer ring, again and again.
    pub fn receive_many(&mut self, socket: &impl AsRawFd, key: usize) -> io::Result<()> {
        let entry = opcode::RecvMulti::new(Fd(socket.as_raw_fd()), GROUP).build();
        self.push_plain(Operation::ReceiveMany, key, entry)
    }

    /// Cancels an operation; all of them, where several are alike. It may have ended before: its
    /// own completion tells.
    pub fn cancel(&mut self, operation: Operation, key: usize) -> io::Result<()> {
        let target = CancelBuilder::user_data(operation.user_data(key)).all();
        let entry = opcode::AsyncCancel2::new(target).build();
        self.push_plain(Operation::Cancel, key, entry)
    }

    /// Cancels what is in flight, unless that was done already; gives the number of cancellations
    /// whose completion is now to be awaited.
    pub fn cancel_once(&mut self, flight: &mut Option<InFlight>, key: usize) -> io::Result<u32> {
        match flight {
            Some(flight) if !flight.cancelled => {
                flight.cancelled = true;
                self.cancel(flight.operation, key)?;
                Ok(1)
            }
            _ => Ok(0),
        }
    }

    /// Receives once, into `space`.
    ///
    /// # Safety
    ///
    /// Until its completion `space` is neither freed nor used: see the module.
    #[allow(unsafe_code, reason = "the kernel writes to the memory later")]
    pub unsafe fn receive(
        &mut self,
        socket: &impl AsRawFd,
        key: usize,
        space: &mut [u8],
        flags: libc::c_int,
    ) -> io::Result<()> {
        let socket = Fd(socket.as_raw_fd());
        let entry = opcode::Recv::new(socket, space.as_mut_ptr(), space.len() as u32)
            .flags(flags)
            .build();
        // SAFETY: the caller's.
        unsafe { self.push(Operation::Receive, key, entry) }
    }

    /// Sends `bytes`, or as many of them as the socket has room for.
    ///
    /// # Safety
    ///
    /// Until its completion `bytes` are neither freed nor changed: see the module.
    #[allow(unsafe_code, reason = "the kernel reads the memory later")]
    pub unsafe fn send(
        &mut self,
        socket: &impl AsRawFd,
        key: usize,
        bytes: &[u8],
    ) -> io::Result<()> {
        let socket = Fd(socket.as_raw_fd());
        let entry = opcode::Send::new(socket, bytes.as_ptr(), bytes.len() as u32)
            .flags(libc::MSG_NOSIGNAL)
            .build();
        // SAFETY: the caller's.
        unsafe { self.push(Operation::Send, key, entry) }
    }

    #[allow(unsafe_code, reason = "an entry can name memory; these do not")]
    fn push_plain(
        &mut self,
        operation: Operation,
        key: usize,
        entry: squeue::Entry,
    ) -> io::Result<()> {
        // SAFETY: accept (without an address), poll, cancel, and receive from a buffer group name
        // no memory of ours. A wrong descriptor is an error in the completion.
        unsafe { self.push(operation, key, entry) }
    }

    /// Queues an entry; submits what is queued when there is no room for it.
    ///
    /// # Safety
    ///
    /// The memory that the entry names is the kernel's until its last completion.
    #[allow(unsafe_code, reason = "an entry can name memory")]
    unsafe fn push(
        &mut self,
        operation: Operation,
        key: usize,
        entry: squeue::Entry,
    ) -> io::Result<()> {
        let entry = entry.user_data(operation.user_data(key));
        // SAFETY: the caller's.
        while unsafe { self.uring.submission().push(&entry) }.is_err() {
            let queued = self.uring.submission().len() as u32;
            trace!(
                self.context,
                "io_uring_enter: {queued} submitted to make room"
            );
            // SAFETY: that many entries are in the queue, and no argument is given. Without
            // GETEVENTS nothing that waits is completed here, in the middle of a turn.
            passing(unsafe {
                self.uring
                    .submitter()
                    .enter::<libc::sigset_t>(queued, 0, 0, None)
            })?;
        }
        Ok(())
    }
}

/// How many entries were submitted; none, where the kernel asks to come back for a reason that
/// passes: a signal (EINTR), the timeout (ETIME), no memory (EAGAIN), or completions that the
/// queue has no room for (EBUSY), and which the next look at the queue takes away.
fn passing(entered: io::Result<usize>) -> io::Result<usize> {
    match entered {
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::EINTR | libc::ETIME | libc::EAGAIN | libc::EBUSY)
            ) =>
        {
            Ok(0)
        }
        entered => entered,
    }
}

/// The socket of a completed accept.
#[allow(
    unsafe_code,
    reason = "io_uring hands out the new socket as a bare number"
)]
pub fn socket(fd: u32) -> TcpStream {
    // SAFETY: the completion has just brought it, and nothing else knows of it.
    unsafe { OwnedFd::from_raw_fd(fd as RawFd) }.into()
}

/// Why there is no ring, in one line that says what to do.
pub fn refused(error: &io::Error) -> anyhow::Error {
    let reason = match error.raw_os_error() {
        Some(libc::ENOSYS) => "this kernel was built without it, or a sandbox hides it",
        Some(libc::EPERM) => {
            "it is forbidden here (sysctl kernel.io_uring_disabled must be 0; containers may \
             forbid it by seccomp)"
        }
        Some(libc::EINVAL) => "this kernel is too old for it: Linux 6.1 is needed",
        Some(libc::ENOMEM) => "no memory for the queues (ulimit -l, or a smaller --entries)",
        _ => "the queues could not be made",
    };
    anyhow::anyhow!("io_uring is not available: {reason}: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_found_again_in_what_the_kernel_hands_back() {
        for operation in Operation::ALL {
            let user_data = operation.user_data(19_999);
            assert_eq!(Operation::ALL[(user_data >> 32) as usize], operation);
            assert_eq!(user_data as u32, 19_999);
        }
    }

    #[test]
    fn a_refusal_is_one_line_that_says_what_to_do() {
        for (errno, told) in [
            (libc::ENOSYS, "built without it"),
            (libc::EPERM, "kernel.io_uring_disabled"),
            (libc::EINVAL, "Linux 6.1"),
            (libc::ENOMEM, "ulimit -l"),
            (libc::EMFILE, "could not be made"),
        ] {
            let line = refused(&io::Error::from_raw_os_error(errno)).to_string();
            assert!(line.starts_with("io_uring is not available: "), "{line}");
            assert!(line.contains(told), "{line}");
            assert!(!line.contains('\n'), "{line}");
        }
    }
}

//! What nix does not have: real-time signals for descriptors, and many of them read at once.

use std::collections::HashMap;
use std::mem::offset_of;
use std::os::fd::{AsFd, AsRawFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::getpid;
use serverkit::clients::STOP;
use serverkit::session::Interest;

/// The kernel's record of one signal, in bytes.
pub const SIGNAL_SIZE: usize = size_of::<libc::signalfd_siginfo>();

/// What the signals say.
#[derive(Debug, Default)]
pub struct Told {
    /// The server is to stop, by this signal.
    pub stop: Option<Signal>,
    /// The queue was full.
    pub overflow: bool,
    /// Descriptors, in the order of their signals, and what they are ready for.
    pub ready: Vec<(RawFd, Interest)>,
}

impl Told {
    /// Adds a batch of the kernel's records. Gives how many descriptors were there before.
    pub fn add(&mut self, batch: &[u8]) -> usize {
        let before = self.ready.len();
        for signal in batch.chunks_exact(SIGNAL_SIZE) {
            let field = |at: usize| i32::from_ne_bytes(std::array::from_fn(|i| signal[at + i]));
            match Signal::try_from(field(offset_of!(libc::signalfd_siginfo, ssi_signo))) {
                Ok(Signal::SIGIO) => self.overflow = true,
                Ok(signal) => self.stop = Some(signal),
                // Of a real-time signal nix does not know the number.
                Err(_) => {
                    let fd = field(offset_of!(libc::signalfd_siginfo, ssi_fd));
                    let band = field(offset_of!(libc::signalfd_siginfo, ssi_band));
                    let is_ready = |events| band & i32::from(events) != 0;
                    let write = is_ready(libc::POLLOUT);
                    let read = !write || is_ready(libc::POLLIN);
                    self.ready.push((fd, Interest { read, write }));
                }
            }
        }
        before
    }
}

impl Told {
    /// The descriptors after the first `known` ones, for the trace.
    pub fn since(
        &self,
        before: usize,
        tokens: &HashMap<RawFd, usize>,
    ) -> impl Iterator<Item = (usize, Option<Interest>)> {
        let ready = self.ready[before..].iter();
        let ready = ready.filter_map(|(fd, ready)| Some((*tokens.get(fd)?, Some(*ready))));
        let stop = self.stop.map(|_| (STOP, None));
        stop.into_iter().chain(ready)
    }
}

/// The signal that reports a ready descriptor.
fn ready_signal() -> libc::c_int {
    libc::SIGRTMIN()
}

/// Has the kernel send this process [`ready_signal`] whenever a non-blocking socket becomes
/// ready to read or to write.
pub fn arm(socket: &impl AsFd) -> nix::Result<()> {
    // From asm-generic/fcntl.h; the libc crate has it for some targets only.
    const F_SETSIG: libc::c_int = 10;
    let fd = socket.as_fd();
    fcntl_number(fd.as_raw_fd(), F_SETSIG, ready_signal())?;
    fcntl_number(fd.as_raw_fd(), libc::F_SETOWN, getpid().as_raw())?;
    fcntl(fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK | OFlag::O_ASYNC))?;
    Ok(())
}

#[allow(unsafe_code, reason = "nix has neither F_SETSIG nor F_SETOWN")]
fn fcntl_number(fd: RawFd, command: libc::c_int, number: libc::c_int) -> nix::Result<()> {
    // SAFETY: both commands take a number and touch no memory of this process.
    Errno::result(unsafe { libc::fcntl(fd, command, number) }).map(drop)
}

/// These signals and [`ready_signal`].
#[allow(unsafe_code, reason = "nix's signals are those without real-time ones")]
pub fn with_ready_signal(signals: SigSet) -> SigSet {
    let mut set = *signals.as_ref();
    // SAFETY: the set is initialised and the number is that of a signal.
    unsafe {
        libc::sigaddset(&raw mut set, ready_signal());
        SigSet::from_sigset_t_unchecked(set)
    }
}

/// Empties the queue: a signal that becomes ignored is thrown away, those that wait included.
#[allow(unsafe_code, reason = "nix's signals are those without real-time ones")]
pub fn discard_ready_signals() -> nix::Result<()> {
    for disposition in [libc::SIG_IGN, libc::SIG_DFL] {
        // SAFETY: neither is a handler, so no code of this process will run on a signal.
        if unsafe { libc::signal(ready_signal(), disposition) } == libc::SIG_ERR {
            return Err(Errno::last());
        }
    }
    Ok(())
}

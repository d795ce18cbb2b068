//! SIGINT, SIGTERM and SIGHUP as a question that a loop asks, so that what finished is kept.

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// The exit code of a command that was interrupted after it kept what finished.
pub const EXIT_CODE: u8 = 130;

/// Holds the signals back from the moment it is made.
#[derive(Debug)]
pub struct Interrupt {
    signals: SignalFd,
    seen: bool,
}

impl Interrupt {
    /// Holds the signals back. Call it before any thread is started: the threads inherit the mask.
    pub fn new() -> nix::Result<Self> {
        let mut set = SigSet::empty();
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            set.add(signal);
        }
        set.thread_block()?;
        let signals = SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        Ok(Self {
            signals,
            seen: false,
        })
    }

    /// Whether the user asked to end. The second time ends the process at once.
    pub fn pending(&mut self) -> bool {
        while let Ok(Some(_)) | Err(Errno::EINTR) = self.signals.read_signal() {
            if self.seen {
                std::process::exit(i32::from(EXIT_CODE));
            }
            self.seen = true;
        }
        self.seen
    }
}

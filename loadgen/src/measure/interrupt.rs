//! SIGINT, SIGTERM and SIGHUP do not end the process: a loop asks whether one came, and keeps what finished. Those that
//! were ignored at the start stay ignored, as with `nohup`.

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use supervisor::is_ignored;

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
        let signals = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];
        // A blocked signal is kept, even one that is ignored.
        for signal in signals.into_iter().filter(|signal| !is_ignored(*signal)) {
            set.add(signal);
        }
        set.thread_block()?;
        let signals = SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        Ok(Self {
            signals,
            seen: false,
        })
    }

    /// Whether the user asked to end. From then on a further Ctrl-C ends the process at once.
    pub fn pending(&mut self) -> bool {
        if !self.seen && matches!(self.signals.read_signal(), Ok(Some(_))) {
            self.seen = true;
            let mut again = SigSet::empty();
            again.add(Signal::SIGINT);
            // If it fails, a second Ctrl-C has no effect.
            let _ = again.thread_unblock();
        }
        self.seen
    }
}

//! SIGTERM and SIGINT become one stop request; a second signal ends the process at once.
//!
//! A loop has one more thing to wait for: [`StopSignal`], a descriptor. A blocking server has
//! nothing to wait with, so there the signal interrupts the system call it is blocked in
//! ([`interrupt_blocking_calls`]) and the server asks [`requested`].

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::sys::signalfd::{SfdFlags, SignalFd};

static REQUESTED: AtomicBool = AtomicBool::new(false);
static SECOND_SIGNAL_ENDS: AtomicBool = AtomicBool::new(true);
/// When the request was first noticed by the code outside of the signal handler.
static NOTICED: OnceLock<Instant> = OnceLock::new();

/// The stop signals, blocked and readable from a descriptor.
#[derive(Debug)]
pub struct StopSignal {
    signals: SignalFd,
}

impl StopSignal {
    /// Blocks the stop signals for the calling thread and those it starts, which must therefore
    /// be started later.
    pub fn new() -> nix::Result<Self> {
        Self::with(&[])
    }

    /// As [`StopSignal::new`], and takes other signals, such as SIGCHLD, from the same descriptor.
    pub fn with(others: &[Signal]) -> nix::Result<Self> {
        let mut set = stop_signals();
        set.extend(others.iter().copied());
        set.thread_block()?;
        let signals = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Self { signals })
    }

    /// Takes the next signal, if there is one. The first stop signal gives the others back to
    /// the kernel: the next one ends the process.
    pub fn take(&self) -> nix::Result<Option<Signal>> {
        let Some(info) = self.signals.read_signal()? else {
            return Ok(None);
        };
        let signal = Signal::try_from(info.ssi_signo.cast_signed())?;
        if stop_signals().contains(signal) {
            stop_signals().thread_unblock()?;
        }
        Ok(Some(signal))
    }
}

impl AsFd for StopSignal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.signals.as_fd()
    }
}

impl AsRawFd for StopSignal {
    fn as_raw_fd(&self) -> RawFd {
        self.signals.as_raw_fd()
    }
}

/// Whether this is one of the signals that stop a server.
pub fn is_stop(signal: Signal) -> bool {
    stop_signals().contains(signal)
}

/// SIGTERM and SIGINT.
pub fn stop_signals() -> SigSet {
    [Signal::SIGTERM, Signal::SIGINT].into_iter().collect()
}

/// From now on a stop signal interrupts blocking system calls with EINTR and sets [`requested`].
///
/// A signal that comes just before the call would be too early to interrupt it: a timer
/// interrupts again, every 20 ms, until the process has ended.
pub fn interrupt_blocking_calls() -> nix::Result<()> {
    install(&[Signal::SIGTERM, Signal::SIGINT, Signal::SIGALRM])
}

/// As [`interrupt_blocking_calls`], for a child whose parent sees to the second signal: the
/// terminal sends SIGINT to both, and then the parent sends SIGTERM.
pub fn interrupt_blocking_calls_in_child() -> nix::Result<()> {
    SECOND_SIGNAL_ENDS.store(false, Relaxed);
    interrupt_blocking_calls()?;
    stop_signals().thread_unblock()
}

/// A stop was requested ([`interrupt_blocking_calls`]).
pub fn requested() -> bool {
    REQUESTED.load(Relaxed)
}

/// A stop was requested, and `grace` has passed since.
pub fn overdue(grace: Duration) -> bool {
    requested() && NOTICED.get_or_init(Instant::now).elapsed() >= grace
}

#[allow(unsafe_code, reason = "a signal handler is installed")]
fn install(signals: &[Signal]) -> nix::Result<()> {
    // Without SA_RESTART: the interrupted call returns.
    let action = SigAction::new(
        SigHandler::Handler(on_signal),
        SaFlags::empty(),
        SigSet::empty(),
    );
    for &signal in signals {
        // SAFETY: the handler touches atomics and makes async-signal-safe system calls only.
        unsafe { sigaction(signal, &action) }?;
    }
    Ok(())
}

#[allow(
    unsafe_code,
    reason = "system calls that are allowed in a signal handler"
)]
extern "C" fn on_signal(signal: libc::c_int) {
    if signal == libc::SIGALRM {
        return;
    }
    if REQUESTED.swap(true, Relaxed) {
        if SECOND_SIGNAL_ENDS.load(Relaxed) {
            // SAFETY: _exit is async-signal-safe and does not return.
            unsafe { libc::_exit(128 + signal) }
        }
        return;
    }
    let again = libc::timeval {
        tv_sec: 0,
        tv_usec: 20_000,
    };
    let timer = libc::itimerval {
        it_interval: again,
        it_value: again,
    };
    // SAFETY: the timer is initialised; setitimer is a bare system call, and errno is put back.
    unsafe {
        let errno = *libc::__errno_location();
        libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut());
        *libc::__errno_location() = errno;
    }
}

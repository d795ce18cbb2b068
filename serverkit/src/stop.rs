//! SIGTERM and SIGINT become one stop request; a second signal ends the process at once.
//!
//! A loop has one more thing to wait for: [`StopSignal`], a descriptor. A blocking server has
//! nothing to wait with, so there the signal interrupts the system call it is blocked in, and the
//! server asks [`requested`]: [`interrupt_blocking_calls`] where one thread serves, [`watch`] and
//! [`interrupt`] where there are several.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use nix::libc;
use nix::sys::pthread::{Pthread, pthread_kill};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::listener::Listener;

/// A signal that comes just before a blocking call is too early to interrupt it: until the end it
/// is sent again after this time.
pub const INTERRUPT_AGAIN: Duration = Duration::from_millis(20);

/// Threads and children see to the end of the grace themselves. Whoever waits for them gives them
/// this much longer.
pub const ALLOWANCE: Duration = Duration::from_millis(100);

/// The listener that the signal handler closes, or -1.
static LISTENER: AtomicI32 = AtomicI32::new(-1);
static REQUESTED: AtomicBool = AtomicBool::new(false);
static SECOND_SIGNAL_ENDS: AtomicBool = AtomicBool::new(true);
/// When the request was first noticed by the code outside of the signal handler.
static NOTICED: OnceLock<Instant> = OnceLock::new();

/// The stop signals, blocked and readable from a descriptor.
#[derive(Debug)]
pub struct StopSignal {
    signals: SignalFd,
    second_signal_ends: bool,
}

impl StopSignal {
    /// Blocks the stop signals for the calling thread and those it starts, which must therefore
    /// be started later.
    pub fn new() -> nix::Result<Self> {
        Self::take_from_kernel(stop_signals(), true)
    }

    /// As [`StopSignal::new`], for the parent of processes: it takes SIGCHLD from the same
    /// descriptor, and the second stop signal as well, for there are children to be ended first.
    pub fn of_parent() -> nix::Result<Self> {
        let mut set = stop_signals();
        set.add(Signal::SIGCHLD);
        Self::take_from_kernel(set, false)
    }

    fn take_from_kernel(set: SigSet, second_signal_ends: bool) -> nix::Result<Self> {
        set.thread_block()?;
        let signals = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Self {
            signals,
            second_signal_ends,
        })
    }

    /// Takes the next signal, if there is one. Except in a parent, the first stop signal gives the
    /// others back to the kernel: the next one ends the process.
    pub fn take(&self) -> nix::Result<Option<Signal>> {
        let Some(info) = self.signals.read_signal()? else {
            return Ok(None);
        };
        let signal = Signal::try_from(info.ssi_signo.cast_signed())?;
        if self.second_signal_ends {
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

/// SIGTERM and SIGINT.
pub fn stop_signals() -> SigSet {
    [Signal::SIGTERM, Signal::SIGINT].into_iter().collect()
}

/// From now on a stop signal closes the listener, sets [`requested`] and interrupts blocking
/// system calls with EINTR, again and again ([`INTERRUPT_AGAIN`]), until the process has ended.
pub fn interrupt_blocking_calls(listener: &Listener) -> nix::Result<()> {
    LISTENER.store(listener.as_raw_fd(), Relaxed);
    install(&[Signal::SIGTERM, Signal::SIGINT, Signal::SIGALRM])
}

/// As [`interrupt_blocking_calls`], for a child whose parent sees to the listener and to the
/// second signal: the terminal sends SIGINT to both, and then the parent sends SIGTERM.
pub fn interrupt_blocking_calls_in_child() -> nix::Result<()> {
    SECOND_SIGNAL_ENDS.store(false, Relaxed);
    install(&[Signal::SIGTERM, Signal::SIGINT, Signal::SIGALRM])?;
    stop_signals().thread_unblock()
}

/// For servers of several blocking threads: a thread of its own waits for the stop signal, sets
/// [`requested`] and calls `wake`. The second signal ends the process.
///
/// Threads that were started before would take the signals away.
pub fn watch(wake: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    stop_signals().thread_block()?;
    install(&[Signal::SIGALRM])?;
    std::thread::Builder::new()
        .name("stop".to_owned())
        .spawn(move || {
            // They fail for signals that do not exist only.
            let _ = stop_signals().wait();
            let _ = stop_signals().thread_unblock();
            REQUESTED.store(true, Relaxed);
            wake();
            loop {
                std::thread::park();
            }
        })
        .map(drop)
}

/// After [`watch`], interrupts the blocking call of a thread that has not ended or was not yet
/// joined. To be repeated: see [`INTERRUPT_AGAIN`].
pub fn interrupt(thread: Pthread) {
    // It fails where the thread has ended.
    let _ = pthread_kill(thread, Signal::SIGALRM);
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
        tv_usec: libc::suseconds_t::from(INTERRUPT_AGAIN.subsec_micros()),
    };
    let timer = libc::itimerval {
        it_interval: again,
        it_value: again,
    };
    // SAFETY: the timer is initialised; shutdown is async-signal-safe and setitimer a bare system
    // call; errno is put back.
    unsafe {
        let errno = *libc::__errno_location();
        libc::shutdown(LISTENER.load(Relaxed), libc::SHUT_RD);
        libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut());
        *libc::__errno_location() = errno;
    }
}

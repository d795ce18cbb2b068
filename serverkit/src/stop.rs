//! SIGTERM and SIGINT become one stop request; a second signal ends the process at once. If SIGINT is
//! ignored at the start, it stays ignored: a shell starts a script's background jobs so, and Ctrl-C is
//! not meant for them.
//!
//! A loop has one more thing to wait for: [`StopSignal`], a descriptor. A blocking server has
//! nothing to wait with, so there the signal interrupts the system call it is blocked in, and the
//! server asks [`requested`]: [`interrupt_blocking_calls`] where one thread serves, and [`interrupt`]
//! where there are several ([`crate::workers::watch`]).

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::errno::Errno;
use nix::libc;
use nix::sys::pthread::{Pthread, pthread_kill};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal};
use nix::sys::signal::{sigaction, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd, siginfo};

use crate::trace::{self, Event};

/// A signal that comes just before a blocking call is too early to interrupt it: until the end it
/// is sent again after this time.
pub const INTERRUPT_AGAIN: Duration = Duration::from_millis(20);

/// Threads and children see to the end of the grace themselves. Whoever waits for them gives them
/// this much longer.
pub const ALLOWANCE: Duration = Duration::from_millis(100);

/// The signal with which a parent asks a child to stop.
pub const STOP_OF_CHILD: Signal = Signal::SIGUSR1;

/// The signal that requested a stop; 0: none has come.
static SIGNAL: AtomicI32 = AtomicI32::new(0);
/// The stop was written to the trace.
static TOLD: AtomicBool = AtomicBool::new(false);
/// When the request was first noticed by the code outside of the signal handler.
static NOTICED: OnceLock<Instant> = OnceLock::new();

/// Undoes what the parent has left behind: exec keeps blocked signals blocked and ignored ones
/// ignored. Without SIGTERM a server would not learn that it is to end. SIGCHLD stays
/// ignored until a server wants it ([`signals_of_parent`]): so the kernel reaps the orphans that
/// the first process of a container is given.
pub fn reset_inherited_signals() -> nix::Result<()> {
    for signal in [Signal::SIGALRM, Signal::SIGIO] {
        handle(signal, SigHandler::SigDfl)?;
    }
    handle(Signal::SIGCHLD, SigHandler::SigIgn)?;
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)
}

/// The stop signals, blocked and readable from a descriptor.
#[derive(Debug)]
pub struct StopSignal(SignalFd);

impl StopSignal {
    /// Blocks the stop signals for the calling thread and those it starts, which must therefore
    /// be started later.
    pub fn new() -> anyhow::Result<Self> {
        receive(&stop_signals()).map(Self)
    }

    /// Takes the stop signal; false if none has come. The next one ends the process.
    pub fn take(&self) -> anyhow::Result<bool> {
        let signal = read(&self.0)?;
        if let Some(signal) = signal {
            let_second_signal_end(signal.ssi_signo.cast_signed())?;
        }
        Ok(signal.is_some())
    }
}

/// The signal that waits, if one does.
pub(crate) fn read(signals: &SignalFd) -> anyhow::Result<Option<siginfo>> {
    loop {
        match signals.read_signal() {
            Err(Errno::EINTR) => {}
            result => return result.context("signalfd"),
        }
    }
}

impl AsFd for StopSignal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// For the parent of processes: the stop signals and SIGCHLD. It takes the second stop signal as
/// well, for there are children to be ended first.
pub fn signals_of_parent() -> anyhow::Result<SignalFd> {
    handle(Signal::SIGCHLD, SigHandler::SigDfl)?;
    // A child that was just forked is not to be ended by it.
    SigSet::from(STOP_OF_CHILD).thread_block()?;
    let mut signals = stop_signals();
    signals.add(Signal::SIGCHLD);
    receive(&signals)
}

fn receive(signals: &SigSet) -> anyhow::Result<SignalFd> {
    signals.thread_block()?;
    SignalFd::with_flags(signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .context("cannot receive signals: signalfd")
}

/// SIGTERM, and SIGINT unless it was ignored at the start.
pub fn stop_signals() -> SigSet {
    let mut signals = SigSet::from(Signal::SIGTERM);
    if !is_ignored(Signal::SIGINT) {
        signals.add(Signal::SIGINT);
    }
    signals
}

/// The first stop signal, this one, was taken from a descriptor; the next one ends the process. Not by its
/// default action: the parent may have set the signal to be ignored, and the kernel drops it for
/// the first process of a container.
pub fn let_second_signal_end(signal: libc::c_int) -> nix::Result<()> {
    request(signal);
    interrupt_blocking_calls()?;
    stop_signals().thread_unblock()
}

/// From now on a stop signal sets [`requested`] and interrupts blocking system calls with EINTR,
/// again and again ([`INTERRUPT_AGAIN`]), until the process has ended. A second one ends it at once.
pub fn interrupt_blocking_calls() -> nix::Result<()> {
    for signal in &stop_signals() {
        handle(signal, SigHandler::Handler(on_stop_signal))?;
    }
    Ok(())
}

/// As [`interrupt_blocking_calls`], for a child: it obeys its parent's [`STOP_OF_CHILD`] alone. The
/// stop signals stay blocked: the terminal sends SIGINT to the whole group, and the parent sees to
/// that and to the second one.
pub fn interrupt_blocking_calls_in_child() -> nix::Result<()> {
    handle(STOP_OF_CHILD, SigHandler::Handler(begin_interrupting))?;
    SigSet::from(STOP_OF_CHILD).thread_unblock()
}

/// Waits for the stop signal, which all threads must have blocked. Then [`requested`] is true, and
/// the second signal ends the process.
pub fn wait() {
    let signals = || vec![trace::STOP.to_string()];
    let waiting = trace::wait("rt_sigtimedwait", None, signals);
    // They fail only for signals that do not exist.
    let signal = stop_signals().wait().unwrap_or(Signal::SIGTERM);
    waiting.woke(signals);
    let _ = handle(Signal::SIGALRM, SigHandler::Handler(on_interrupt));
    let _ = let_second_signal_end(signal as libc::c_int);
}

/// After [`wait`], interrupts the blocking call of a thread that has not ended or was not yet
/// joined.
pub fn interrupt(thread: Pthread) {
    // It fails where the thread has ended.
    let _ = pthread_kill(thread, Signal::SIGALRM);
}

/// From now on a stop is [`requested`], by this signal.
pub fn request(signal: libc::c_int) {
    SIGNAL.store(signal, Relaxed);
    requested();
}

/// A stop was requested.
pub fn requested() -> bool {
    let signal = SIGNAL.load(Relaxed);
    if signal != 0 && trace::is_on() && !TOLD.swap(true, Relaxed) {
        match Signal::try_from(signal) {
            // The stop of a child is in the trace of its parent already.
            Ok(STOP_OF_CHILD) | Err(_) => {}
            Ok(signal) => trace::tell(|| Event::Stop {
                why: signal.as_str(),
            }),
        }
    }
    signal != 0
}

/// The end of the grace, once a stop was requested.
pub fn requested_until(grace: Duration) -> Option<Instant> {
    requested().then(|| *NOTICED.get_or_init(Instant::now) + grace)
}

/// A stop was requested, and `grace` has passed since.
pub fn overdue(grace: Duration) -> bool {
    requested_until(grace).is_some_and(|end| end <= Instant::now())
}

#[allow(unsafe_code, reason = "nix cannot ask without changing it")]
fn is_ignored(signal: Signal) -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: with no new action it only writes the present one, and if it succeeds that is initialised.
    unsafe {
        let asked = libc::sigaction(signal as i32, std::ptr::null(), action.as_mut_ptr());
        asked == 0 && action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}

#[allow(unsafe_code, reason = "a signal handler is installed")]
fn handle(signal: Signal, handler: SigHandler) -> nix::Result<()> {
    // Without SA_RESTART: the interrupted call returns.
    let action = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
    // SAFETY: the handlers touch atomics and make async-signal-safe calls only.
    unsafe { sigaction(signal, &action) }?;
    Ok(())
}

/// Its only purpose is to interrupt a call.
extern "C" fn on_interrupt(_: libc::c_int) {}

extern "C" fn on_stop_signal(signal: libc::c_int) {
    if SIGNAL.load(Relaxed) != 0 {
        #[allow(
            unsafe_code,
            reason = "a system call that is allowed in a signal handler"
        )]
        // SAFETY: _exit is async-signal-safe and does not return.
        unsafe {
            libc::_exit(128 + signal)
        }
    }
    begin_interrupting(signal);
}

#[allow(
    unsafe_code,
    reason = "system calls that are allowed in a signal handler"
)]
extern "C" fn begin_interrupting(signal: libc::c_int) {
    SIGNAL.store(signal, Relaxed);
    // Only now: an alarm that the parent has set means something to it until then.
    let _ = handle(Signal::SIGALRM, SigHandler::Handler(on_interrupt));
    let again = libc::timeval {
        tv_sec: 0,
        tv_usec: libc::suseconds_t::from(INTERRUPT_AGAIN.subsec_micros()),
    };
    let timer = libc::itimerval {
        it_interval: again,
        it_value: again,
    };
    // SAFETY: the timer is initialised; setitimer is a bare system call; errno is put back.
    unsafe {
        let errno = *libc::__errno_location();
        libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut());
        *libc::__errno_location() = errno;
    }
}

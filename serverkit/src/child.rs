//! Processes that serve for their parent.

use std::panic::{AssertUnwindSafe, catch_unwind};

use nix::errno::Errno;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{ForkResult, Pid, fork, getpid, getppid};

use crate::stop;

/// Forks a child that runs `body` and exits.
///
/// The child has a copy of every descriptor of the parent's: `body` closes those that must not
/// stay open as long as the child. It does not outlive the parent, not even one that was killed,
/// and a stop signal interrupts its blocking calls.
///
/// Its exit code is 0 when `body` returned. The caller is a process of one thread with the stop signals blocked
/// ([`stop::StopSignal`]).
#[allow(unsafe_code, reason = "there is no safe way to fork")]
pub fn start(body: impl FnOnce()) -> nix::Result<Pid> {
    let parent = getpid();
    // SAFETY: no other thread can hold a lock at this moment that nobody would release in the
    // child, so the child may do all that the parent may.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            let set_up = || -> nix::Result<()> {
                set_pdeathsig(Signal::SIGKILL)?;
                // A parent that ended before that can send no signal any more.
                if getppid() != parent {
                    return Err(Errno::ESRCH);
                }
                stop::interrupt_blocking_calls_in_child()
            };
            // A panic must not unwind into what is the parent's.
            let served = catch_unwind(AssertUnwindSafe(|| set_up().map(|()| body())));
            std::process::exit(i32::from(!matches!(served, Ok(Ok(())))))
        }
    }
}

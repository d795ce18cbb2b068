//! Processes that serve for their parent.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context as _, bail};
use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::sys::signalfd::SignalFd;
use nix::unistd::{ForkResult, Pid, fork, getpid, getppid};

use crate::context::Context;
use crate::deadlines::millis;
use crate::{stop, trace};

/// This process, as the parent of others. It takes its signals from a descriptor.
#[derive(Debug)]
pub struct Parent {
    context: &'static Context,
    pid: Pid,
    signals: SignalFd,
    /// Those that were not waited for, each with the number that the server gave it. Nobody else
    /// waits for them, so as long as one is here no other process has its process number.
    children: HashMap<Pid, usize>,
}

/// What a parent was told; `T` names a descriptor.
#[derive(Debug)]
pub struct News<T> {
    /// A stop was requested: [`stop::requested`] is true from now on, also for children that are
    /// started later.
    pub stop: bool,
    /// The numbers of the children that have ended, and how.
    pub ended: Vec<(usize, ExitStatus)>,
    /// The descriptors that can be read.
    pub ready: Vec<T>,
}

impl Parent {
    /// Blocks the stop signals and SIGCHLD, and has a first child set itself up and end: what is
    /// not allowed here is an error before clients come.
    ///
    /// # Safety
    ///
    /// This process has one thread, and starts no other as long as it starts children. A lock that
    /// another thread holds at the moment of a fork would never be released in the child.
    #[allow(unsafe_code, reason = "only the caller knows about threads")]
    pub unsafe fn new(context: &'static Context) -> anyhow::Result<Self> {
        let mut parent = Self {
            context,
            pid: getpid(),
            signals: stop::signals_of_parent()?,
            children: HashMap::new(),
        };
        parent.start(0, || 0).context("cannot start a process")?;
        let first = parent.reap(0).pop().map(|(_, status)| status);
        match first.and_then(|status| status.code()) {
            Some(0) => Ok(parent),
            Some(code) => Err(Errno::from_raw(code))
                .context("a child process cannot set itself up (prctl, sigaction)"),
            None => bail!("a child process ended at once: {first:?}"),
        }
    }

    /// Forks a child that runs `body` and exits with the code that this returns.
    ///
    /// The child has a copy of every descriptor of the parent's: `body` closes those that must not
    /// stay open as long as the child. It does not outlive the parent, not even one that was
    /// killed. The stop signals are the parent's to deal with: the child obeys [`Parent::stop`],
    /// which interrupts its blocking calls.
    #[allow(unsafe_code, reason = "there is no safe way to fork")]
    pub fn start(&mut self, number: usize, body: impl FnOnce() -> i32) -> nix::Result<()> {
        // SAFETY: there is one thread (see Parent::new), so the child may do all that the parent may.
        if let ForkResult::Parent { child } = unsafe { fork() }? {
            trace!(self.context, "fork: process {child} is number {number}");
            self.children.insert(child, number);
            return Ok(());
        }
        let run = || match set_up(self.pid) {
            Ok(()) => body(),
            Err(errno) => errno as i32,
        };
        // A panic must not unwind into what is the parent's. 101: as of a program that panics.
        let code = catch_unwind(AssertUnwindSafe(run)).unwrap_or(101);
        // SAFETY: it does not return. Unlike exit it does not print again what the parent could not
        // yet print.
        unsafe { libc::_exit(code) }
    }

    /// Waits until a signal has come, one of `others` can be read or the time is over. A second stop
    /// signal ends the children and the process at once. The children see to the grace of a stop
    /// themselves: those that are still there shortly after it are ended.
    pub fn wait<'a, T>(
        &mut self,
        others: impl IntoIterator<Item = (T, BorrowedFd<'a>)>,
        timeout: Option<Duration>,
    ) -> anyhow::Result<News<T>> {
        let (names, others): (Vec<T>, Vec<BorrowedFd>) = others.into_iter().unzip();
        let mut entries: Vec<PollFd> = std::iter::once(self.signals.as_fd())
            .chain(others)
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        let again = stop::requested().then_some(stop::INTERRUPT_AGAIN);
        let timeout = [timeout, again].into_iter().flatten().min();
        match poll(&mut entries, PollTimeout::from(millis(timeout))) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno).context("poll"),
        }
        let mut is_ready = entries.iter().map(|entry| entry.any().unwrap_or(false));
        let is_signalled = is_ready.next() == Some(true);
        let ready = std::iter::zip(is_ready, names)
            .filter_map(|(is_ready, name)| is_ready.then_some(name))
            .collect();
        let (mut stop, mut ended) = (false, Vec::new());
        if is_signalled && let Some(signal) = self.signals.read_signal()? {
            let signal = signal.ssi_signo.cast_signed();
            if signal == Signal::SIGCHLD as i32 {
                ended = self.reap(libc::WNOHANG);
            } else if stop::requested() {
                self.kill();
                std::process::exit(128 + signal);
            } else {
                stop::request();
                stop = true;
            }
        }
        if stop::overdue(self.context.options.grace + stop::ALLOWANCE) {
            ended.extend(self.kill());
        }
        Ok(News { stop, ended, ready })
    }

    /// How many children have not ended.
    pub fn children(&self) -> usize {
        self.children.len()
    }

    /// Asks all children to stop: each answers what its client has sent.
    pub fn stop(&self) {
        self.signal(stop::STOP_OF_CHILD);
    }

    /// Ends all children at once, and waits for them. Gives their numbers, and how they ended.
    pub fn kill(&mut self) -> Vec<(usize, ExitStatus)> {
        self.signal(Signal::SIGKILL);
        self.reap(0)
    }

    fn signal(&self, signal: Signal) {
        for &pid in self.children.keys() {
            // It fails where the child has ended.
            let _ = kill(pid, signal);
        }
    }

    /// Takes processes that have ended out of the table of processes: with `WNOHANG` those that are
    /// there, else all children. There may be others that this program has not started: the shell
    /// that became this program may have had children, and the first process of a container is given
    /// all orphans.
    #[allow(
        unsafe_code,
        reason = "nix reports an error for a child that a real-time signal has killed"
    )]
    fn reap(&mut self, flags: i32) -> Vec<(usize, ExitStatus)> {
        let mut ended = Vec::new();
        while flags == libc::WNOHANG || !self.children.is_empty() {
            let mut status = 0;
            // SAFETY: the status is written to where the pointer says.
            let pid = unsafe { libc::waitpid(-1, &raw mut status, flags) };
            if pid > 0 {
                let status = ExitStatus::from_raw(status);
                trace!(self.context, "waitpid: process {pid}: {status}");
                let number = self.children.remove(&Pid::from_raw(pid));
                ended.extend(number.map(|number| (number, status)));
            } else if pid == 0 || Errno::last() != Errno::EINTR {
                break;
            }
        }
        ended
    }
}

/// What a child does before its work.
fn set_up(parent: Pid) -> nix::Result<()> {
    set_pdeathsig(Signal::SIGKILL)?;
    // A parent that ended before that can send no signal any more.
    if getppid() != parent {
        return Err(Errno::ESRCH);
    }
    stop::interrupt_blocking_calls_in_child()
}

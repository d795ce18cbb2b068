//! Processes that serve for their parent.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
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
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::{ForkResult, Pid, fork, getpid, getppid};

use crate::deadlines::millis;
use crate::stop::{self, StopSignal};

/// This process, as the parent of others. It takes its signals from a descriptor.
#[derive(Debug)]
pub struct Parent {
    pid: Pid,
    stop_signal: StopSignal,
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
    pub unsafe fn new() -> anyhow::Result<Self> {
        let parent = Self {
            pid: getpid(),
            stop_signal: StopSignal::of_parent()?,
        };
        let first = parent.start(|| 0).context("cannot start a process")?;
        match first.wait()? {
            WaitStatus::Exited(_, 0) => Ok(parent),
            WaitStatus::Exited(_, code) => {
                let why = Errno::from_raw(code);
                Err(why).context("a child process cannot set itself up (prctl, sigaction)")
            }
            end => bail!("a child process ended at once: {end:?}"),
        }
    }

    /// Forks a child that runs `body` and exits with the code that this returns.
    ///
    /// The child has a copy of every descriptor of the parent's: `body` closes those that must not
    /// stay open as long as the child. It does not outlive the parent, not even one that was
    /// killed. The stop signals are the parent's to deal with: the child obeys [`Child::stop`],
    /// which interrupts its blocking calls.
    #[allow(unsafe_code, reason = "there is no safe way to fork")]
    pub fn start(&self, body: impl FnOnce() -> i32) -> nix::Result<Child> {
        // SAFETY: there is one thread (see Parent::new), so the child may do all that the parent may.
        match unsafe { fork() }? {
            ForkResult::Parent { child: pid } => Ok(Child { pid }),
            ForkResult::Child => {
                // A panic must not unwind into what is the parent's.
                let served = catch_unwind(AssertUnwindSafe(|| set_up(self.pid).map(|()| body())));
                let code = match served {
                    Ok(Ok(code)) => code,
                    Ok(Err(errno)) => errno as i32,
                    // As of a program that panics.
                    Err(_) => 101,
                };
                // SAFETY: it does not return. Unlike exit it does not print again what the parent
                // could not yet print.
                unsafe { libc::_exit(code) }
            }
        }
    }

    /// Waits until a signal has come, one of `others` can be read or the time is over. Gives the
    /// signal and the names of the others.
    pub fn wait<'a, T>(
        &self,
        others: impl IntoIterator<Item = (T, BorrowedFd<'a>)>,
        timeout: Option<Duration>,
    ) -> anyhow::Result<(Option<News>, Vec<T>)> {
        let (names, others): (Vec<T>, Vec<BorrowedFd>) = others.into_iter().unzip();
        let mut entries: Vec<PollFd> = std::iter::once(self.stop_signal.as_fd())
            .chain(others)
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        match poll(&mut entries, PollTimeout::from(millis(timeout))) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno).context("poll"),
        }
        let mut is_ready = entries.iter().map(|entry| entry.any().unwrap_or(false));
        let news = match is_ready.next() {
            Some(true) => self.take_news()?,
            _ => None,
        };
        let ready = std::iter::zip(is_ready, names)
            .filter_map(|(is_ready, name)| is_ready.then_some(name))
            .collect();
        Ok((news, ready))
    }

    fn take_news(&self) -> nix::Result<Option<News>> {
        let is_first = !stop::requested();
        Ok(self.stop_signal.take()?.map(|signal| match signal {
            Signal::SIGCHLD => News::ChildEnded,
            _ if is_first => News::Stop,
            signal => News::EndAtOnce(128 + signal as i32),
        }))
    }

    /// The next process that has ended, taken out of the table of processes. It may be one that
    /// this program has not started: the shell that became this program may have had children, and
    /// the first process of a container is given all orphans.
    #[allow(
        unsafe_code,
        reason = "nix reports an error for a child that a real-time signal has killed"
    )]
    pub fn reap(&self) -> Option<(Pid, ExitStatus)> {
        let mut status = 0;
        loop {
            // SAFETY: the status is written to where the pointer says.
            let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
            if pid > 0 {
                return Some((Pid::from_raw(pid), ExitStatus::from_raw(status)));
            }
            if pid == 0 || Errno::last() != Errno::EINTR {
                return None;
            }
        }
    }
}

/// What a signal tells a parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// One child has ended, or several: see [`Parent::reap`].
    ChildEnded,
    /// A stop was requested: [`stop::requested`] is true from now on, also for children that are
    /// started later.
    Stop,
    /// A second stop signal: the process is to end with this exit code, and no child is to be left.
    EndAtOnce(i32),
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

/// A child of this process that was not waited for yet.
#[derive(Debug)]
pub struct Child {
    pid: Pid,
}

impl Child {
    /// Its number: its name until [`Parent::reap`] has told it.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Asks it to stop: it answers what its client has sent.
    pub fn stop(&self) {
        self.signal(stop::STOP_OF_CHILD);
    }

    /// Ends it at once.
    pub fn kill(&self) {
        self.signal(Signal::SIGKILL);
    }

    /// Sends a signal to the child, or to nobody if it has ended.
    fn signal(&self, signal: Signal) {
        let sent = match pidfd_open(self.pid) {
            // From here on it is one process and no other. Is it this child?
            Ok(process) => {
                let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
                waitid(Id::PIDFd(process.as_fd()), flags)
                    .and_then(|_| pidfd_send_signal(&process, signal))
            }
            // No descriptor to be had. Nobody else waits for this child, so the number is its own.
            Err(_) => kill(self.pid, signal),
        };
        // It fails where the child has ended.
        let _ = sent;
    }

    /// Waits for its end. An error stands for the end by a real-time signal, too.
    pub fn wait(self) -> nix::Result<WaitStatus> {
        loop {
            match waitid(Id::Pid(self.pid), WaitPidFlag::WEXITED) {
                Err(Errno::EINTR) => {}
                result => return result,
            }
        }
    }
}

#[allow(unsafe_code, reason = "nix does not have this system call")]
fn pidfd_open(pid: Pid) -> nix::Result<OwnedFd> {
    // SAFETY: a bare system call.
    let fd = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) })?;
    // SAFETY: the kernel has just made it, and nothing else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

#[allow(unsafe_code, reason = "nix does not have this system call")]
fn pidfd_send_signal(process: &OwnedFd, signal: Signal) -> nix::Result<()> {
    let (fd, no_info, flags) = (process.as_raw_fd(), std::ptr::null::<()>(), 0);
    // SAFETY: a bare system call; the descriptor is open, and no information comes along.
    let sent = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            fd,
            signal as i32,
            no_info,
            flags,
        )
    };
    Errno::result(sent).map(drop)
}

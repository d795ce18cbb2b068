//! Processes that serve for their parent: one for each client, or workers that are made ahead and
//! replaced when they die.

use std::collections::{HashMap, HashSet};
use std::ffi::CString;
use std::fmt::Display;
use std::io;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl::{set_name, set_pdeathsig};
use nix::sys::signal::{Signal, kill};
use nix::sys::signalfd::SignalFd;
use nix::unistd::{ForkResult, Pid, fork, getpid, getppid};

use crate::accept::RETRY;
use crate::context::Context;
use crate::deadlines::millis;
use crate::stop;
use crate::trace::{self, Event};

/// A worker that ends within this time of its start has failed at once: the next one may fail as
/// well.
const AT_ONCE: Duration = Duration::from_secs(1);

/// The pause before workers are started again, after they have failed time after time.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The client number of a trial program. It only shows that programs can be started.
pub const NOBODY: u64 = 0;

// The words for a child in the trace and in messages, before its number, and for what a parent
// waits for.
const CHILD: &str = "child";
const A_CHILD: &str = "the end of a child";

/// This process, as the parent of those that it forks.
#[derive(Debug)]
pub struct Parent {
    children: Children,
    pid: Pid,
}

/// This process, as the parent of others. It takes its signals from a descriptor.
#[derive(Debug)]
pub struct Children {
    context: &'static Context,
    signals: SignalFd,
    /// The children that were not waited for. Nobody else waits for them, so no other process can
    /// get the number of one that is here.
    running: HashMap<Pid, Child>,
    /// No worker is started before that.
    retry_at: Option<Instant>,
    /// How long the last pause was.
    last_pause: Duration,
}

#[derive(Debug)]
struct Child {
    /// The name of a child, such as `worker`.
    number: usize,
    started: Instant,
}

/// A child has ended.
#[derive(Debug)]
pub struct Ended {
    /// The number that the server gave it.
    pub number: usize,
    /// How.
    pub status: ExitStatus,
    /// How long it had run.
    age: Duration,
}

/// What ended a parent's wait; `T` names a descriptor, also in the trace.
#[derive(Debug)]
pub struct News<T> {
    /// A stop was requested: [`stop::requested`] is true from now on, also for children that are
    /// started later.
    pub stop: bool,
    /// The children that have ended.
    pub ended: Vec<Ended>,
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
            children: Children::new(context)?,
            pid: getpid(),
        };
        let started = parent.fork(0, || Ok(()));
        started.context("cannot start a process")?;
        for Ended { status, .. } in parent.reap(0) {
            let why = Errno::from_raw(status.code().unwrap_or_default());
            ensure!(
                status.success(),
                "a child process cannot set itself up (prctl, sigaction): {why}"
            );
        }
        Ok(parent)
    }

    /// Forks a child that runs `body`, and prints on stderr if that fails.
    ///
    /// The child has a copy of every descriptor of the parent's: `body` closes those that must not
    /// stay open as long as the child. It does not outlive the parent, not even one that was
    /// killed. The stop signals are the parent's to deal with: the child obeys [`Parent::stop`],
    /// which interrupts its blocking calls.
    pub fn start(
        &mut self,
        number: usize,
        body: impl FnOnce() -> anyhow::Result<()>,
    ) -> nix::Result<()> {
        self.fork(number, || {
            let result = body();
            tell_end(result.is_ok());
            result
        })?;
        trace::spawned("clone", CHILD, 1 + number);
        Ok(())
    }

    #[allow(unsafe_code, reason = "there is no safe way to fork")]
    fn fork(
        &mut self,
        number: usize,
        body: impl FnOnce() -> anyhow::Result<()>,
    ) -> nix::Result<()> {
        // SAFETY: there is one thread (see Parent::new), so the child may do all that the parent may.
        if let ForkResult::Parent { child } = unsafe { fork() }? {
            self.insert(child, number);
            return Ok(());
        }
        trace::i_am(CHILD, 1 + number);
        let (context, parent) = (self.context, self.pid);
        let run = || {
            if let Err(errno) = set_up(parent) {
                return errno as i32;
            }
            let result = body();
            if let Err(error) = &result {
                context.complain(format_args!("{CHILD} {}: {error:#}", 1 + number));
            }
            i32::from(result.is_err())
        };
        // A panic must not unwind into what is the parent's. 101: as of a program that panics.
        let code = catch_unwind(AssertUnwindSafe(run)).unwrap_or(101);
        // SAFETY: it does not return. Unlike exit it does not print again what the parent could not
        // yet print.
        unsafe { libc::_exit(code) }
    }
}

impl Deref for Parent {
    type Target = Children;

    fn deref(&self) -> &Children {
        &self.children
    }
}

impl DerefMut for Parent {
    fn deref_mut(&mut self) -> &mut Children {
        &mut self.children
    }
}

impl Children {
    /// None yet. Blocks the stop signals and SIGCHLD.
    fn new(context: &'static Context) -> anyhow::Result<Self> {
        trace::name_workers();
        Ok(Self {
            context,
            signals: stop::signals_of_parent()?,
            running: HashMap::new(),
            retry_at: None,
            last_pause: Duration::ZERO,
        })
    }

    /// For programs. `trial` is one for [`NOBODY`] that sets itself up and ends: what is not allowed here
    /// is an error before clients come.
    pub fn of_programs(context: &'static Context, trial: &mut Command) -> anyhow::Result<Self> {
        let mut children = Self::new(context)?;
        let started = trial.spawn();
        let started = started.context("cannot start a program (/proc/self/exe)")?;
        children.insert(Pid::from_raw(started.id().cast_signed()), 0);
        for Ended { status, .. } in children.reap(0) {
            ensure!(
                status.success(),
                "a program cannot set itself up ({status})"
            );
        }
        Ok(children)
    }

    /// Starts a program, which is [`Context::program`] with more to it. It has the signals blocked that this process has
    /// blocked, and calls [`set_up_program`].
    pub fn start_program(&mut self, number: usize, program: &mut Command) -> io::Result<()> {
        let started = program.spawn()?;
        let pid = Pid::from_raw(started.id().cast_signed());
        self.insert(pid, number);
        trace::spawned("clone3", CHILD, 1 + number);
        if stop::requested() {
            // What a forked child would know.
            let _ = kill(pid, stop::STOP_OF_CHILD);
        }
        Ok(())
    }

    fn insert(&mut self, pid: Pid, number: usize) {
        let started = Instant::now();
        self.running.insert(pid, Child { number, started });
    }

    /// Waits until a signal has come, one of `others` can be read or the time is over. A second stop
    /// signal ends the children and the process at once. The children see to the grace of a stop
    /// themselves: those that are still there shortly after it are ended.
    pub fn wait<'a, T: Display>(
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
        let timeout = [timeout, again, self.pause()].into_iter().flatten().min();
        let waiting = trace::wait("poll", timeout, || {
            let child = (!self.running.is_empty()).then(|| A_CHILD.to_owned());
            trace::list(names.iter().map(T::to_string).chain(child))
        });
        match poll(&mut entries, PollTimeout::from(millis(timeout))) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno).context("poll"),
        }
        let mut is_ready = entries.iter().map(|entry| entry.any().unwrap_or(false));
        let is_signalled = is_ready.next() == Some(true);
        let ready: Vec<T> = std::iter::zip(is_ready, names)
            .filter_map(|(is_ready, name)| is_ready.then_some(name))
            .collect();
        let signal = if is_signalled {
            stop::read(&self.signals)?
        } else {
            None
        };
        let signal = signal.map(|signal| signal.ssi_signo.cast_signed());
        let is_child = |signal| signal == Signal::SIGCHLD as i32;
        waiting.woke(|| {
            let told = |signal| {
                if is_child(signal) {
                    A_CHILD.to_owned()
                } else {
                    trace::STOP.to_string()
                }
            };
            let told = signal.map(told);
            trace::list(told.into_iter().chain(ready.iter().map(T::to_string)))
        });
        let (mut stop, mut ended) = (false, Vec::new());
        if let Some(signal) = signal {
            if is_child(signal) {
                ended = self.reap(libc::WNOHANG);
            } else if stop::requested() {
                self.kill();
                std::process::exit(128 + signal);
            } else {
                stop::request(signal);
                stop = true;
            }
        }
        if stop::overdue(self.context.options.grace + stop::ALLOWANCE) {
            ended.extend(self.kill());
        }
        for Ended { number, status, .. } in &ended {
            trace::tell(|| Event::Reap {
                call: "wait4",
                to: format!("{CHILD} {}", 1 + number),
                why: status.to_string(),
            });
        }
        Ok(News { stop, ended, ready })
    }

    /// The workers, of this many, that have no process; none while there is a pause.
    pub fn missing(&self, workers: usize) -> Vec<usize> {
        // At a stop a client may still wait at the listener of a worker that has died.
        let is_paused = self.pause().is_some() && !stop::requested();
        if is_paused || self.running.len() == workers {
            return Vec::new();
        }
        let running: HashSet<usize> = self.running.values().map(|child| child.number).collect();
        let workers = 0..workers;
        workers.filter(|number| !running.contains(number)).collect()
    }

    /// Workers have ended, and are to be replaced.
    pub fn died(&mut self, ended: &[Ended]) {
        for Ended {
            number,
            status,
            age,
        } in ended
        {
            if let Some(client) = self.context.stats.take_serving(*number) {
                lose(self.context, client);
            }
            let why = format!("{CHILD} {} has ended ({status})", 1 + number);
            if stop::requested() {
                continue;
            }
            if *age < AT_ONCE {
                self.slow_down(why);
            } else {
                self.last_pause = Duration::ZERO;
                let replaced = format_args!("{why}; another one takes its place");
                self.context.complain(replaced);
            }
        }
    }

    /// A worker could not be started, or has failed at once: no other is started before a pause,
    /// which becomes longer each time.
    pub fn slow_down(&mut self, why: impl Display) {
        if self.pause().is_none() {
            self.last_pause = (self.last_pause * 2).clamp(RETRY, LONGEST_PAUSE);
            self.retry_at = Some(Instant::now() + self.last_pause);
            let again = format_args!("{why}; trying again in {:?}", self.last_pause);
            self.context.complain(again);
        }
    }

    fn pause(&self) -> Option<Duration> {
        self.retry_at?.checked_duration_since(Instant::now())
    }

    /// How many children have not ended.
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// Asks all children to stop: each answers what its client has sent.
    pub fn stop(&self) {
        self.signal(stop::STOP_OF_CHILD);
    }

    /// Ends all children at once, and waits for them.
    pub fn kill(&mut self) -> Vec<Ended> {
        self.signal(Signal::SIGKILL);
        self.reap(0)
    }

    fn signal(&self, signal: Signal) {
        for &pid in self.running.keys() {
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
    fn reap(&mut self, flags: i32) -> Vec<Ended> {
        let mut ended = Vec::new();
        while flags == libc::WNOHANG || !self.running.is_empty() {
            let mut status = 0;
            // SAFETY: the status is written to where the pointer says.
            let pid = unsafe { libc::waitpid(-1, &raw mut status, flags) };
            if pid > 0 {
                let status = ExitStatus::from_raw(status);
                let child = self.running.remove(&Pid::from_raw(pid));
                ended.extend(child.map(|Child { number, started }| Ended {
                    number,
                    status,
                    age: started.elapsed(),
                }));
            } else if pid == 0 || Errno::last() != Errno::EINTR {
                break;
            }
        }
        ended
    }
}

/// What a program does before it serves this client; [`NOBODY`]: it is the trial.
pub fn set_up_program(context: &Context, client: u64) -> anyhow::Result<()> {
    trace::name_workers();
    trace::i_am(CHILD, client as usize);
    let parent = context.shared.parent().context("it has no parent")?;
    set_up(parent).context("cannot set itself up (prctl, sigaction)")?;
    // The kernel has named it `exe`.
    if let Ok(name) = CString::new(context.program_name()) {
        let _ = set_name(&name);
    }
    Ok(())
}

/// Tells the trace that a child has done its work, if it succeeded.
pub fn tell_end(success: bool) {
    trace::tell(|| Event::Exit {
        why: match success {
            true if stop::requested() => "the server stops",
            true => "its client has gone",
            false => "an error",
        },
    });
}

/// Counts a client that has ended because its process has died.
pub fn lose(context: &Context, client: u64) {
    context.stats.close(0, 0, true);
    trace::tell(|| Event::Close {
        client,
        why: "its process has died",
    });
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

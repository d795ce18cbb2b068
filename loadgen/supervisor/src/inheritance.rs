//! What a program inherits from the process that it replaces: ignored and blocked signals, an alarm, children and
//! descriptors all survive an exec.

use std::fs::File;
use std::io;
use std::os::fd::IntoRawFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigHandler, SigSet, Signal, kill, signal};
use nix::unistd::{Pid, alarm};
use serde::{Deserialize, Serialize};

use crate::helper;

/// What a program inherits.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Inheritance {
    /// Signals that are blocked, by number.
    pub blocked: Vec<i32>,
    /// Signals that are ignored, by number. All others have their default action, also those that this process ignores.
    pub ignored: Vec<i32>,
    /// SIGALRM comes after this many seconds.
    pub alarm: Option<u32>,
    /// A child that the program has not started. It ends with the program.
    pub child: bool,
    /// This many open descriptors, from this number on.
    pub descriptors: Option<(i32, i32)>,
    /// It is the first process of a process namespace, as in a container.
    pub first_process: bool,
}

impl Inheritance {
    /// Gives this process what the program will inherit from it.
    pub(crate) fn set(&self) -> io::Result<()> {
        if self.child {
            helper::command(helper::CHILD)?
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                // In the program's group it would count as one of its processes.
                .process_group(0)
                .spawn()?;
        }
        if let Some((from, count)) = self.descriptors {
            let null = File::open("/dev/null")?;
            for number in from..from + count {
                fcntl(&null, FcntlArg::F_DUPFD(number))?;
            }
            let _ = null.into_raw_fd();
        }
        for number in Signal::iterator() {
            let is_fixed = matches!(number, Signal::SIGKILL | Signal::SIGSTOP);
            if self.ignored.contains(&(number as i32)) {
                dispose(number, SigHandler::SigIgn)?;
            } else if !is_fixed {
                dispose(number, SigHandler::SigDfl)?;
            }
        }
        let blocked = self.blocked.iter().map(|&number| Signal::try_from(number));
        blocked.collect::<Result<SigSet, _>>()?.thread_set_mask()?;
        if let Some(seconds) = self.alarm {
            alarm::set(seconds);
        }
        Ok(())
    }
}

/// Whether this process ignores a signal. One that was ignored at the start, by `nohup` or by a shell that runs a script
/// in the background, is meant for others.
#[allow(unsafe_code, reason = "nix cannot ask without changing it")]
pub fn is_ignored(number: Signal) -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: with no new action it only writes the present one, and if it succeeds that is initialised.
    unsafe {
        let asked = libc::sigaction(number as i32, std::ptr::null(), action.as_mut_ptr());
        asked == 0 && action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}

/// Lets this process wait for its children, even if it was started with SIGCHLD ignored.
///
/// # Errors
/// When the kernel refuses.
pub fn hear_of_children() -> io::Result<()> {
    Ok(dispose(Signal::SIGCHLD, SigHandler::SigDfl)?)
}

/// Ignores a signal, or has its default action done.
#[allow(unsafe_code, reason = "the disposition of a signal is changed")]
fn dispose(number: Signal, action: SigHandler) -> nix::Result<()> {
    // SAFETY: the action is not a handler, so it runs no code of this process.
    unsafe { signal(number, action) }.map(drop)
}

/// The work of a child that the program has not started: it waits until its parent ends.
pub(crate) fn wait_for_parents_end() -> io::Result<()> {
    set_pdeathsig(Signal::SIGKILL)?;
    std::thread::sleep(Duration::from_mins(10));
    Ok(())
}

/// Runs the program as the first process of a namespace, passes the stop signals on to it, and ends as it
/// does.
pub(crate) fn run_first_process(mut command: Command) -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWPID)?;
    let mut program = command.spawn()?;
    let signals: SigSet = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGCHLD]
        .into_iter()
        .collect();
    signals.thread_block()?;
    loop {
        if let Some(status) = program.try_wait()? {
            let by_signal = || 128 + status.signal().unwrap_or_default();
            std::process::exit(status.code().unwrap_or_else(by_signal));
        }
        match signals.wait()? {
            Signal::SIGCHLD => {}
            other => kill(Pid::from_raw(program.id() as i32), other)?,
        }
    }
}

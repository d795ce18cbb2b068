//! How a program is started, and the helper that becomes it.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{ChildStdin, Command, Stdio};

use nix::sys::signal::SigSet;
use nix::unistd::{Gid, Uid, setgid, setgroups, setuid};
use serde::{Deserialize, Serialize};

use crate::cpus::pin;
use crate::helper;
use crate::keeper::Kept;
use crate::limit::Limit;
use crate::output::Output;
use crate::process::Process;

/// How a program is started.
#[derive(Debug, Clone, Default)]
pub struct Launch {
    /// The program and its arguments.
    pub command: Vec<OsString>,
    /// What it may use.
    pub orders: Orders,
    /// Throw its standard output away, where nobody looks at it.
    pub mute: bool,
}

/// What a program may use.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Orders {
    /// The cores; empty: those of this process.
    pub cpus: Vec<usize>,
    /// Limits that differ from those of this process.
    pub limits: Vec<Limit>,
    /// The user and the group in whose name it runs; `None`: those of this process.
    pub user: Option<u32>,
}

/// A process that waits for leave to run its program; killed when dropped.
#[derive(Debug)]
pub struct Held {
    process: Process,
    leave: Option<ChildStdin>,
}

impl Launch {
    /// A plain start of a program with its arguments.
    pub fn new(command: Vec<OsString>) -> Self {
        Self {
            command,
            ..Self::default()
        }
    }

    /// Makes the process, in a group of its own, and holds it before the program runs.
    ///
    /// # Errors
    /// When the process cannot be made. That there is no such program shows later, as the end of the process.
    pub fn hold(&self) -> io::Result<Held> {
        let mut command = helper::command(helper::LAUNCHER)?;
        command
            .arg(serde_json::to_string(&self.orders)?)
            .args(&self.command)
            .stdin(Stdio::piped())
            .stdout(if self.mute {
                Stdio::null()
            } else {
                Stdio::piped()
            })
            .stderr(Stdio::piped());
        let (mut child, kept) = Kept::spawn(&mut command)?;
        let leave = child.stdin.take();
        let stdout = match child.stdout.take() {
            Some(pipe) => Output::of(pipe),
            None => Output::of(io::empty()),
        };
        let stderr = Output::of(child.stderr.take().expect("it is piped"));
        Ok(Held {
            process: Process::new(child, stdout, stderr, kept),
            leave,
        })
    }

    /// Makes the process and runs the program at once.
    ///
    /// # Errors
    /// As [`Launch::hold`].
    pub fn run(&self) -> io::Result<Process> {
        Ok(self.hold()?.release())
    }
}

impl Held {
    /// The id that the process has now and will have when the program runs.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Runs the program.
    pub fn release(self) -> Process {
        if let Some(mut leave) = self.leave {
            // If somebody has killed the process, its end will be noticed.
            let _ = leave.write_all(b"\n");
        }
        self.process
    }
}

/// The launcher's work: waits for leave and becomes the program. The arguments are the orders and the
/// command.
pub(crate) fn become_program(mut arguments: impl Iterator<Item = OsString>) -> io::Result<()> {
    let orders = arguments.next().unwrap_or_default();
    let orders: Orders = serde_json::from_str(&orders.to_string_lossy())?;
    let program = arguments
        .next()
        .ok_or_else(|| io::Error::other("no program to start"))?;
    if io::stdin().read_line(&mut String::new())? == 0 {
        return Err(io::Error::other(
            "the process that would start this has ended",
        ));
    }
    // The mask of the thread that made this process is inherited.
    SigSet::empty().thread_set_mask()?;
    pin(&orders.cpus)?;
    let cannot_start = |error: io::Error| {
        let text = format!("cannot start {}: {error}", program.display());
        io::Error::other(text)
    };
    // Opened before the user changes: the build directory may be closed to others.
    let (_file, path) = match orders.user {
        None => (None, PathBuf::from(&program)),
        Some(user) => {
            let file = File::open(&program).map_err(cannot_start)?;
            let path = format!("/proc/self/fd/{}", file.as_raw_fd());
            become_user(user)?;
            (Some(file), path.into())
        }
    };
    let mut command = Command::new(path);
    command.arg0(&program).args(arguments).stdin(Stdio::null());
    // Last: there may be no memory for anything else afterwards.
    orders.limits.iter().try_for_each(|limit| limit.set())?;
    Err(cannot_start(command.exec()))
}

fn become_user(user: u32) -> io::Result<()> {
    setgroups(&[])?;
    setgid(Gid::from_raw(user))?;
    setuid(Uid::from_raw(user))?;
    std::env::set_current_dir("/")
}

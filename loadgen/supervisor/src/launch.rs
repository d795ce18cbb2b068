//! How a program is started: a helper applies the orders and becomes the program.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, PipeReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{ChildStdin, Command, Stdio};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::{Gid, Uid, setgid, setgroups, setuid};
use serde::{Deserialize, Serialize};

use crate::cpus::pin;
use crate::helper;
use crate::inheritance::{Inheritance, run_first_process};
use crate::keeper::Kept;
use crate::limit::Limit;
use crate::output::{MOST_KEPT, Output};
use crate::process::Process;
use crate::unable::Unable;

/// How a program is started.
#[derive(Debug, Clone, Default)]
pub struct Launch {
    /// The program and its arguments.
    pub command: Vec<OsString>,
    /// What it may use.
    pub orders: Orders,
    /// Where its standard output goes.
    pub stdout: Outlet,
    /// Where its stderr goes.
    pub stderr: Outlet,
}

/// Where a program's output goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Outlet {
    /// To the process that started it, which keeps the last 64 KiB.
    #[default]
    Read,
    /// To the process that started it, which keeps all of it.
    ReadWhole,
    /// It is discarded.
    Nowhere,
    /// A full pipe, which nobody reads.
    Unread,
    /// A device on which there is no space.
    FullDevice,
}

impl Outlet {
    /// The program's end, and what has to be kept open until it has ended.
    fn open(self) -> io::Result<(Stdio, Option<PipeReader>)> {
        match self {
            Self::Read | Self::ReadWhole => Ok((Stdio::piped(), None)),
            Self::Nowhere => Ok((Stdio::null(), None)),
            Self::FullDevice => {
                let device = File::options().write(true).open("/dev/full")?;
                Ok((device.into(), None))
            }
            Self::Unread => {
                let (reader, mut writer) = io::pipe()?;
                let before = fcntl(&writer, FcntlArg::F_GETFL)?;
                let before = OFlag::from_bits_retain(before);
                fcntl(&writer, FcntlArg::F_SETFL(before | OFlag::O_NONBLOCK))?;
                // Byte by byte at the end: the last page may have room for less than a page.
                for size in [4096, 1] {
                    while writer.write(&vec![b'.'; size]).is_ok() {}
                }
                fcntl(&writer, FcntlArg::F_SETFL(before))?;
                Ok((writer.into(), Some(reader)))
            }
        }
    }

    fn output(self, pipe: Option<impl Read + Send + 'static>) -> Output {
        let most = match self {
            Self::ReadWhole => usize::MAX,
            _ => MOST_KEPT,
        };
        match pipe {
            Some(pipe) => Output::of(pipe, most),
            None => Output::of(io::empty(), most),
        }
    }
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
    /// What it inherits beside.
    pub inheritance: Inheritance,
}

/// A process that waits before it runs its program. Dropping it kills it.
#[derive(Debug)]
pub struct Held {
    process: Process,
    start: Option<ChildStdin>,
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
    pub fn hold(&self) -> Result<Held, Unable> {
        let mut command = helper::command(helper::LAUNCHER)?;
        let (stdout, stdout_unread) = self.stdout.open()?;
        let (stderr, stderr_unread) = self.stderr.open()?;
        command
            .arg(serde_json::to_string(&self.orders).map_err(io::Error::other)?)
            .args(&self.command)
            .stdin(Stdio::piped())
            .stdout(stdout)
            .stderr(stderr);
        let (mut child, kept) = Kept::spawn(&mut command)?;
        let start = child.stdin.take();
        let stdout = self.stdout.output(child.stdout.take());
        let stderr = self.stderr.output(child.stderr.take());
        let unread = [stdout_unread, stderr_unread];
        Ok(Held {
            process: Process::new(child, stdout, stderr, unread, kept),
            start,
        })
    }

    /// Makes the process and runs the program at once.
    ///
    /// # Errors
    /// As [`Launch::hold`].
    pub fn run(&self) -> Result<Process, Unable> {
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
        if let Some(mut start) = self.start {
            // If somebody has killed the process, its end will be noticed.
            let _ = start.write_all(b"\n");
        }
        self.process
    }
}

/// The launcher's work: waits for a line and becomes the program. The arguments are the orders and the
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
    // The mask of the thread that made this process is inherited, too.
    orders.inheritance.set()?;
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
    if orders.inheritance.first_process {
        return run_first_process(command);
    }
    Err(cannot_start(command.exec()))
}

fn become_user(user: u32) -> io::Result<()> {
    setgroups(&[])?;
    setgid(Gid::from_raw(user))?;
    setuid(Uid::from_raw(user))?;
    std::env::set_current_dir("/")
}

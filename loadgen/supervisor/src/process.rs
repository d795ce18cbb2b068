//! A process that runs: awaited until it is ready, stopped, and killed with its whole group when dropped.

use std::fmt;
use std::io::PipeReader;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};

use crate::group::Group;
use crate::keeper::Kept;
use crate::output::{FirstLine, Output, quote};

/// Between two looks at a process or a port.
const LOOK: Duration = Duration::from_millis(2);
/// Between two questions whether the wait for a line shall go on.
const ASK: Duration = Duration::from_millis(50);
/// How long the output of a process that has ended is waited for: somebody who has left its group may hold
/// the pipe open for ever.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A program that cannot have its port ends within this.
const SETTLED: Duration = Duration::from_millis(500);

/// How a server tells that it accepts connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ready {
    /// The first line on its standard output is `listening on ADDRESS`.
    Line,
    /// It can be connected to at this address.
    Port(SocketAddr),
}

/// How far a server has come.
enum State {
    Starting,
    Ready(SocketAddr),
    Ended,
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It ended before it was ready.
    #[error("ended before it was ready: {}", .0.with_last_words())]
    Ended(Exit),
    /// It said or did nothing in time; the last line that it said on stderr.
    #[error("was not ready within {}{}", humantime::format_duration(*.0), said(.1))]
    Silent(Duration, String),
    /// The first line was another one.
    #[error("began with `{0}`, not with `listening on ADDRESS`")]
    WrongLine(String),
    /// The caller did not want to wait any more.
    #[error("interrupted")]
    Interrupted,
    /// The process could not be made.
    #[error("cannot be started: {0}")]
    System(#[from] std::io::Error),
}

/// `: TEXT`, or nothing without text.
fn said(stderr: &str) -> String {
    if stderr.is_empty() {
        String::new()
    } else {
        format!(": {stderr}")
    }
}

/// How a process ended.
#[derive(Debug)]
pub struct Exit {
    /// Exit code or signal.
    pub status: ExitStatus,
    /// The end of its standard output, at most 64 KiB.
    pub stdout: String,
    /// The end of its stderr, at most 64 KiB.
    pub stderr: String,
    /// Processes of its group that were still there, and were killed.
    pub left_behind: usize,
    last_words: String,
}

impl Exit {
    /// The exit code; none after a signal.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// The same as it is displayed, and the last line on stderr.
    pub fn with_last_words(&self) -> String {
        format!("{self}{}", said(&self.last_words))
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let signal = self.status.signal().map(Signal::try_from);
        match (self.status.code(), signal) {
            (Some(code), _) => write!(f, "exit code {code}")?,
            (None, Some(Ok(signal))) => write!(f, "{signal}")?,
            _ => write!(f, "{}", self.status)?,
        }
        match self.left_behind {
            0 => Ok(()),
            1 => write!(f, ", 1 process left behind"),
            n => write!(f, ", {n} processes left behind"),
        }
    }
}

/// How a server came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stopped {
    /// By SIGTERM, as it should.
    Gracefully,
    /// It had ended before; how.
    Before(String),
    /// It ended on SIGTERM with an error; how.
    Badly(String),
    /// It had to be killed.
    Killed,
}

/// A started program; killed with its whole group when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    stdout: Output,
    stderr: Output,
    /// It has ended and was waited for: its number may be another process's by now.
    reaped: bool,
    /// Pipes that it writes to and nobody reads.
    _unread: [Option<PipeReader>; 2],
    _kept: Kept,
}

impl Process {
    pub(crate) fn new(
        child: Child,
        stdout: Output,
        stderr: Output,
        unread: [Option<PipeReader>; 2],
        kept: Kept,
    ) -> Self {
        Self {
            child,
            stdout,
            stderr,
            reaped: false,
            _unread: unread,
            _kept: kept,
        }
    }

    /// Its id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The group that it leads.
    pub fn group(&self) -> Group {
        Group::led_by(self.pid())
    }

    /// What it says on stderr.
    pub fn stderr(&self) -> &Output {
        &self.stderr
    }

    /// Whether it has ended. It is not waited for, so its number is not given to another process.
    pub fn has_ended(&self) -> bool {
        let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        let state = waitid(Id::Pid(self.group().leader()), look);
        !matches!(state, Ok(WaitStatus::StillAlive))
    }

    /// Waits until it accepts connections, and returns where. Asks `cancelled` meanwhile.
    ///
    /// # Errors
    /// When it ends, says something else, or takes longer than `limit`. It is killed then.
    pub fn ready(
        self,
        ready: Ready,
        limit: Duration,
        cancelled: &mut dyn FnMut() -> bool,
    ) -> Result<(Self, SocketAddr), StartError> {
        let deadline = Instant::now() + limit;
        let mut connected = None;
        loop {
            let state = match ready {
                Ready::Line => self.look_at_first_line(),
                Ready::Port(address) => Ok(self.look_at_port(address, &mut connected)),
            };
            match state? {
                State::Ready(address) => return Ok((self, address)),
                State::Ended => return Err(StartError::Ended(self.reap()?)),
                State::Starting => {}
            }
            if cancelled() {
                return Err(StartError::Interrupted);
            }
            if Instant::now() >= deadline {
                return Err(StartError::Silent(limit, self.stderr.last_line()));
            }
        }
    }

    fn look_at_first_line(&self) -> Result<State, StartError> {
        match self.stdout.first_line(ASK) {
            FirstLine::Said(line) => {
                let address = line.strip_prefix("listening on ").map(str::parse);
                match address {
                    Some(Ok(address)) => Ok(State::Ready(address)),
                    _ => Err(StartError::WrongLine(quote(&line))),
                }
            }
            FirstLine::None if self.has_ended() => Ok(State::Ended),
            // It has closed its standard output, and is most likely about to end.
            FirstLine::None => {
                std::thread::sleep(LOOK);
                Ok(State::Starting)
            }
            FirstLine::NotYet => Ok(State::Starting),
        }
    }

    /// `connected` keeps since when somebody accepts at the port.
    fn look_at_port(&self, address: SocketAddr, connected: &mut Option<Instant>) -> State {
        std::thread::sleep(LOOK);
        let is_open = TcpStream::connect(address).is_ok();
        if self.has_ended() {
            return State::Ended;
        }
        if !is_open {
            return State::Starting;
        }
        // It may be somebody else who listens, or the program in a group that it has made for itself: one
        // that cannot have the port ends soon.
        let since = connected.get_or_insert_with(Instant::now);
        if self.group().listens_at(address.port()) || since.elapsed() > SETTLED {
            return State::Ready(address);
        }
        State::Starting
    }

    /// Waits for its end, for at most `limit`; what is left of its group is killed then.
    /// `None`: it had to be killed itself.
    pub fn wait(self, limit: Duration) -> Option<Exit> {
        let deadline = Instant::now() + limit;
        while !self.has_ended() {
            if Instant::now() >= deadline {
                return None;
            }
            std::thread::sleep(LOOK);
        }
        self.reap().ok()
    }

    /// Sends SIGTERM, waits for at most `grace`, then kills what is left of its group.
    pub fn stop(self, grace: Duration) -> Stopped {
        let had_ended = self.has_ended();
        self.group().signal_leader(Signal::SIGTERM);
        match self.wait(grace) {
            None => Stopped::Killed,
            Some(exit) if had_ended => Stopped::Before(exit.with_last_words()),
            Some(exit) => {
                let by_term = exit.status.signal() == Some(Signal::SIGTERM as i32);
                if exit.status.success() || by_term {
                    Stopped::Gracefully
                } else {
                    Stopped::Badly(exit.with_last_words())
                }
            }
        }
    }

    /// What is to be told of a process that has ended.
    fn reap(mut self) -> std::io::Result<Exit> {
        let group = self.group();
        let left_behind = group.alive();
        // The group keeps its number until its leader is waited for.
        group.signal(Signal::SIGKILL);
        let status = self.child.wait()?;
        self.reaped = true;
        self.stdout.wait_for_end(LAST_WORDS);
        self.stderr.wait_for_end(LAST_WORDS);
        Ok(Exit {
            status,
            stdout: self.stdout.text(),
            stderr: self.stderr.text(),
            left_behind,
            last_words: self.stderr.last_line(),
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.reaped {
            self.group().signal(Signal::SIGKILL);
            let _ = self.child.wait();
        }
    }
}

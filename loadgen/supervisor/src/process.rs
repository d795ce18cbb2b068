//! A process that runs: wait until it is ready, stop it. Dropping it kills it with its whole group.

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
use crate::unable::Unable;

/// Time between two looks at a process or a port.
const LOOK: Duration = Duration::from_millis(2);
/// While it waits for a line, it checks this often whether to stop waiting.
const ASK: Duration = Duration::from_millis(50);
/// How long to wait for the rest of the output of a process that has ended. A process that left its group may keep the
/// pipe open.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A program that cannot bind its port ends within this time.
const SETTLED: Duration = Duration::from_secs(2);

/// How one sees that a server accepts connections.
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
    /// It was not ready in time. The text is the last line on stderr.
    #[error("was not ready within {}{}", humantime::format_duration(*.0), said(.1))]
    Silent(Duration, String),
    /// Its first line is not `listening on ADDRESS`.
    #[error("began with `{0}`, not with `listening on ADDRESS`")]
    WrongLine(String),
    /// The caller cancelled the wait.
    #[error("interrupted")]
    Interrupted,
    /// The process could not be made.
    #[error(transparent)]
    Unable(#[from] Unable),
    /// Its end cannot be waited for.
    #[error("cannot be waited for: {0}")]
    System(#[from] std::io::Error),
}

/// `: TEXT`, or nothing if there is no text.
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
    /// The end of its standard output, as much as was kept.
    pub stdout: String,
    /// The end of its stderr, as much as was kept.
    pub stderr: String,
    /// How many processes of its group still ran; they were killed.
    pub left_behind: usize,
    last_words: String,
}

impl Exit {
    /// The exit code; none after a signal.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// How it ended, and its last line on stderr.
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

/// How a server ended when it was to stop.
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
    /// It was killed before its time was over, because the caller stopped waiting.
    Cancelled,
}

/// A started program; killed with its whole group when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    stdout: Output,
    stderr: Output,
    /// It was waited for. From then on another process may have its id.
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

    /// Its stderr.
    pub fn stderr(&self) -> &Output {
        &self.stderr
    }

    /// Whether it has ended. It stays a zombie, so no other process gets its id.
    pub fn has_ended(&self) -> bool {
        let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        let state = waitid(Id::Pid(self.group().leader()), look);
        !matches!(state, Ok(WaitStatus::StillAlive))
    }

    /// Waits until it accepts connections, and returns its address. Gives up when `cancelled` returns true.
    ///
    /// # Errors
    /// When it ends, prints another line, or takes longer than `limit`. It is killed then.
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
            // Where it has ended, a child of it may still hold the pipe.
            FirstLine::None | FirstLine::NotYet if self.has_ended() => Ok(State::Ended),
            // It has closed its standard output and is probably about to end.
            FirstLine::None => {
                std::thread::sleep(LOOK);
                Ok(State::Starting)
            }
            FirstLine::NotYet => Ok(State::Starting),
        }
    }

    /// `connected` is the time of the first connection that was accepted at the port.
    fn look_at_port(&self, address: SocketAddr, connected: &mut Option<Instant>) -> State {
        std::thread::sleep(LOOK);
        let is_open = TcpStream::connect(address).is_ok();
        if self.has_ended() {
            return State::Ended;
        }
        if !is_open {
            return State::Starting;
        }
        // If no process of the group listens, another program has the port, and this one will end soon. Or this one
        // let a process outside of the group listen, as a container does.
        let since = connected.get_or_insert_with(Instant::now);
        if self.group().listens_at(address.port()) || since.elapsed() > SETTLED {
            return State::Ready(address);
        }
        State::Starting
    }

    /// Waits for its end, for at most `limit`; what is left of its group is killed then.
    /// `None`: it had to be killed itself.
    pub fn wait(self, limit: Duration) -> Option<Exit> {
        if !self.has_ended_within(limit, &mut || false) {
            return None;
        }
        self.reap().ok()
    }

    /// Whether it ends within `limit`, and before `cancelled` returns true.
    fn has_ended_within(&self, limit: Duration, cancelled: &mut dyn FnMut() -> bool) -> bool {
        let deadline = Instant::now() + limit;
        while !self.has_ended() {
            if Instant::now() >= deadline || cancelled() {
                return false;
            }
            std::thread::sleep(LOOK);
        }
        true
    }

    /// Sends SIGTERM, waits for at most `grace` and until `cancelled` returns true, then kills what is left of its
    /// group.
    pub fn stop(self, grace: Duration, cancelled: &mut dyn FnMut() -> bool) -> Stopped {
        let had_ended = self.has_ended();
        self.group().signal_leader(Signal::SIGTERM);
        if !self.has_ended_within(grace, cancelled) {
            return if cancelled() {
                Stopped::Cancelled
            } else {
                Stopped::Killed
            };
        }
        match self.reap() {
            Err(_) => Stopped::Killed,
            Ok(exit) if had_ended => Stopped::Before(exit.with_last_words()),
            Ok(exit) => {
                let by_term = exit.status.signal() == Some(Signal::SIGTERM as i32);
                if exit.status.success() || by_term {
                    Stopped::Gracefully
                } else {
                    Stopped::Badly(exit.with_last_words())
                }
            }
        }
    }

    /// Waits for a process that has ended, and kills what is left of its group.
    fn reap(mut self) -> std::io::Result<Exit> {
        let group = self.group();
        let left_behind = group.alive();
        // Before the leader is waited for: until then no other group can have its id.
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

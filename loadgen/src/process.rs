//! A server's process: started with its costs counted from the first instruction, awaited, stopped.
//!
//! The server is started through `loadgen launch`, which pins itself, asks the kernel to be killed with
//! its parent, waits until the counters are opened on it and then becomes the server. So the counters
//! see all of the server, and a bench that dies leaves none behind.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal, kill, killpg};
use nix::unistd::{Pid, getppid, setpgid};
use supervisor::keeper::Kept;

use crate::observe::costs::Meter;

/// The longest ready line, and the most of stderr that is kept, bytes.
const MOST_TEXT: u64 = 4096;
/// The most that is quoted of a line, characters.
const MOST_CHARACTERS: usize = 200;
/// Between two looks at a process or a port.
const LOOK: Duration = Duration::from_millis(2);
/// For the last words of a process that has ended; a child of it may hold its stderr open for longer.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How a server is started.
#[derive(Debug, Clone)]
pub struct Launch {
    /// This program, which has the subcommand `launch`.
    pub launcher: PathBuf,
    /// The server and its arguments.
    pub command: Vec<OsString>,
    /// The cores that the server may use; empty: all.
    pub cpus: Vec<usize>,
    /// Its soft limit of descriptors; `None`: that of this process.
    pub descriptors: Option<u64>,
    /// How it tells that it accepts connections.
    pub ready: Ready,
    /// How long that may take.
    pub timeout: Duration,
}

/// How a server tells that it accepts connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ready {
    /// The first line on its standard output is `listening on ADDR`.
    Line,
    /// This address accepts a connection.
    Probe(SocketAddr),
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It ended before it was ready.
    #[error("ended before it was ready: {0}")]
    Ended(String),
    /// It said or did nothing in time.
    #[error("was not ready within {}{}", humantime::format_duration(*.0), said(.1))]
    Silent(Duration, String),
    /// The first line was another one.
    #[error("began with `{0}`, not with `listening on ADDRESS`")]
    Rubbish(String),
    /// The bench was interrupted meanwhile.
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

/// A running server. Dropping it kills it and all of its process group.
#[derive(Debug)]
pub struct Server {
    child: Child,
    meter: Meter,
    address: SocketAddr,
    stderr: Tail,
    /// The kernel kills the server itself with this process, but not what that has forked.
    _kept: Kept,
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

impl Server {
    /// Starts a server and waits until it is ready. Asks `cancelled` meanwhile.
    ///
    /// The thread that calls this must outlive the server: the kernel kills the server with it.
    pub fn start(launch: &Launch, cancelled: &mut dyn FnMut() -> bool) -> Result<Self, StartError> {
        let mut command = Command::new(&launch.launcher);
        command
            .arg("launch")
            .arg("--parent")
            .arg(std::process::id().to_string());
        for cpu in &launch.cpus {
            command.arg("--cpu").arg(cpu.to_string());
        }
        if let Some(descriptors) = launch.descriptors {
            command.arg("--descriptors").arg(descriptors.to_string());
        }
        command.arg("--").args(&launch.command);
        command.stdin(Stdio::piped()).stderr(Stdio::piped());
        // Nobody reads what a foreign server tells on its standard output.
        command.stdout(match launch.ready {
            Ready::Line => Stdio::piped(),
            Ready::Probe(_) => Stdio::null(),
        });
        let (mut child, kept) = Kept::spawn(&mut command)?;
        let meter = Meter::before_exec(child.id());
        let stderr = Tail::of(child.stderr.take());
        let first_line = child.stdout.take().map(first_line);
        let start = child.stdin.take();
        let unspecified = SocketAddr::from(([0, 0, 0, 0], 0));
        // From here on the child is killed when anything fails.
        let mut server = Self {
            child,
            meter,
            address: unspecified,
            stderr,
            _kept: kept,
        };
        if let Some(mut start) = start {
            start.write_all(b"\n")?;
        }
        server.address = match (launch.ready, first_line) {
            (Ready::Line, Some(line)) => server.await_line(&line, launch.timeout, cancelled)?,
            (Ready::Probe(address), _) => {
                server.await_port(address, launch.timeout, cancelled)?;
                address
            }
            (Ready::Line, None) => unreachable!("stdout is piped for the ready line"),
        };
        Ok(server)
    }

    fn await_line(
        &mut self,
        line: &Receiver<String>,
        timeout: Duration,
        cancelled: &mut dyn FnMut() -> bool,
    ) -> Result<SocketAddr, StartError> {
        let deadline = Instant::now() + timeout;
        loop {
            match line.recv_timeout(Duration::from_millis(50)) {
                Ok(line) => {
                    let address = line.strip_prefix("listening on ").map(str::parse);
                    return match address {
                        Some(Ok(address)) => Ok(address),
                        _ => Err(StartError::Rubbish(line)),
                    };
                }
                // It closed its standard output, and is most likely about to end.
                Err(RecvTimeoutError::Disconnected) => {
                    std::thread::sleep(LOOK);
                    self.check_alive()?;
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            if cancelled() {
                return Err(StartError::Interrupted);
            }
            if Instant::now() >= deadline {
                return Err(StartError::Silent(timeout, self.stderr.last_line()));
            }
        }
    }

    fn await_port(
        &mut self,
        address: SocketAddr,
        timeout: Duration,
        cancelled: &mut dyn FnMut() -> bool,
    ) -> Result<(), StartError> {
        let deadline = Instant::now() + timeout;
        while TcpStream::connect_timeout(&address, timeout).is_err() {
            self.check_alive()?;
            if cancelled() {
                return Err(StartError::Interrupted);
            }
            if Instant::now() >= deadline {
                return Err(StartError::Silent(timeout, self.stderr.last_line()));
            }
            std::thread::sleep(LOOK);
        }
        // Another process may have had the port.
        self.check_alive()
    }

    fn check_alive(&mut self) -> Result<(), StartError> {
        match self.child.try_wait()? {
            Some(status) => Err(StartError::Ended(self.told(status))),
            None => Ok(()),
        }
    }

    /// How it ended, with the last that it said on stderr.
    fn told(&self, status: ExitStatus) -> String {
        let how = match (
            status.code(),
            status.signal().and_then(|n| Signal::try_from(n).ok()),
        ) {
            (Some(code), _) => format!("exit code {code}"),
            (None, Some(signal)) => signal.to_string(),
            (None, None) => status.to_string(),
        };
        how + &said(&self.stderr.last_words())
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What counts its costs.
    pub fn meter(&mut self) -> &mut Meter {
        &mut self.meter
    }

    /// Sends SIGTERM, waits for at most `grace`, then kills what is left of its process group.
    pub fn stop(mut self, grace: Duration) -> Stopped {
        if let Ok(Some(status)) = self.child.try_wait() {
            return Stopped::Before(self.told(status));
        }
        // It was there a moment ago; if it ends by itself now, the wait below sees it.
        let _ = kill(self.group(), Signal::SIGTERM);
        let deadline = Instant::now() + grace;
        while Instant::now() < deadline {
            if let Ok(Some(status)) = self.child.try_wait() {
                let by_term = status.signal() == Some(Signal::SIGTERM as i32);
                return if status.success() || by_term {
                    Stopped::Gracefully
                } else {
                    Stopped::Badly(self.told(status))
                };
            }
            std::thread::sleep(LOOK);
        }
        Stopped::Killed
    }

    /// The launcher made the server the leader of a process group of its own.
    fn group(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Its children too, if it left any; there is nobody to tell that there are none.
        let _ = killpg(self.group(), Signal::SIGKILL);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The last of what a process wrote to stderr.
#[derive(Debug)]
struct Tail {
    kept: Arc<Mutex<Vec<u8>>>,
    /// Disconnected when all is read.
    end: Receiver<()>,
}

impl Tail {
    fn of(stderr: Option<impl Read + Send + 'static>) -> Self {
        let (reading, end) = mpsc::channel();
        let tail = Self {
            kept: Arc::default(),
            end,
        };
        if let Some(mut stderr) = stderr {
            let kept = Arc::clone(&tail.kept);
            std::thread::spawn(move || {
                let _reading = reading;
                let mut buffer = [0; MOST_TEXT as usize];
                while let Ok(n @ 1..) = stderr.read(&mut buffer) {
                    let Ok(mut kept) = kept.lock() else { break };
                    kept.extend_from_slice(&buffer[..n]);
                    let surplus = kept.len().saturating_sub(MOST_TEXT as usize);
                    kept.drain(..surplus);
                }
            });
        }
        tail
    }

    /// The last line of a process that has ended: its pipe may still hold some of it.
    fn last_words(&self) -> String {
        // All is read, or enough was waited.
        let _ = self.end.recv_timeout(LAST_WORDS);
        self.last_line()
    }

    /// The last line up to now.
    fn last_line(&self) -> String {
        let Ok(kept) = self.kept.lock() else {
            return String::new();
        };
        let text = String::from_utf8_lossy(&kept);
        let line = text.lines().rev().find(|line| !line.trim().is_empty());
        // It goes to terminals and into reports, whatever it is.
        let line = line.unwrap_or("").trim().chars().take(MOST_CHARACTERS);
        line.collect::<String>().escape_debug().to_string()
    }
}

/// Sends the first line of a process's standard output, then reads the rest so that it never blocks.
fn first_line(stdout: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let mut stdout = BufReader::new(stdout);
        let mut line = Vec::new();
        let read = (&mut stdout).take(MOST_TEXT).read_until(b'\n', &mut line);
        if read.is_ok_and(|n| n > 0) {
            let line = String::from_utf8_lossy(&line)
                .trim_end()
                .escape_debug()
                .to_string();
            // Nobody waits for it any more when the server was slow.
            let _ = sender.send(line);
        }
        drop(sender);
        let _ = std::io::copy(&mut stdout, &mut std::io::sink());
    });
    receiver
}

/// Runs a short command to its end and returns its standard output, at most 1 MiB of it; it is killed
/// when it takes longer.
///
/// # Errors
/// When it cannot be started or takes too long.
pub fn output_within(
    mut command: Command,
    limit: Duration,
) -> std::io::Result<(ExitStatus, Vec<u8>)> {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let stdout = child.stdout.take();
    let (sender, output) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = stdout.map(|stdout| stdout.take(1 << 20).read_to_end(&mut bytes));
        // Nobody waits for it any more when it took too long.
        let _ = sender.send((read, bytes));
    });
    let deadline = Instant::now() + limit;
    let status = loop {
        match child.try_wait()? {
            Some(status) => break status,
            None if Instant::now() < deadline => std::thread::sleep(LOOK),
            None => {
                child.kill()?;
                child.wait()?;
                let limit = humantime::format_duration(limit);
                return Err(std::io::Error::other(format!(
                    "it did not end within {limit}"
                )));
            }
        }
    };
    let (_, bytes) = output
        .recv_timeout(deadline.saturating_duration_since(Instant::now()))
        .map_err(|_| std::io::Error::other("its output did not end"))?;
    Ok((status, bytes))
}

/// The orders of `loadgen launch`, with which the bench starts each server.
#[derive(Debug, clap::Args)]
pub struct LaunchArgs {
    /// The process that must be there for the server to live
    #[arg(long)]
    parent: u32,
    /// A core that the server may use
    #[arg(long)]
    cpu: Vec<usize>,
    /// Its soft limit of descriptors
    #[arg(long)]
    descriptors: Option<u64>,
    /// The server and its arguments
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

impl LaunchArgs {
    /// Waits for a line on standard input and becomes the server.
    ///
    /// # Errors
    /// It only returns when it could not.
    pub fn run(&self) -> anyhow::Result<std::convert::Infallible> {
        // Its own group: the terminal's Ctrl-C is for the bench, which stops its servers in order.
        setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
        set_pdeathsig(Signal::SIGKILL)?;
        // The parent may have died before that.
        anyhow::ensure!(
            getppid().as_raw() as u32 == self.parent,
            "the bench has ended"
        );
        SigSet::empty().thread_set_mask()?;
        if !self.cpu.is_empty() {
            let mut set = CpuSet::new();
            for &cpu in &self.cpu {
                set.set(cpu)?;
            }
            sched_setaffinity(Pid::from_raw(0), &set)?;
        }
        if let Some(soft) = self.descriptors {
            let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
            setrlimit(Resource::RLIMIT_NOFILE, soft, hard)?;
        }
        let mut line = String::new();
        anyhow::ensure!(
            std::io::stdin().read_line(&mut line)? > 0,
            "the bench has ended"
        );
        let [program, arguments @ ..] = self.command.as_slice() else {
            anyhow::bail!("no program to launch");
        };
        let error = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .exec();
        anyhow::bail!("cannot start {}: {error}", program.display())
    }
}

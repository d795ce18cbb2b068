//! A server's process and everything it forks: started, watched through /proc, and ended for sure.
//!
//! Each server leads a process group of its own, so its whole tree is known by one number, also
//! after a parent in the middle has died.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, killpg};
use nix::unistd::Pid;
use procfs::net::TcpState;
use procfs::process::FDTarget;
use serde::Deserialize;

use crate::{Tried, failed, skipped};
use supervisor::keeper::{self, Kept};

/// What servers said on stderr.
pub type Log = Arc<Mutex<String>>;

/// The command of a program that waits for a line on its standard input before it runs: until then its
/// group can be told to the keeper, so that there is no moment in which it would be left behind.
pub fn held(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", "read -r line && exec \"$@\" < /dev/null", "sh"])
        .arg(program);
    command
}

/// The signals that end this program.
fn interrupts() -> SigSet {
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]
        .into_iter()
        .collect()
}

/// From now on the servers end with this process, also when it is interrupted or killed. They are in
/// groups of their own, so the terminal does not tell them. To be called while there is one thread.
pub fn end_servers_when_interrupted() {
    let signals = interrupts();
    signals.thread_block().expect("the set is valid");
    keeper::start();
    std::thread::spawn(move || {
        let signal = signals.wait().expect("the set is valid");
        keeper::end(128 + signal as i32);
    });
}

/// Lets this process have as many descriptors as its hard limit allows: one for each client.
pub fn raise_descriptor_limit() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// A started program; killed with its whole group when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    tree: Tree,
    lines: Mutex<Receiver<String>>,
    said: String,
    stderr: Option<JoinHandle<String>>,
    /// It was waited for.
    ended: bool,
    patience: Duration,
    _kept: Kept,
}

/// How a program ended.
#[derive(Debug)]
pub struct Exit {
    /// Exit code or signal.
    pub status: ExitStatus,
    /// All of its stdout.
    pub stdout: String,
    /// All of its stderr.
    pub stderr: String,
    /// Processes of its group that were still there.
    pub left_behind: usize,
}

impl Exit {
    /// The exit code; none after a signal.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }
}

/// What `--stats` prints.
#[derive(Debug, Deserialize)]
pub struct Stats {
    pub accepted: u64,
    pub closed: u64,
    pub reset: u64,
    pub refused: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub accept_errors: u64,
    pub peak_open: u64,
    pub per_worker: Vec<u64>,
}

impl Exit {
    /// What `--stats` made it print.
    pub fn stats(&self) -> Tried<Stats> {
        let last = self.stdout.lines().last().unwrap_or_default();
        serde_json::from_str(last).or_else(|e| {
            failed(
                "one line of JSON with all counters at the end",
                format!("{e}: {last}"),
            )
        })
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.status.code(), self.status.signal()) {
            (Some(code), _) => write!(f, "exit {code}")?,
            (None, signal) => write!(f, "killed by signal {}", signal.unwrap_or_default())?,
        }
        match self.left_behind {
            0 => Ok(()),
            n => write!(f, ", {n} processes left behind"),
        }
    }
}

impl Process {
    /// Starts a command that was made with [`held`].
    pub fn spawn(mut command: Command, log: &Log, patience: Duration) -> Tried<Self> {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.process_group(0);
        // A child inherits the mask of the thread that makes it.
        let masked = interrupts().thread_swap_mask(SigmaskHow::SIG_UNBLOCK);
        let spawned = Kept::spawn(&mut command);
        if let Ok(mask) = masked {
            let _ = mask.thread_set_mask();
        }
        let (mut child, kept) = match spawned {
            Ok(spawned) => spawned,
            Err(e) => {
                let program = command.get_program().to_string_lossy().into_owned();
                return failed(format!("{program} can be started"), e);
            }
        };
        let group = child.id() as i32;
        if let Some(mut go) = child.stdin.take() {
            // When it has ended already, its end will be noticed.
            let _ = writeln!(go);
        }

        let (sender, lines) = channel();
        let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let stderr = child.stderr.take().expect("it is piped");
        let log = Arc::clone(log);
        let stderr = std::thread::spawn(move || collect(stderr, &log));
        Ok(Self {
            child,
            tree: Tree { group },
            lines: Mutex::new(lines),
            said: String::new(),
            stderr: Some(stderr),
            ended: false,
            patience,
            _kept: kept,
        })
    }

    pub fn tree(&self) -> Tree {
        self.tree
    }

    /// The next line on stdout; none when it was closed.
    pub fn line(&mut self) -> Tried<Option<String>> {
        let lines = self.lines.get_mut().expect("nobody else uses it");
        match lines.recv_timeout(self.patience) {
            Ok(line) => {
                self.said += &line;
                self.said.push('\n');
                Ok(Some(line))
            }
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => failed(
                "a line on stdout",
                format!("silence for {:?}", self.patience),
            ),
        }
    }

    /// Waits until `condition` holds, while the process runs.
    pub fn wait_until(&mut self, what: &str, condition: impl Fn() -> bool) -> Tried {
        let deadline = Instant::now() + self.patience;
        while !condition() {
            if let Ok(Some(status)) = self.child.try_wait() {
                return failed(what, format!("the program ended: {status}"));
            }
            if Instant::now() > deadline {
                return failed(what, format!("not within {:?}", self.patience));
            }
            pause();
        }
        Ok(())
    }

    /// Whether the first process has ended.
    pub fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// Waits for its end.
    pub fn wait(mut self) -> Tried<Exit> {
        let deadline = Instant::now() + self.patience;
        let status = loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                break status;
            }
            if Instant::now() > deadline {
                return failed(
                    "the process ends",
                    format!("still there after {:?}", self.patience),
                );
            }
            pause();
        };
        self.ended = true;
        let left_behind = self.tree.alive();
        if left_behind > 0 {
            self.tree.signal_all(Signal::SIGKILL);
        }
        while let Ok(Some(_)) = self.line() {}
        let stderr = self
            .stderr
            .take()
            .and_then(|thread| thread.join().ok())
            .unwrap_or_default();
        Ok(Exit {
            status,
            stdout: std::mem::take(&mut self.said),
            stderr,
            left_behind,
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The number of a group that has ended may be somebody else's by now.
        if !self.ended {
            self.tree.signal_all(Signal::SIGKILL);
            let _ = self.child.wait();
        }
    }
}

/// Reads all of a server's stderr, and lets the case's log follow.
fn collect(mut stderr: impl Read, log: &Log) -> String {
    let mut all = Vec::new();
    let mut part = [0; 4096];
    while let Ok(n @ 1..) = stderr.read(&mut part) {
        all.extend_from_slice(&part[..n]);
        log.lock()
            .expect("no thread panics while it logs")
            .push_str(&String::from_utf8_lossy(&part[..n]));
    }
    String::from_utf8_lossy(&all).into_owned()
}

/// Between two looks at something that nothing announces.
pub fn pause() {
    std::thread::sleep(Duration::from_millis(2));
}

/// A server's processes: its group.
#[derive(Debug, Clone, Copy)]
pub struct Tree {
    group: i32,
}

/// What a server's processes hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holdings {
    /// Processes, zombies included.
    pub processes: usize,
    /// Processes that ended and were not waited for.
    pub zombies: usize,
    /// Threads.
    pub threads: usize,
    /// Open descriptors.
    pub descriptors: usize,
}

impl Holdings {
    /// No more of anything than `before`.
    pub fn fits_in(self, before: Self) -> bool {
        self.processes <= before.processes
            && self.zombies <= before.zombies
            && self.threads <= before.threads
            && self.descriptors <= before.descriptors
    }
}

impl fmt::Display for Holdings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            processes,
            zombies,
            threads,
            descriptors,
        } = self;
        write!(
            f,
            "{processes} processes ({zombies} zombies), {threads} threads, {descriptors} descriptors"
        )
    }
}

impl Tree {
    /// The first process.
    fn root(self) -> Pid {
        Pid::from_raw(self.group)
    }

    /// Signals the first process.
    pub fn signal(self, signal: Signal) {
        let _ = nix::sys::signal::kill(self.root(), signal);
    }

    /// Signals all processes at once, as the terminal does.
    pub fn signal_all(self, signal: Signal) {
        let _ = killpg(self.root(), signal);
    }

    /// All processes of the group, with their state; those that end meanwhile are left out.
    pub fn processes(self) -> Vec<procfs::process::Stat> {
        let Ok(all) = procfs::process::all_processes() else {
            return Vec::new();
        };
        all.filter_map(|process| process.ok()?.stat().ok())
            .filter(|stat| stat.pgrp == self.group)
            .collect()
    }

    /// How many of them have not ended.
    pub fn alive(self) -> usize {
        let processes = self.processes().into_iter();
        processes.filter(|stat| stat.state != 'Z').count()
    }

    /// Processes other than the first.
    pub fn children(self) -> Vec<Pid> {
        let pids = self.processes().into_iter().map(|stat| stat.pid);
        pids.filter(|&pid| pid != self.group)
            .map(Pid::from_raw)
            .collect()
    }

    /// Whether one of them listens at this port.
    pub fn listens_at(self, port: u16) -> bool {
        let tables = [procfs::net::tcp(), procfs::net::tcp6()].into_iter();
        let listeners: Vec<FDTarget> = tables
            .flatten()
            .flatten()
            .filter(|e| e.state == TcpState::Listen && e.local_address.port() == port)
            .map(|entry| FDTarget::Socket(entry.inode))
            .collect();
        self.processes().into_iter().any(|stat| {
            procfs::process::Process::new(stat.pid)
                .and_then(|process| process.fd())
                .is_ok_and(|mut fds| {
                    fds.any(|fd| fd.is_ok_and(|fd| listeners.contains(&fd.target)))
                })
        })
    }

    /// What the processes hold now.
    pub fn holdings(self) -> Holdings {
        let stats = self.processes();
        let descriptors = stats.iter().filter_map(|stat| {
            procfs::process::Process::new(stat.pid)
                .ok()?
                .fd_count()
                .ok()
        });
        Holdings {
            descriptors: descriptors.sum(),
            processes: stats.len(),
            zombies: stats.iter().filter(|stat| stat.state == 'Z').count(),
            threads: stats.iter().map(|stat| stat.num_threads as usize).sum(),
        }
    }

    /// Memory of all processes, bytes, with shared pages divided among those that share them.
    pub fn memory(self) -> u64 {
        let sizes = self.processes().into_iter().filter_map(|stat| {
            let rollup = procfs::process::Process::new(stat.pid)
                .ok()?
                .smaps_rollup()
                .ok()?;
            let map = rollup.memory_map_rollup.0.into_iter().next()?;
            map.extension.map.get("Pss").copied()
        });
        sizes.sum()
    }

    /// The share of the time in which its threads could run that they did run, added up: 1 is a
    /// thread that spins. How busy the machine is otherwise makes no difference to either.
    pub fn cpu_share(self, span: Duration) -> f64 {
        let (start, before) = (Instant::now(), self.run_times());
        std::thread::sleep(span);
        let wall = start.elapsed().as_nanos() as f64;
        let shares = self.run_times().into_iter().map(|(thread, (ran, waited))| {
            // A new thread began within the span.
            let (ran_before, waited_before) = before.get(&thread).copied().unwrap_or_default();
            let ran = ran.saturating_sub(ran_before) as f64;
            let could = wall - waited.saturating_sub(waited_before) as f64;
            // A wait is counted when it ends, wholly, also one that began before the span: on a crowded
            // machine nothing may seem to be left of it.
            ran / could.max(ran).max(wall / 10.0)
        });
        shares.sum()
    }

    /// Of each thread, how long it ran and how long it waited for a processor, nanoseconds.
    fn run_times(self) -> HashMap<i32, (u64, u64)> {
        let processes = self.processes().into_iter();
        let tasks = processes
            .filter_map(|stat| procfs::process::Process::new(stat.pid).ok()?.tasks().ok())
            .flatten();
        tasks
            .filter_map(|task| {
                let task = task.ok()?;
                let times = task.schedstat().ok()?;
                Some((task.tid, (times.sum_exec_runtime, times.run_delay)))
            })
            .collect()
    }

    /// Lowers a limit of all processes while they run, to what `value` says of each.
    pub fn squeeze(
        self,
        limit: Limit,
        value: impl Fn(&procfs::process::Process) -> Option<u64>,
    ) -> Tried<Squeezed> {
        let mut squeezed = Squeezed {
            limit,
            before: Vec::new(),
        };
        for stat in self.processes() {
            // It may have ended meanwhile.
            let Ok(process) = procfs::process::Process::new(stat.pid) else {
                continue;
            };
            let owner = std::fs::metadata(format!("/proc/{}", stat.pid));
            let (Some(value), Ok(owner)) = (value(&process), owner) else {
                continue;
            };
            let owner = (owner.uid(), owner.gid());
            let before = limit.get(stat.pid, owner)?;
            limit.set(stat.pid, owner, &value.to_string())?;
            squeezed.before.push((stat.pid, owner, before));
        }
        Ok(squeezed)
    }
}

/// A limit that can be changed while a server runs.
#[derive(Debug, Clone, Copy)]
pub enum Limit {
    /// The highest descriptor number and one.
    Descriptors,
    /// Processes and threads of the user.
    Processes,
    /// Queued signals of the user.
    PendingSignals,
}

impl Limit {
    fn flag(self) -> &'static str {
        match self {
            Self::Descriptors => "--nofile",
            Self::Processes => "--nproc",
            Self::PendingSignals => "--sigpending",
        }
    }

    fn get(self, pid: i32, owner: (u32, u32)) -> Tried<String> {
        prlimit(
            pid,
            owner,
            &[self.flag(), "--output", "SOFT", "--noheadings", "--raw"],
        )
    }

    /// Sets the soft limit.
    fn set(self, pid: i32, owner: (u32, u32), value: &str) -> Tried {
        prlimit(pid, owner, &[&format!("{}={value}:", self.flag())]).map(drop)
    }
}

/// Runs prlimit(1) on a process as its owner: the superuser of a container may not do it for others.
fn prlimit(pid: i32, (user, group): (u32, u32), arguments: &[&str]) -> Tried<String> {
    let mut command = Command::new("prlimit");
    command.arg("--pid").arg(pid.to_string()).args(arguments);
    if user != nix::unistd::geteuid().as_raw() {
        command.uid(user).gid(group);
    }
    match command.output() {
        Ok(output) if output.status.success() => {
            Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        }
        Ok(output) => skipped(String::from_utf8_lossy(&output.stderr).trim()),
        Err(e) => skipped(format!(
            "prlimit, a program of util-linux, cannot be run: {e}"
        )),
    }
}

/// A limit that was lowered.
#[derive(Debug)]
pub struct Squeezed {
    limit: Limit,
    /// Process, owner and the value before.
    before: Vec<(i32, (u32, u32), String)>,
}

impl Squeezed {
    /// Puts the limit back to what it was.
    pub fn release(self) {
        for (pid, owner, value) in self.before {
            // The process may have ended meanwhile.
            let _ = self.limit.set(pid, owner, &value);
        }
    }
}

/// The least descriptor number that is free: as a limit it stops the next accept, and no sooner.
pub fn lowest_free_descriptor(process: &procfs::process::Process) -> Option<u64> {
    let open: BTreeSet<i32> = process
        .fd()
        .ok()?
        .filter_map(|fd| Some(fd.ok()?.fd))
        .collect();
    (0..i32::MAX)
        .find(|fd| !open.contains(fd))
        .map(|fd| fd as u64)
}

//! No server outlives the process that started it.
//!
//! Each server leads a process group. Another process, the keeper, reads the ids of these groups from a pipe. When
//! this process ends, also by SIGKILL, the pipe ends, and the keeper kills the groups of the last line.

use std::collections::BTreeSet;
use std::io::{self, BufRead, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, MutexGuard};

use nix::sys::signal::{SigSet, Signal, killpg};
use nix::unistd::Pid;

use crate::helper;
use crate::inheritance::is_ignored;

static GROUPS: Mutex<Groups> = Mutex::new(Groups {
    running: BTreeSet::new(),
    keeper: None,
});

struct Groups {
    running: BTreeSet<i32>,
    keeper: Option<ChildStdin>,
}

impl Groups {
    fn start_keeper(&mut self) -> io::Result<()> {
        if self.keeper.is_none() {
            // In its own group, it does not get the terminal's Ctrl-C.
            let mut keeper = helper::command(helper::KEEPER)?
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .process_group(0)
                .spawn()?;
            self.keeper = keeper.stdin.take();
        }
        Ok(())
    }

    fn tell_keeper(&mut self) {
        if let Some(keeper) = &mut self.keeper {
            let groups: Vec<String> = self.running.iter().map(i32::to_string).collect();
            // It fails if the keeper was killed. All else works without it.
            let _ = writeln!(keeper, "{}", groups.join(" "));
        }
    }
}

fn groups() -> MutexGuard<'static, Groups> {
    GROUPS.lock().expect("no thread panics while it holds this")
}

/// What the keeper does.
pub(crate) fn keep() -> io::Result<()> {
    let mut groups = Vec::new();
    for line in io::stdin().lock().lines() {
        groups = line?
            .split_whitespace()
            .filter_map(|group| group.parse().ok())
            .collect();
    }
    kill_all(groups);
    Ok(())
}

fn kill_all(groups: impl IntoIterator<Item = i32>) {
    for group in groups {
        // It may have ended by itself.
        let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
    }
}

/// From now on SIGINT, SIGTERM and SIGHUP kill all servers and end this process, except those that it ignores. The
/// terminal does not signal the servers, as they are in groups of their own. Call it while there is one thread.
///
/// # Errors
/// When the signals cannot be blocked.
pub fn end_servers_when_interrupted() -> io::Result<()> {
    // A blocked signal is kept, even one that is ignored.
    let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]
        .into_iter()
        .filter(|signal| !is_ignored(*signal))
        .collect();
    signals.thread_block()?;
    std::thread::spawn(move || {
        let signal = signals.wait().expect("the set is valid");
        // While the lock is held, no other server is started.
        let groups = groups();
        kill_all(groups.running.iter().copied());
        std::process::exit(128 + signal as i32);
    });
    Ok(())
}

/// A process group that ends with this process, until this is dropped.
#[derive(Debug)]
pub(crate) struct Kept {
    group: i32,
}

impl Kept {
    /// Starts a process that leads a group of its own.
    pub(crate) fn spawn(command: &mut Command) -> io::Result<(Child, Self)> {
        let mut groups = groups();
        groups.start_keeper()?;
        let child = command.process_group(0).spawn()?;
        let group = child.id() as i32;
        groups.running.insert(group);
        groups.tell_keeper();
        Ok((child, Self { group }))
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let mut groups = groups();
        groups.running.remove(&self.group);
        groups.tell_keeper();
    }
}

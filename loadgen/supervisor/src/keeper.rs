//! Servers do not outlive this process, however it ends.
//!
//! Each server leads a process group. A keeper, a process of its own as nothing in this one runs after a
//! SIGKILL, is told the groups that run, and kills them when it is told no more.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, MutexGuard};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// Reads the groups, line by line; at the end of its input it kills those of the last line.
const SCRIPT: &str = "while read -r line; do groups=$line; done
for group in $groups; do kill -KILL \"-$group\"; done 2>/dev/null";

static GROUPS: Mutex<Groups> = Mutex::new(Groups {
    running: BTreeSet::new(),
    keeper: None,
});

struct Groups {
    running: BTreeSet<i32>,
    keeper: Option<ChildStdin>,
}

impl Groups {
    fn tell(&mut self) {
        if let Some(keeper) = &mut self.keeper {
            let groups: Vec<String> = self.running.iter().map(i32::to_string).collect();
            // Without a keeper all else works as well.
            let _ = writeln!(keeper, "{}", groups.join(" "));
        }
    }
}

fn groups() -> MutexGuard<'static, Groups> {
    GROUPS.lock().expect("no thread panics while it holds this")
}

/// Starts the keeper.
pub fn start() {
    let keeper = Command::new("sh")
        .args(["-c", SCRIPT])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn();
    groups().keeper = keeper.ok().and_then(|mut keeper| keeper.stdin.take());
}

/// Kills all groups and ends this process; no other group begins meanwhile.
pub fn end(code: i32) -> ! {
    let groups = groups();
    for &group in &groups.running {
        let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
    }
    std::process::exit(code);
}

/// A process group that ends with this process, until this is dropped.
#[derive(Debug)]
pub struct Kept {
    group: i32,
}

impl Kept {
    /// Starts a process that leads a group of its own, or is about to.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(command: &mut Command) -> io::Result<(Child, Self)> {
        let mut groups = groups();
        let child = command.spawn()?;
        let group = child.id() as i32;
        groups.running.insert(group);
        groups.tell();
        Ok((child, Self { group }))
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let mut groups = groups();
        groups.running.remove(&self.group);
        groups.tell();
    }
}

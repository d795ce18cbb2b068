//! Lowers a resource limit while a server runs, so that the server runs out of it.

use std::collections::BTreeSet;

use crate::outcome::{Outcome, skipped};
use procfs::process::Process;
use supervisor::Group;
use supervisor::limit::{Resource, set_soft};

/// A limit that was lowered.
#[derive(Debug)]
pub struct Squeezed {
    resource: Resource,
    /// Process and the limit before.
    before: Vec<(i32, Option<u64>)>,
}

/// Lowers the limit of all processes of a server to the `value` for each.
pub fn squeeze(
    group: Group,
    resource: Resource,
    value: impl Fn(&Process) -> Option<u64>,
) -> Outcome<Squeezed> {
    let mut squeezed = Squeezed {
        resource,
        before: Vec::new(),
    };
    for stat in group.processes() {
        // It may have ended meanwhile.
        let Some(value) = Process::new(stat.pid)
            .ok()
            .and_then(|process| value(&process))
        else {
            continue;
        };
        match set_soft(stat.pid, resource, Some(value)) {
            Ok(before) => squeezed.before.push((stat.pid, before)),
            Err(error) => return skipped(format!("a server's limit cannot be set: {error}")),
        }
    }
    Ok(squeezed)
}

impl Squeezed {
    /// Puts the limit back to what it was.
    pub fn release(self) {
        for (pid, before) in self.before {
            // The process may have ended meanwhile.
            let _ = set_soft(pid, self.resource, before);
        }
    }
}

/// The lowest free descriptor number. As a limit it makes the next accept fail, and nothing before.
pub fn lowest_free_descriptor(process: &Process) -> Option<u64> {
    let open: BTreeSet<i32> = process
        .fd()
        .ok()?
        .filter_map(|fd| Some(fd.ok()?.fd))
        .collect();
    (0..i32::MAX)
        .find(|fd| !open.contains(fd))
        .map(|fd| fd as u64)
}

//! Limits that are lowered while a server runs, so that it meets a lack of something.

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

/// Lowers a limit of all processes while they run, to what `value` says of each.
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

/// The lowest descriptor number that is free: as a limit it stops the next accept, and no sooner.
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

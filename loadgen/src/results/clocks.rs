//! What `loadgen clock` wrote of the clocks of several hosts.

use std::path::Path;

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};

use crate::observe::clock_offset::HostClock;
use crate::results::directory::{json, read_versioned, write};

/// How far the clocks of several hosts are ahead of those of one machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Clocks {
    /// The version of the format.
    pub schema_version: u32,
    /// The machine that asked. It is among the hosts, too.
    pub asked_by: HostClock,
    /// The hosts.
    pub hosts: Vec<HostClock>,
}

impl Clocks {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, or is none of `loadgen clock`.
    pub fn read(file: &Path) -> anyhow::Result<Self> {
        read_versioned(file)?.with_context(|| format!("there is no {}", file.display()))
    }

    /// Writes a file, whole or not at all.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, file: &Path) -> anyhow::Result<()> {
        write(file, &json(self)?)
    }

    /// All hosts of several files.
    ///
    /// # Errors
    /// When they were not asked by one machine, since it started.
    pub fn together(all: Vec<Self>) -> anyhow::Result<Vec<HostClock>> {
        let one = all.first().map(|clocks| clocks.asked_by.boot_id.clone());
        ensure!(
            all.iter()
                .all(|clocks| Some(&clocks.asked_by.boot_id) == one.as_ref()),
            "the --clocks files come from different machines, or from before and after a reboot: ask all hosts again with loadgen clock on one machine"
        );
        let hosts = |clocks: Self| clocks.hosts.into_iter().chain([clocks.asked_by]);
        Ok(all.into_iter().flat_map(hosts).collect())
    }
}

//! What was observed on the server's host while other hosts loaded it.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::observe::clock_error::ClockError;
use crate::observe::observed::{MachineShares, Spent};
use crate::results::directory::{json, read_versioned, write};

/// The file's name.
const OBSERVED: &str = "observed.json";

/// What a server and its machine did in a measured time: `observed.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ObservedServer {
    /// The version of the format.
    pub schema_version: u32,
    /// The version of loadgen.
    pub loadgen: String,
    /// The hostname.
    pub host: String,
    /// Tells one start of a machine from another; null: it cannot be read.
    pub boot_id: Option<String>,
    /// When the warm-up was to begin, UTC.
    pub start_at: String,
    /// When the measured time began, UTC by this machine's clock.
    pub begin: String,
    /// When it ended.
    pub end: String,
    /// `begin` by the machine's monotonic clock, nanoseconds.
    pub begin_monotonic_ns: u64,
    /// How far the machine's clock was moved in between, microseconds.
    pub clock_moved_us: f64,
    /// How far the clock may be off; null: nobody says.
    pub clock: Option<ClockError>,
    /// What the server spent.
    pub spent: Spent,
    /// What is not counted exactly, and why; null: all is.
    pub note: Option<String>,
    /// What the machine did from the start of the warm-up to the end.
    pub machine: MachineShares,
}

impl ObservedServer {
    /// Reads the file in a directory; `None` when it is not there.
    ///
    /// # Errors
    /// When it cannot be read, or is of another version.
    pub fn read(directory: &Path) -> anyhow::Result<Option<Self>> {
        read_versioned(&directory.join(OBSERVED))
    }

    /// Writes the file to a directory, whole or not at all.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, directory: &Path) -> anyhow::Result<()> {
        write(&directory.join(OBSERVED), &json(self)?)
    }
}

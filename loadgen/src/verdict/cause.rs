//! Whether a trial counts, and if not, why.

use serde::{Deserialize, Serialize};

/// Whether the figures can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    /// The trial was measured as it should be; whatever the server did is its result.
    Valid,
    /// The trial could not be measured; `causes` says why.
    Invalid,
}

/// Why a trial is INVALID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The generator sent late, or its thread was runnable but not running.
    GeneratorLate,
    /// Open loop: a thread of the generator was busy all the time.
    GeneratorSaturated,
    /// The generator's own limits did not allow all connections.
    ConnectionsMissing,
    /// Answers were wrong.
    Mismatch,
    /// Nothing was answered.
    NoAnswer,
    /// The hypervisor or another process took the machine.
    MachineStolen,
}

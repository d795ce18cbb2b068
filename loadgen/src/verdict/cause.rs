//! Whether a trial counts, and if not, why.

use serde::{Deserialize, Serialize};

/// Whether the figures can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    /// The generator kept its promises; whatever the server did is a result.
    Valid,
    /// The measuring itself failed; `causes` says how.
    Invalid,
}

/// Why a trial is INVALID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The generator sent late, or its thread was runnable but not running.
    GeneratorLate,
    /// Open loop: the generator's thread had no time left.
    GeneratorSaturated,
    /// Not all connections could be opened, through the generator's own limits.
    ConnectionsMissing,
    /// Answers were wrong.
    Mismatch,
    /// Nothing was answered.
    NoAnswer,
    /// The hypervisor or another process took the machine.
    MachineStolen,
}

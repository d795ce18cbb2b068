//! The command line: the flags of each subcommand, and how it exits.
//!
//! *In:* the arguments. *Out:* options for the modules that do the work, and the exit code. *Must not know:* how anything
//! is done.

pub mod answers;
pub mod bench;
pub mod check;
pub mod clock;
pub mod compare;
pub mod completions;
pub mod habits;
mod launcher;
mod load;
pub mod merge;
pub mod observe;
mod overwriting;
pub mod report;
pub mod run;
pub mod search;
pub mod timeline;
mod values;
pub mod versus;

pub use crate::workload::flags::Usage;

/// The exit code of bad usage.
pub const EXIT_USAGE: u8 = 2;
/// The exit code of a trial that was INVALID, and of servers that cannot be started here.
pub const EXIT_INVALID: u8 = 3;
/// The exit code of a trial that missed a `--goal`.
const EXIT_MISSED: u8 = 4;
/// The exit code of a command that was interrupted after it kept what finished.
const EXIT_INTERRUPTED: u8 = 130;

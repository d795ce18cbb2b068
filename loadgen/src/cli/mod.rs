//! The command line: the flags of each subcommand, and how it exits.
//!
//! *In:* the arguments. *Out:* options for the modules that do the work, and the exit code. *Must not know:* how anything
//! is done.

pub mod bench;
pub mod check;
mod client;
pub mod compare;
pub mod completions;
pub mod habits;
mod launcher;
mod load;
pub mod merge;
mod raw;
pub mod report;
mod request;
pub mod run;
pub mod search;
mod tls;
mod values;
pub mod versus;

/// Flags that do not fit together, or cannot be followed here.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// The exit code of bad usage.
pub const EXIT_USAGE: u8 = 2;
/// The exit code of a trial that was INVALID.
const EXIT_INVALID: u8 = 3;
/// The exit code of a trial that missed a `--goal`.
const EXIT_MISSED: u8 = 4;
/// The exit code of a command that was interrupted after it kept what finished.
const EXIT_INTERRUPTED: u8 = 130;

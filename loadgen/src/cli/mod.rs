//! The command line.

pub mod completions;
pub mod run;

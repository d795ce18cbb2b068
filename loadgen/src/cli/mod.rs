//! The command line.

pub mod check;
pub mod completions;
pub mod run;

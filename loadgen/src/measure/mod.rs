//! Trials of one server: one, several of the same load, and the search for the highest rate.
//!
//! *In:* a [`crate::workload::load::Workload`], and whether the machine shall be kept awake and the server be watched.
//! *Out:* trials, on disk and on the terminal. *Must not know:* flags, exit codes, and how a server is started.

pub mod interrupt;
pub mod run;
pub mod search;
pub mod setup;
pub mod trial;

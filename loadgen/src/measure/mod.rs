//! Trials of one server: one, several of the same load, and the search for the highest rate; and the costs of a
//! server that other hosts load.
//!
//! *In:* a [`crate::workload::load::Workload`], and whether the machine shall be kept awake and the server be watched.
//! *Out:* trials, on disk and on the terminal. *Must not know:* flags, exit codes, and how a server is started.

pub mod interrupt;
pub(crate) mod observe;
pub(crate) mod run;
pub(crate) mod search;
pub(crate) mod setup;
pub mod trial;

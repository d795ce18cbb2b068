//! Trials of one server.

pub mod interrupt;
pub mod search;

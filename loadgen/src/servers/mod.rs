//! The servers of a line-up.

pub mod contestant;

//! Starts servers, and ends them for sure: what the bench and the conformance suite share.
#![forbid(unsafe_code)]

pub mod keeper;
mod mode;

pub use mode::Mode;

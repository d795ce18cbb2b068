//! `loadgen`: a TCP load generator whose latency figures can be checked, the bench that runs a
//! line-up of servers under it, and the command that tries the conformance suite on a server.
//!
//! Data flows one way: command line or scenario file -> [`workload`] -> [`engine`] -> [`recording`] ->
//! [`verdict`] -> [`results`] on disk -> [`report`].
#![forbid(unsafe_code)]

pub mod bench;
pub mod cli;
pub mod engine;
pub mod measure;
pub mod observe;
pub mod process;
pub mod protocol;
pub mod recording;
pub mod report;
pub mod results;
pub mod servers;
pub mod stats;
pub mod verdict;
pub mod workload;

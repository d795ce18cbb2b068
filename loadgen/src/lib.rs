//! `loadgen`: a TCP load generator whose latency figures can be checked, the bench that runs a
//! line-up of servers under it, and the conformance suite that every server must pass.
//!
//! Data flows one way: command line or scenario file -> [`workload`] -> [`schedule`] -> [`engine`] ->
//! [`recording`] -> [`verdict`] -> [`trial`] on disk -> report.
#![forbid(unsafe_code)]

pub mod bench;
pub mod bootstrap;
pub mod check;
pub mod compare;
pub mod completions;
pub mod costs;
pub mod engine;
pub mod goal;
pub mod hgrm;
pub mod hlog;
pub mod interrupt;
pub mod keep_awake;
pub mod keeper;
pub mod machine;
pub mod merge;
pub mod neighbours;
pub mod page;
pub mod process;
pub mod protocol;
pub mod recording;
pub mod report;
pub mod results;
pub mod run;
pub mod scenario;
pub mod schedule;
pub mod search;
pub mod summary;
pub mod table;
pub mod trial;
pub mod verdict;
pub mod watch;
pub mod workload;

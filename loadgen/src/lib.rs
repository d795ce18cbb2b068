//! `loadgen`: a TCP load generator whose latency figures can be checked, the bench that runs a line-up of servers
//! under it, and the command that tries the conformance suite on a server.
//!
//! Data go one way: what is asked becomes a workload, the engine makes a recording of it, the verdict judges that, the
//! results keep both on disk, and the report is made from what is on disk.
//!
//! ```text
//! workload -> engine -> recording -> verdict -> results -> report
//!                |                      |                     |
//!            protocol                observe                stats
//! ```
//!
//! `measure` has a trial go through all of that, `bench` has many do so with the `servers` that it starts, `versus` has
//! two servers take turns until their ratio is known, `answers` tries published claims, `check` tries the conformance suite, `timeline` draws how a server
//! waited, and `cli` turns flags into options for them.
//!
//! Each of these is a folder, whose module says what comes in, what goes out and what it must not know. It may use what
//! stands on its line, and nothing else; a test holds all paths in the sources against this list.
//!
//! ```text
//! console   <-
//! workload  <-
//! protocol  <- workload
//! recording <- workload protocol
//! engine    <- workload protocol recording
//! observe   <-
//! verdict   <- workload recording observe
//! results   <- workload recording observe verdict
//! stats     <- recording
//! report    <- console workload recording observe verdict results stats
//! servers   <- workload observe results
//! live      <- console recording engine report
//! measure   <- console workload recording engine observe verdict results report live
//! check     <- console
//! shards    <- console workload recording observe verdict results report
//! bench     <- workload recording engine observe verdict results report servers measure
//! versus    <- console workload observe verdict results stats report servers measure bench
//! answers   <- workload results stats verdict report measure bench
//! timeline  <- workload
//! cli       <- console workload recording observe results report live measure check shards bench versus answers timeline
//! ```
#![deny(unsafe_code)]

mod answers;
mod bench;
mod check;
pub mod cli;
pub mod console;
pub mod engine;
pub mod live;
pub mod measure;
pub mod observe;
pub mod protocol;
pub mod recording;
pub mod report;
pub mod results;
mod servers;
mod shards;
mod stats;
mod timeline;
pub mod verdict;
mod versus;
pub mod workload;

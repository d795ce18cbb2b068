//! The load: of a server in a trial, and of all servers in a bench.
//!
//! *In:* what the user said, as values; scenario files. *Out:* a [`load::Workload`]. Nothing else decides what is
//! sent and when. *Must not know:* how a request is sent, and how it ended.

pub(crate) mod address;
pub mod client;
pub mod course;
pub(crate) mod flags;
pub(crate) mod goal;
pub(crate) mod line_up;
pub mod load;
pub mod mode;
pub mod percentile;
pub mod profile;
pub(crate) mod profile_file;
pub mod raw;
pub mod requests;
pub(crate) mod requirement;
pub(crate) mod scenario;
pub mod schedule;
mod shard;
mod sources;
pub mod target;
pub mod tls;
pub(crate) mod toml_text;

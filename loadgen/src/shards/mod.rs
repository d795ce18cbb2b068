//! Several generators' results become one, as if one generator had done it all.
//!
//! *In:* the directories of the shards. *Out:* a run on disk that the report reads like any other. *Must not know:* how
//! a shard measured.

mod clocks;
mod gathered;
mod loads;
mod logs;
pub mod merge;
mod whole;

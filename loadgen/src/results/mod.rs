//! What is on disk: the trials, and the directory of a run.
//!
//! *In:* a recording, what was seen beside it and the judgement of both. *Out:* files that appear whole or not at all,
//! and the same values read back. *Must not know:* how a trial is measured, and what is concluded from several.

pub mod clocks;
pub mod directory;
pub mod goals;
pub mod observed;
pub mod run;
pub mod shard;
pub mod trial;

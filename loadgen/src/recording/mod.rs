//! What was recorded: the times of the requests, and what became of each of them.
//!
//! *In:* times and errors, one request at a time. *Out:* a [`record::Recording`], and its two forms on disk, the
//! interval log (`.hlog`) and the percentile text (`.hgrm`). *Must not know:* who measures, and what is good or
//! bad.

pub mod account;
pub(crate) mod hgrm;
pub mod histogram;
pub mod hlog;
pub mod merge;
pub mod record;
pub mod stages;
pub mod times;

//! What a trial recorded.

pub mod hgrm;
pub mod hlog;
pub mod merge;
pub mod record;

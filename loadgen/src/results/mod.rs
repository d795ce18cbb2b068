//! A run on disk.

pub mod directory;
pub mod trial;

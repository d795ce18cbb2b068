//! What people read: figures of several trials, tables, sentences, the page, and the comparison of two runs.
//!
//! *In:* what is on disk. *Out:* text for a terminal, Markdown, CSV and HTML. *Must not know:* how anything was
//! measured; it starts nothing and reads no clock.

pub(crate) mod bench_table;
pub(crate) mod comparison;
pub mod csv;
pub(crate) mod failure;
pub(crate) mod figures;
pub(crate) mod files;
mod goals;
pub mod in_short;
pub(crate) mod merged;
pub(crate) mod numbers;
mod page;
mod remarks;
pub(crate) mod section;
pub mod sentences;
pub(crate) mod shards;
pub(crate) mod spread;
mod stages;
pub mod style;
pub mod summary;
pub mod text;
pub mod trial_table;

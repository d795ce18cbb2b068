//! What people read: figures of several trials, tables, sentences, the page, and the comparison of two runs.
//!
//! *In:* what is on disk. *Out:* text for a terminal, Markdown, CSV and HTML. *Must not know:* how anything was
//! measured; it starts nothing and reads no clock.

pub mod bench_table;
pub mod comparison;
pub mod csv;
pub mod figures;
pub mod files;
pub mod merged;
pub mod numbers;
mod page;
mod remarks;
pub mod section;
pub mod sentences;
pub mod spread;
pub mod style;
pub mod summary;
pub mod text;
pub mod trial_table;

//! Figures, tables and pages.

pub mod comparison;
pub mod files;
pub mod page;
pub mod summary;
pub mod table;

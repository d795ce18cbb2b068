//! Whether the figures can be trusted.

pub mod judge;

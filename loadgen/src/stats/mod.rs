//! How sure a figure is.

pub mod bootstrap;

//! How sure a figure of several trials is, and whether two differ: the bootstrap, Student's t, the moderated spread of
//! a table, pooled histograms.
//!
//! *In:* figures and histograms, a trial each. *Out:* estimates with their error, intervals, p-values, differences. *Must not
//! know:* what the figures are of.

pub mod bootstrap;
pub mod line;
pub mod moderated;
pub mod pool;
pub mod ratio;
mod students_t;
pub mod trials;
pub mod turns;

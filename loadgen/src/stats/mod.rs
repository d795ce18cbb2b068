//! How sure a figure of several trials is: the bootstrap, Student's t, the correction for many comparisons, pooled
//! histograms.
//!
//! *In:* figures and histograms, a trial each. *Out:* estimates with their error, intervals, p-values. *Must not
//! know:* what the figures are of.

pub mod bootstrap;
pub mod holm;
pub mod pool;
pub mod ratio;
mod students_t;

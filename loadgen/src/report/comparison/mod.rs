//! B against A, row by row, and how sure each difference is.
//!
//! Two runs are comparable when the machine and the settings were the same, and two rows when the load
//! was. The servers may differ in all: they are what is compared. A rate is all answers over the time of
//! all trials, a percentile that of their merged histograms; [`crate::stats::bootstrap`] says how sure the ratio
//! of two such figures is. All figures of all rows are one family: the chance that any interval misses its ratio, and so
//! that any figure shows a difference where there is none, is 1 %.

mod judge;
mod measured;
mod pairs;
mod programs;
pub mod rows;
mod side;
pub mod text;

use rows::Comparison;
use side::{Side, comparable};

use crate::workload::percentile::Percentile;

/// Compares two runs, or one server of each: `DIR` or `DIR:SERVER`, by their rates and these percentiles. A figure of B
/// that is slower by `threshold` or more, as a share, is a regression.
///
/// # Errors
/// Why the two cannot be compared.
pub fn compare(
    a: &str,
    b: &str,
    percentiles: &[Percentile],
    threshold: f64,
) -> anyhow::Result<Comparison> {
    let (a, b) = (Side::open(a)?, Side::open(b)?);
    comparable(&a, &b)?;
    Comparison::of(&a, &b, percentiles, threshold)
}

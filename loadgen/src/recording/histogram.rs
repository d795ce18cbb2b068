//! The histograms: their bounds, and the figures that are read from them.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::workload::goal::Figure;

/// The smallest time that a histogram records, nanoseconds.
pub const LOWEST: u64 = 1;
/// The greatest, nanoseconds (1 h). Longer times are recorded as this one and counted.
pub const HIGHEST: u64 = 3_600_000_000_000;
/// Significant digits of a histogram.
pub const DIGITS: u8 = 3;

/// An empty histogram; all have the same bounds.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(LOWEST, HIGHEST, DIGITS).expect("the bounds are constants")
}

/// A histogram in figures, microseconds; all null when `count` is 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names are the field's own")]
pub struct Quantiles {
    pub count: u64,
    pub min: Option<f64>,
    pub mean: Option<f64>,
    pub stddev: Option<f64>,
    pub p50: Option<f64>,
    pub p75: Option<f64>,
    pub p90: Option<f64>,
    pub p95: Option<f64>,
    pub p99: Option<f64>,
    pub p99_9: Option<f64>,
    pub p99_99: Option<f64>,
    pub max: Option<f64>,
}

impl Quantiles {
    /// The figures of a histogram of nanoseconds.
    pub fn of(histogram: &Histogram<u64>) -> Self {
        if histogram.is_empty() {
            return Self::default();
        }
        let us = |nanos: f64| Some(nanos / 1e3);
        let at = |quantile| us(histogram.value_at_quantile(quantile) as f64);
        Self {
            count: histogram.len(),
            min: us(histogram.min() as f64),
            mean: us(histogram.mean()),
            stddev: us(histogram.stdev()),
            p50: at(0.5),
            p75: at(0.75),
            p90: at(0.9),
            p95: at(0.95),
            p99: at(0.99),
            p99_9: at(0.999),
            p99_99: at(0.9999),
            max: us(histogram.max() as f64),
        }
    }

    /// One of these figures.
    pub fn figure(&self, figure: Figure) -> Option<f64> {
        match figure {
            Figure::P50 => self.p50,
            Figure::P75 => self.p75,
            Figure::P90 => self.p90,
            Figure::P95 => self.p95,
            Figure::P99 => self.p99,
            Figure::P999 => self.p99_9,
            Figure::P9999 => self.p99_99,
            Figure::Max => self.max,
            Figure::Mean => self.mean,
        }
    }
}

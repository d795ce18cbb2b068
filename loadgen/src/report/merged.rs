//! What is in a merged log: percentiles by tag.

use std::fmt::Write;

use hdrhistogram::Histogram;

use super::numbers::{DASH, count, figure};
use crate::recording::histogram::percentile_of;
use crate::workload::percentile::Percentile;

/// A line for each tag, microseconds.
pub fn render(totals: &[(String, Histogram<u64>)]) -> String {
    let mut text = String::new();
    let mut line = |cells: [&str; 6]| {
        let [tag, others @ ..] = cells;
        // Writing to a String cannot fail.
        let _ = write!(text, "{tag:<12}");
        for cell in others {
            let _ = write!(text, " {cell:>12}");
        }
        text.push('\n');
    };
    line(["us", "count", "p50", "p99", "p99.9", "max"]);
    for (tag, histogram) in totals {
        let tag = if tag.is_empty() { "(no tag)" } else { tag };
        let us = |nanos: u64| figure(nanos as f64 / 1e3);
        let at = |percentile| percentile_of(histogram, percentile).map_or(DASH.to_owned(), us);
        line([
            tag,
            &count(histogram.len()),
            &at(Percentile::P50),
            &at(Percentile::P99),
            &at(Percentile::P999),
            &us(histogram.max()),
        ]);
    }
    text
}

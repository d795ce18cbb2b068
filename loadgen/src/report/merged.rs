//! What is in a merged log: percentiles by tag.

use std::fmt::Write;

use hdrhistogram::Histogram;

use super::numbers::{count, figure};

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
        let at = |quantile| figure(histogram.value_at_quantile(quantile) as f64 / 1e3);
        line([
            tag,
            &count(histogram.len()),
            &at(0.5),
            &at(0.99),
            &at(0.999),
            &at(1.0),
        ]);
    }
    text
}

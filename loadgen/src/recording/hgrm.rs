//! The percentile text of `HdrHistogram`, for its plotter: response times in milliseconds.

use std::fmt::Write;

use hdrhistogram::Histogram;

const NANOS_PER_MILLI: f64 = 1e6;
/// Steps to each halving of the distance to 100 %, as the other implementations have by default.
const TICKS: u32 = 5;

/// The text for a histogram of nanoseconds: value, quantile, samples up to it, 1/(1-quantile).
pub fn render(histogram: &Histogram<u64>) -> String {
    let mut text = String::from("       Value     Percentile TotalCount 1/(1-Percentile)\n\n");
    let line = |text: &mut String, nanos: u64, quantile: f64, count: u64| {
        let value = nanos as f64 / NANOS_PER_MILLI;
        // In the last line the distance to 100 % is 0, and this is `inf`, as in the C implementation.
        let distance = 1.0 / (1.0 - quantile);
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{value:12.6} {quantile:14.12} {count:10} {distance:14.2}"
        );
    };
    let mut count = 0;
    for step in histogram.iter_quantiles(TICKS) {
        count += step.count_since_last_iteration();
        line(
            &mut text,
            step.value_iterated_to(),
            step.quantile_iterated_to(),
            count,
        );
    }
    let ms = |nanos: f64| nanos / NANOS_PER_MILLI;
    let _ = writeln!(
        text,
        "#[Mean    = {:12.6}, StdDeviation   = {:12.6}]",
        ms(histogram.mean()),
        ms(histogram.stdev())
    );
    let _ = writeln!(
        text,
        "#[Max     = {:12.6}, Total count    = {:12}]",
        ms(histogram.max() as f64),
        histogram.len()
    );
    let _ = writeln!(
        text,
        "#[Buckets = {:12}, SubBuckets     = {:12}]",
        histogram.buckets(),
        histogram.distinct_values() * 2 / (usize::from(histogram.buckets()) + 1)
    );
    text
}

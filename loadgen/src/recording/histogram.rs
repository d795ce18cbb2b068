//! The histograms: their bounds, and the figures that are read from them.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::workload::goal::Figure;
use crate::workload::percentile::Percentile;

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

/// A histogram in figures, microseconds; all null when `count` is 0. A percentile with fewer than ten samples beyond it is
/// null.
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
        Self::with_failed(histogram, 0, 0)
    }

    /// The figures when this many requests failed, each of them slower than any time. Requests that timed out are
    /// in the histogram, as its greatest times. A percentile that falls among the failed requests is null, and so
    /// is the mean.
    pub fn with_failed(histogram: &Histogram<u64>, failed: u64, timed_out: u64) -> Self {
        let recorded = histogram.len();
        let answered = recorded.saturating_sub(timed_out);
        let count = answered + failed;
        if answered == 0 {
            return Self {
                count,
                ..Self::default()
            };
        }
        let us = |nanos: f64| Some(nanos / 1e3);
        let of_all = |nanos: f64| if failed == 0 { us(nanos) } else { None };
        let at = |percentile: Percentile| {
            let rank = (percentile.quantile() * count as f64).ceil().max(1.0);
            // In the middle between two ranks no rounding reaches another one.
            let quantile = (rank - 0.5) / recorded as f64;
            (count >= percentile.least_samples() && rank <= answered as f64)
                .then(|| histogram.value_at_quantile(quantile) as f64 / 1e3)
        };
        Self {
            count,
            min: us(histogram.min() as f64),
            mean: of_all(histogram.mean()),
            stddev: of_all(histogram.stdev()),
            p50: at(Percentile::P50),
            p75: at(Percentile::P75),
            p90: at(Percentile::P90),
            p95: at(Percentile::P95),
            p99: at(Percentile::P99),
            p99_9: at(Percentile::P999),
            p99_99: at(Percentile::P9999),
            max: of_all(histogram.max() as f64),
        }
    }

    /// A percentile, unless it has too few samples beyond it; earlier versions wrote it down all the same.
    pub fn percentile(&self, percentile: Percentile) -> Option<f64> {
        let value = match percentile {
            Percentile::P50 => self.p50,
            Percentile::P75 => self.p75,
            Percentile::P90 => self.p90,
            Percentile::P95 => self.p95,
            Percentile::P99 => self.p99,
            Percentile::P999 => self.p99_9,
            Percentile::P9999 => self.p99_99,
        };
        value.filter(|_| self.count >= percentile.least_samples())
    }

    /// One of these figures.
    pub fn figure(&self, figure: Figure) -> Option<f64> {
        match figure {
            Figure::Percentile(percentile) => self.percentile(percentile),
            Figure::Max => self.max,
            Figure::Mean => self.mean,
        }
    }
}

/// A percentile of a histogram, nanoseconds; `None` with fewer than ten samples beyond it.
pub fn percentile_of(histogram: &Histogram<u64>, percentile: Percentile) -> Option<u64> {
    let enough = histogram.len() >= percentile.least_samples();
    enough.then(|| histogram.value_at_quantile(percentile.quantile()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A thousand requests, 1 to 1,000 us.
    fn thousand() -> Histogram<u64> {
        let mut times = histogram();
        for us in 1..=1000 {
            times.record(us * 1000).unwrap();
        }
        times
    }

    #[test]
    fn a_failed_request_is_slower_than_any_other() {
        let near = |us: Option<f64>, expected: f64| {
            let us = us.unwrap();
            assert!((us / expected - 1.0).abs() < 1e-3, "{us} for {expected}");
        };
        let times = Quantiles::with_failed(&thousand(), 0, 0);
        near(times.p99, 990.0);
        near(times.max, 1000.0);
        // The 1,000 answers are 99 % of 1,010 requests: the p99 is the slowest of them.
        let times = Quantiles::with_failed(&thousand(), 10, 0);
        assert_eq!(times.count, 1010);
        near(times.p50, 505.0);
        near(times.p99, 1000.0);
        assert_eq!((times.p99_9, times.max, times.mean), (None, None, None));
        let times = Quantiles::with_failed(&thousand(), 11, 0);
        assert_eq!(times.p99, None);
        near(times.p95, 961.0);
        // The slowest ten timed out: they are among the times already.
        let times = Quantiles::with_failed(&thousand(), 10, 10);
        assert_eq!((times.count, times.max), (1000, None));
        near(times.p50, 500.0);
        near(times.p99, 990.0);
        let times = Quantiles::with_failed(&thousand(), 11, 11);
        assert_eq!((times.count, times.p99), (1000, None));
        let times = Quantiles::with_failed(&histogram(), 3, 0);
        assert_eq!((times.count, times.p50), (3, None));
    }

    #[test]
    fn without_failed_ones_the_quantiles_are_those_of_the_histogram() {
        for len in [1, 2, 19, 20, 21, 99, 100, 101, 999, 1000, 1001] {
            let mut times = histogram();
            for us in 1..=len {
                times.record(us * 1000).unwrap();
            }
            let of = Quantiles::of(&times);
            for percentile in Percentile::ALL {
                let expected = percentile_of(&times, percentile).map(|nanos| nanos as f64 / 1e3);
                assert_eq!(of.percentile(percentile), expected, "{len} {percentile:?}");
            }
        }
    }

    #[test]
    fn a_percentile_needs_ten_samples_beyond_it() {
        let mut times = histogram();
        let figures = |times: &Histogram<u64>| {
            let all = Quantiles::of(times);
            Percentile::ALL.map(|percentile| all.percentile(percentile).is_some())
        };
        for n in 1..=999 {
            times.record(n * 1000).expect("it is in range");
        }
        let (yes, no) = (true, false);
        assert_eq!(figures(&times), [yes, yes, yes, yes, no, no, no]);
        times.record(1).expect("it is in range");
        assert_eq!(figures(&times), [yes, yes, yes, yes, yes, no, no]);
        let of = Quantiles::of(&times);
        assert_eq!((of.p99_9, of.max), (None, Some(999.423)));
        assert_eq!(
            serde_json::to_value(of).expect("it is JSON")["p99_99"],
            serde_json::Value::Null
        );
    }

    #[test]
    fn what_an_earlier_version_wrote_without_the_samples_is_left_out() {
        let old = Quantiles {
            count: 999,
            p99: Some(1.0),
            p95: Some(0.5),
            ..Quantiles::default()
        };
        assert_eq!(
            (
                old.percentile(Percentile::P99),
                old.percentile(Percentile::P95)
            ),
            (None, Some(0.5))
        );
    }
}

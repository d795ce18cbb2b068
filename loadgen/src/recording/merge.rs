//! Merges interval logs without losing a sample, also those of several generators.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use hdrhistogram::Histogram;

use super::hlog::{self, Interval, Log};

/// Why histograms cannot be added.
const DIFFERENT: &str =
    "the histograms differ in their bounds or digits: a sum would lose precision";

/// Merges these files into `out`; returns all samples of it by tag.
///
/// # Errors
/// Which file cannot be read, or merged with the others, and why.
pub fn merge_files(files: &[PathBuf], out: &Path) -> anyhow::Result<Vec<(String, Histogram<u64>)>> {
    let mut logs = Vec::new();
    let mut first = None;
    for file in files {
        let log = std::fs::read_to_string(file)
            .map_err(anyhow::Error::from)
            .and_then(|text| hlog::read(&text))
            .with_context(|| format!("cannot read {}", file.display()))?;
        if log.intervals.is_empty() {
            bail!(
                "cannot merge {}: there is no histogram in it",
                file.display()
            );
        }
        for interval in &log.intervals {
            let own = bounds_of(&interval.histogram);
            let (file_of_first, bounds) = first.get_or_insert((file, own));
            if *bounds != own {
                bail!(
                    "cannot merge {} and {}: {DIFFERENT}",
                    file_of_first.display(),
                    file.display()
                );
            }
        }
        logs.push(log);
    }
    let merged = merge(logs)?;
    let totals = totals(&merged);
    std::fs::write(out, hlog::write(merged.base, merged.intervals)?)
        .with_context(|| format!("cannot write {}", out.display()))?;
    Ok(totals)
}

/// Adds up the histograms of the same tag and second. The earliest log sets the base time, and the intervals of the
/// others move to the nearest second.
///
/// # Errors
/// When histograms differ in their bounds or precision: no sum of them would be lossless.
pub fn merge(logs: Vec<Log>) -> anyhow::Result<Log> {
    let base = logs.iter().map(|log| log.base).min().unwrap_or_default();
    // By second and by the order in which the tags were seen.
    let mut tags: Vec<String> = Vec::new();
    let mut sums: BTreeMap<(u64, usize), Interval> = BTreeMap::new();
    let mut bounds = None;
    for log in logs {
        let shift = log.base.saturating_sub(base);
        for interval in log.intervals {
            let own = bounds_of(&interval.histogram);
            if *bounds.get_or_insert(own) != own {
                bail!(DIFFERENT);
            }
            let second = (interval.start + shift).as_secs_f64().round() as u64;
            let tag = tags.iter().position(|tag| *tag == interval.tag);
            let tag = tag.unwrap_or_else(|| {
                tags.push(interval.tag.clone());
                tags.len() - 1
            });
            match sums.get_mut(&(second, tag)) {
                None => {
                    let start = Duration::from_secs(second);
                    sums.insert((second, tag), Interval { start, ..interval });
                }
                Some(sum) => {
                    sum.length = sum.length.max(interval.length);
                    sum.histogram.add(interval.histogram)?;
                }
            }
        }
    }
    Ok(Log {
        base,
        intervals: sums.into_values().collect(),
    })
}

fn bounds_of(histogram: &Histogram<u64>) -> (u64, u64, u8) {
    (histogram.low(), histogram.high(), histogram.sigfig())
}

/// All samples of a log, by tag.
fn totals(log: &Log) -> Vec<(String, Histogram<u64>)> {
    let mut totals: Vec<(String, Histogram<u64>)> = Vec::new();
    for interval in &log.intervals {
        match totals.iter_mut().find(|(tag, _)| *tag == interval.tag) {
            None => totals.push((interval.tag.clone(), interval.histogram.clone())),
            Some((_, total)) => total
                .add(&interval.histogram)
                .expect("merged histograms have the same bounds"),
        }
    }
    totals
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::recording::histogram::{DIGITS, HIGHEST, LOWEST, histogram};

    fn log(base: Duration, samples: &[(u64, bool, u64)]) -> Log {
        let intervals = samples.iter().map(|&(second, service, value)| {
            let mut histogram = histogram();
            histogram.record(value).unwrap();
            Interval {
                tag: if service { "service" } else { "response" }.to_owned(),
                start: Duration::from_secs(second),
                length: Duration::from_secs(1),
                histogram,
            }
        });
        Log {
            base,
            intervals: intervals.collect(),
        }
    }

    fn samples() -> impl Strategy<Value = Vec<(u64, bool, u64)>> {
        prop::collection::vec((0..3u64, any::<bool>(), LOWEST..=HIGHEST), 1..6)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn the_merge_of_shards_is_the_histogram_of_the_union(shards in prop::collection::vec(samples(), 1..4)) {
            let base = Duration::from_secs(1_000_000);
            let union = shards.concat();
            let written = merge(shards.iter().map(|shard| log(base, shard)).collect()).unwrap();
            let text = String::from_utf8(hlog::write(written.base, written.intervals).unwrap()).unwrap();
            let merged = hlog::read(&text).unwrap();
            for interval in &merged.intervals {
                let mut expected = histogram();
                for &(second, service, value) in &union {
                    if interval.start == Duration::from_secs(second) && service == (interval.tag == "service") {
                        expected.record(value).unwrap();
                    }
                }
                prop_assert_eq!(&interval.histogram, &expected);
            }
            let samples: u64 = merged.intervals.iter().map(|interval| interval.histogram.len()).sum();
            prop_assert_eq!(samples, union.len() as u64);
        }
    }

    #[test]
    fn seconds_of_a_later_start_are_aligned() {
        let early = log(Duration::from_secs(100), &[(0, false, 5), (2, false, 6)]);
        let late = log(Duration::from_millis(102_003), &[(0, false, 7)]);
        let merged = merge(vec![early, late]).unwrap();
        assert_eq!(merged.base, Duration::from_secs(100));
        let found: Vec<_> = merged
            .intervals
            .iter()
            .map(|interval| (interval.start.as_secs(), interval.histogram.len()))
            .collect();
        assert_eq!(found, [(0, 1), (2, 2)]);
    }

    #[test]
    fn unequal_bounds_are_refused() {
        let one = log(Duration::ZERO, &[(0, false, 5)]);
        let mut other = log(Duration::ZERO, &[(0, false, 5)]);
        other.intervals[0].histogram =
            Histogram::new_with_bounds(LOWEST, HIGHEST, DIGITS - 1).unwrap();
        assert!(
            merge(vec![one, other])
                .unwrap_err()
                .to_string()
                .contains("bounds")
        );
    }
}

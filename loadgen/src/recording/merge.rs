//! Merges interval logs without losing a sample, also those of several generators.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use hdrhistogram::Histogram;

use super::hlog::{self, Interval, Log};

/// Why histograms cannot be added.
const DIFFERENT: &str =
    "the histograms differ in their lowest value or their digits: a sum would lose precision";

/// Merges these files into `out`; returns all samples of it by tag.
///
/// # Errors
/// Which file cannot be read, or merged with the others, and why.
pub fn merge_files(files: &[PathBuf], out: &Path) -> anyhow::Result<Vec<(String, Histogram<u64>)>> {
    let mut logs: Vec<Log> = Vec::new();
    let mut first_of_tag = HashMap::new();
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
            let own = grain_of(&interval.histogram);
            let (first, grain) = first_of_tag
                .entry(interval.tag.clone())
                .or_insert((file, own));
            if *grain != own {
                bail!(
                    "cannot merge {} and {}: {DIFFERENT}",
                    first.display(),
                    file.display()
                );
            }
        }
        if let Some(other) = logs.first()
            && other.has_a_date() != log.has_a_date()
        {
            let (dated, dateless) = if log.has_a_date() {
                (file, &files[0])
            } else {
                (&files[0], file)
            };
            bail!(
                "cannot merge {} and {}: only the first says when it was recorded, so which of their intervals belong together is not known",
                dated.display(),
                dateless.display()
            );
        }
        logs.push(log);
    }
    let merged = merge(logs)?;
    let totals = totals(&merged);
    std::fs::write(out, hlog::write(merged.base, merged.intervals)?)
        .with_context(|| format!("cannot write {}", out.display()))?;
    Ok(totals)
}

/// Adds up the histograms of the same tag and time. The earliest log sets the base time. An interval is added to that
/// of another log which begins next to it, within half an interval; without one it stays alone.
///
/// # Errors
/// When histograms of a tag differ in their unit or digits: no sum of them would be lossless.
pub fn merge(mut logs: Vec<Log>) -> anyhow::Result<Log> {
    logs.sort_by_key(|log| log.base);
    let base = logs.first().map_or(Duration::ZERO, |log| log.base);
    // The tags, and the grain of each.
    let mut tags: Vec<(String, (u64, u8))> = Vec::new();
    // By time and by the order in which the tags were seen.
    let mut sums: BTreeMap<(Duration, usize), Sum> = BTreeMap::new();
    for (number, log) in logs.into_iter().enumerate() {
        let shift = log.base.saturating_sub(base);
        // The last interval of a log is often shorter.
        let length = log.intervals.iter().map(|interval| interval.length).max();
        let length = length.unwrap_or_default();
        for mut interval in log.intervals {
            interval.start += shift;
            let grain = grain_of(&interval.histogram);
            let tag = tags.iter().position(|(tag, _)| *tag == interval.tag);
            let tag = tag.unwrap_or_else(|| {
                tags.push((interval.tag.clone(), grain));
                tags.len() - 1
            });
            if tags[tag].1 != grain {
                bail!(DIFFERENT);
            }
            let near = length / 2;
            let earliest = interval.start.saturating_sub(near);
            let range = (earliest, 0)..=(interval.start + near, usize::MAX);
            let neighbour = sums
                .range_mut(range)
                .filter(|((start, of), sum)| {
                    let apart = start.abs_diff(interval.start);
                    *of == tag && sum.takes(number, apart)
                })
                .min_by_key(|((start, _), _)| start.abs_diff(interval.start));
            if let Some((_, sum)) = neighbour {
                sum.newest = number;
                sum.interval.length = sum.interval.length.max(interval.length);
                sum.interval.histogram.add(interval.histogram)?;
            } else {
                // A log may hold a value beyond the highest of the first one.
                interval.histogram.auto(true);
                let sum = Sum {
                    interval,
                    newest: number,
                    near,
                };
                sums.insert((sum.interval.start, tag), sum);
            }
        }
    }
    Ok(Log {
        base,
        intervals: sums.into_values().map(|sum| sum.interval).collect(),
    })
}

/// Intervals of several logs that were added up.
struct Sum {
    interval: Interval,
    /// The last log that was added.
    newest: usize,
    /// Half the length of the intervals of the log that it began with.
    near: Duration,
}

impl Sum {
    /// Whether an interval of this log that begins this far away is part of it. Two intervals of one log are not
    /// added, unless they begin at the same time.
    fn takes(&self, log: usize, apart: Duration) -> bool {
        apart.is_zero() || (self.newest != log && apart <= self.near)
    }
}

/// Adding is lossless where these are equal. The highest value may differ: a histogram can grow.
fn grain_of(histogram: &Histogram<u64>) -> (u64, u8) {
    (histogram.low(), histogram.sigfig())
}

/// All samples of a log, by tag.
fn totals(log: &Log) -> Vec<(String, Histogram<u64>)> {
    let mut totals: Vec<(String, Histogram<u64>)> = Vec::new();
    for interval in &log.intervals {
        match totals.iter_mut().find(|(tag, _)| *tag == interval.tag) {
            None => {
                let mut total = interval.histogram.clone();
                total.auto(true);
                totals.push((interval.tag.clone(), total));
            }
            Some((_, total)) => total
                .add(&interval.histogram)
                .expect("merged histograms have the same digits, and the sum grows"),
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

    /// Intervals of this length, each with one sample, and the last one shorter.
    fn short(base: Duration, length: Duration, count: u32) -> Log {
        let mut log = log(base, &vec![(0, false, 5); count as usize]);
        for (number, interval) in (0..).zip(&mut log.intervals) {
            interval.start = length * number;
            interval.length = length;
        }
        log.intervals.last_mut().unwrap().length = length / 7;
        log
    }

    #[test]
    fn intervals_shorter_than_a_second_keep_their_lengths() {
        let length = Duration::from_millis(100);
        let early = short(Duration::from_secs(100), length, 5);
        let late = short(Duration::from_millis(100_230), length, 4);
        let merged = merge(vec![late, early]).unwrap();
        let found: Vec<_> = merged
            .intervals
            .iter()
            .map(|interval| {
                let (start, length) = (interval.start.as_millis(), interval.length.as_millis());
                (start, length, interval.histogram.len())
            })
            .collect();
        assert_eq!(
            found,
            [
                (0, 100, 1),
                (100, 100, 1),
                (200, 100, 2),
                (300, 100, 2),
                (400, 100, 2),
                (530, 14, 1)
            ]
        );
    }

    #[test]
    fn histograms_that_grew_are_added_and_the_sum_grows() {
        let mut small = log(Duration::ZERO, &[(0, false, 5)]);
        let mut grown = log(Duration::ZERO, &[(0, false, 5)]);
        for (log, value) in [(&mut small, 7), (&mut grown, 70_000_000)] {
            let mut histogram = Histogram::new(DIGITS).unwrap();
            histogram.record(value).unwrap();
            log.intervals[0].histogram = histogram;
        }
        assert_ne!(
            small.intervals[0].histogram.high(),
            grown.intervals[0].histogram.high()
        );
        let merged = merge(vec![small, grown]).unwrap();
        let sum = &merged.intervals[0].histogram;
        assert_eq!((sum.len(), sum.min()), (2, 7));
        assert!(sum.equivalent(sum.max(), 70_000_000));
    }

    #[test]
    fn tags_may_differ_in_their_precision() {
        let coarse = || {
            let mut histogram = Histogram::new_with_bounds(1, 1000, 1).unwrap();
            histogram.record(7).unwrap();
            histogram
        };
        let mixed = || {
            let mut mixed = log(Duration::ZERO, &[(0, false, 5), (0, true, 5)]);
            mixed.intervals[1].histogram = coarse();
            mixed
        };
        let merged = merge(vec![mixed(), mixed()]).unwrap();
        let sums: Vec<_> = merged
            .intervals
            .iter()
            .map(|sum| {
                (
                    sum.tag.as_str(),
                    sum.histogram.sigfig(),
                    sum.histogram.len(),
                )
            })
            .collect();
        assert_eq!(sums, [("response", 3, 2), ("service", 1, 2)]);
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
                .contains("digits")
        );
    }
}

//! The intervals of several trials.

use std::collections::HashMap;

use loadgen::report::csv as table_csv;
use loadgen::report::style::Style;
use loadgen::verdict::cause::{Cause, Verdict};

use crate::results::{Results, table_of};

/// The chance that at least `least` of five draws are among the first `k` of five trials.
fn at_least(least: u32, k: u32) -> f64 {
    let share = f64::from(k) / 5.0;
    let ways = [1.0, 5.0, 10.0, 10.0, 5.0, 1.0];
    (least..=5)
        .map(|n| {
            let (inside, outside) = (share.powi(n as i32), (1.0 - share).powi(5 - n as i32));
            ways[n as usize] * inside * outside
        })
        .sum()
}

/// The half width of the 95 % interval, as a share of the value, of a figure that is the `least`-th smallest
/// of five trials' `values`. All 5^5 ways to draw five of them are counted, and not only some as a bootstrap
/// does. (J. S. Maritz, R. G. Jarrett, *A Note on Estimating the Variance of the Sample Median*, 1978.)
fn half_width(values: [f64; 5], least: u32) -> f64 {
    const STUDENTS_T: f64 = 2.776_445;
    let chances = [1, 2, 3, 4, 5].map(|k| at_least(least, k) - at_least(least, k - 1));
    let moment = |power: i32| -> f64 {
        let draws = values.iter().zip(chances);
        draws
            .map(|(value, chance)| value.ln().powi(power) * chance)
            .sum()
    };
    let variance = moment(2) - moment(1).powi(2);
    let reach = (STUDENTS_T * (variance * 5.0 / 4.0).sqrt()).exp();
    (reach - 1.0 / reach) / 2.0
}

#[test]
fn five_trials_have_the_interval_that_all_draws_of_them_give() {
    const PERCENT: [f64; 5] = [100.0, 96.0, 103.0, 99.0, 110.0];
    let sorted = [96.0, 99.0, 100.0, 103.0, 110.0];
    let results = Results::new(5);
    for (number, percent) in (1..).zip(PERCENT) {
        let us = percent as u64 * 10;
        results.trial("epoll", number, percent * 1e3, &vec![us; 10_000], |_| {});
    }
    let close = |found: f64, expected: f64| {
        // Four standard errors of a deviation that 2,000 draws estimate.
        assert!(
            (found / expected - 1.0).abs() < 4.0 / 4000_f64.sqrt(),
            "{found} {expected}"
        );
    };
    let figures = |results: &Results| {
        let row = results.summary().sections[0].rows[0].clone();
        row.outcome.unwrap()
    };
    let found = figures(&results);
    // Each trial is of one time, so the median of all is that of the middle trial drawn, p99 and p99.9 that of
    // the slowest.
    for (spread, value, least) in [
        (Some(found.rate), 100e3, 3),
        (found.p50_us, 1000.0, 3),
        (found.p99_us, 1100.0, 5),
        (found.p99_9_us, 1100.0, 5),
    ] {
        let spread = spread.unwrap();
        assert!((spread.value / value - 1.0).abs() < 1e-3, "{spread:?}");
        close(spread.relative().unwrap(), half_width(sorted, least));
        let (low, high) = spread.interval.unwrap();
        assert!(
            (low * high / value.powi(2) - 1.0).abs() < 2e-3,
            "{spread:?}"
        );
    }
    let text = table_of(&results, Style::Plain);
    let shown = format!(
        "100,000 \u{b1}{:.0}%",
        found.rate.relative().unwrap() * 100.0
    );
    assert!(text.contains(&shown), "{text}");
    let csv = table_csv::render(&results.summary()).unwrap();
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let row: HashMap<String, String> = reader.deserialize().next().unwrap().unwrap();
    for (column, spread) in [
        ("requests_per_s", found.rate),
        ("p50", found.p50_us.unwrap()),
        ("p99", found.p99_us.unwrap()),
        ("p99_9", found.p99_9_us.unwrap()),
    ] {
        let unit = if column == "requests_per_s" {
            ""
        } else {
            "_us"
        };
        let (low, high) = spread.interval.unwrap();
        for (bound, value) in [
            ("least", spread.range.unwrap().0),
            ("most", spread.range.unwrap().1),
            ("low", low),
            ("high", high),
        ] {
            let cell = &row[&format!("{column}_{bound}{unit}")];
            assert_eq!(*cell, value.to_string(), "{column} {bound}");
        }
    }

    // With a trial fewer that counts there is the range and no interval.
    results.trial("epoll", 5, 110e3, &vec![1100; 10_000], |trial| {
        trial.verdict = Verdict::Invalid;
        trial.causes.push(Cause::MachineStolen);
    });
    let found = figures(&results);
    for spread in [Some(found.rate), found.p50_us, found.p99_us, found.p99_9_us] {
        let spread = spread.unwrap();
        assert_eq!(spread.interval, None);
        assert!(
            (spread.relative().unwrap() - 7.0 / 2.0 / 100.0).abs() < 2e-3,
            "{spread:?}"
        );
    }
}

//! Tables, CSV and sentences from trials whose figures are known.

mod failing;
mod intervals;
mod results;
mod sentences;
mod tables;

use std::collections::HashMap;

use loadgen::report::csv as table_csv;
use loadgen::report::style::Style;
use loadgen::report::summary::Summary;
use loadgen::verdict::cause::{Cause, Verdict};

use results::{Results, table_of};

#[test]
fn percentiles_come_from_merged_histograms() {
    let results = Results::new(3);
    // The 90th percentile of all thirty is the greatest; the mean of the trials' own is not.
    results.trial("epoll", 1, 10.0, &[10; 10], |_| {});
    results.trial("epoll", 2, 10.0, &[10; 10], |_| {});
    results.trial(
        "epoll",
        3,
        10.0,
        &[10, 10, 10, 10, 10, 10, 500, 500, 500, 500],
        |_| {},
    );
    let summary = results.summary();
    let figures = summary.sections[0].rows[0].outcome.as_ref().unwrap();
    assert_eq!(figures.response_us.count, 30);
    let p90 = figures.response_us.p90.unwrap();
    assert!((499.0..502.0).contains(&p90), "{p90}");
    assert!(figures.response_us.p75.unwrap() < 11.0);
    assert_eq!(figures.trials, 3);
}

#[test]
fn trials_without_an_answer_are_a_row() {
    let results = Results::new(5);
    for number in 1..=5 {
        results.trial("epoll", number, 0.0, &[], |trial| {
            trial.verdict = Verdict::Failed;
            trial.causes.push(Cause::NoAnswer);
        });
    }
    let text = table_of(&results, Style::Plain);
    assert!(
        text.contains("epoll: FAILED: no answer in 5 of 5 trials"),
        "{text}"
    );
}

#[test]
fn a_log_that_lost_a_sample_is_refused() {
    let results = Results::new(2);
    for number in 1..=2 {
        results.trial("epoll", number, 1000.0, &[100, 200], |trial| {
            trial.response_us.count += 1;
        });
    }
    let error = Summary::read(&results.directory, &results.run).unwrap_err();
    let said = format!("{error:#}");
    assert!(
        said.contains("it has 2 response times, the trial 3"),
        "{said}"
    );
}

#[test]
fn the_csv_has_every_row_and_no_units() {
    let results = Results::of_all_kinds();
    let csv = table_csv::render(&results.summary()).unwrap();
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let rows: Vec<HashMap<String, String>> =
        reader.deserialize().collect::<Result<_, _>>().unwrap();
    assert_eq!(rows.len(), 6);
    for row in &rows {
        for (name, value) in row {
            let text = [
                "scenario", "point", "server", "status", "reason", "mode", "load", "verdict",
                "causes", "notes",
            ];
            if !text.contains(&name.as_str()) && !value.is_empty() {
                assert!(
                    value.parse::<f64>().is_ok_and(f64::is_finite),
                    "{name}: {value}"
                );
            }
        }
    }
    let epoll = &rows[0];
    assert_eq!(
        (epoll["server"].as_str(), epoll["status"].as_str()),
        ("epoll", "measured")
    );
    assert_eq!(
        (epoll["rate"].as_str(), epoll["rate_least"].as_str()),
        ("122000", "121000")
    );
    assert_eq!(epoll["syscalls_per_request"], "");
    assert_eq!(epoll["response_count"], "9");
}

//! Tables, CSV and sentences from trials whose figures are known.

mod closing;
mod failing;
mod intervals;
mod results;
mod sentences;
mod tables;

use std::collections::HashMap;

use loadgen::report::csv as table_csv;
use loadgen::report::style::Style;
use loadgen::report::summary::Summary;
use loadgen::report::text;
use loadgen::verdict::cause::{Cause, Verdict};
use loadgen::workload::percentile::Percentile;

use results::{Results, table_of};

#[test]
fn percentiles_come_from_merged_histograms() {
    let results = Results::new(3);
    // The 90th percentile of all 300 is the greatest; the mean of the trials' own is not.
    results.trial("epoll", 1, 10.0, &[10; 100], |_| {});
    results.trial("epoll", 2, 10.0, &[10; 100], |_| {});
    results.trial(
        "epoll",
        3,
        10.0,
        &[[10; 60].as_slice(), &[500; 40]].concat(),
        |_| {},
    );
    let summary = results.summary();
    let figures = summary.sections[0].rows[0].outcome.as_ref().unwrap();
    assert_eq!(figures.response_us.count, 300);
    let p90 = figures.response_us.p90.unwrap();
    assert!((499.0..502.0).contains(&p90), "{p90}");
    assert!(figures.response_us.p75.unwrap() < 11.0);
    assert_eq!(figures.trials, 3);
}

#[test]
fn a_percentile_with_few_samples_is_a_dash_and_a_null() {
    let results = Results::new(3);
    // All trials together have 999 requests.
    for number in 1..=3 {
        results.trial("epoll", number, 10.0, &[10; 333], |_| {});
    }
    let figures = |results: &Results| {
        results.summary().sections[0].rows[0]
            .clone()
            .outcome
            .unwrap()
    };
    let found = figures(&results);
    assert!(
        found.response_us.p90.is_some() && found.p50_us.is_some(),
        "{found:?}"
    );
    assert_eq!((found.response_us.p99, found.p99_us), (None, None));
    assert!(found.response_us.max.is_some());
    let text = table_of(&results, Style::Plain);
    let row = text.lines().find(|line| line.contains("epoll ")).unwrap();
    assert_eq!(row.matches('\u{2013}').count(), 2, "p99 and p99.9: {text}");
    let csv = table_csv::render(&results.summary()).unwrap();
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let row: HashMap<String, String> = reader.deserialize().next().unwrap().unwrap();
    for (column, is_there) in [
        ("p90_us", true),
        ("p99_us", false),
        ("p99_9_us", false),
        ("p99_99_us", false),
        ("p99_least_us", false),
        ("max_us", true),
    ] {
        assert_eq!(!row[column].is_empty(), is_there, "{column}");
    }
    // With one more there is a p99, though no trial has one of its own.
    results.trial("epoll", 3, 10.0, &[10; 334], |_| {});
    let p99 = figures(&results).p99_us.unwrap();
    assert!(p99.range.is_none() && p99.logs.is_some(), "{p99:?}");
}

#[test]
fn the_percentiles_of_the_tables_can_be_chosen() {
    let mut results = Results::new(1);
    results.run.settings.percentiles = vec![Percentile::P50, Percentile::P95, Percentile::P9999];
    results.trial("epoll", 1, 10.0, &[10; 10], |_| {});
    let markdown = text::markdown(&results.summary());
    let headings = markdown
        .lines()
        .find(|line| line.contains("p50 us"))
        .unwrap();
    assert!(
        headings.contains("p95 us") && headings.contains("p99.99 us"),
        "{headings}"
    );
    assert!(
        !headings.contains("p90") && !headings.contains("p99 us"),
        "{headings}"
    );
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
fn the_csv_names_its_columns_as_the_tables_do() {
    let mut results = Results::of_all_kinds();
    results.run.settings.percentiles = Percentile::ALL.to_vec();
    let summary = results.summary();
    let csv = table_csv::render(&summary).unwrap();
    let names: Vec<&str> = csv.lines().next().unwrap().split(',').collect();
    let markdown = text::markdown(&summary);
    let headings = markdown.lines().find(|line| line.starts_with("| server"));
    let headings: Vec<&str> = headings.unwrap().trim_matches('|').split('|').collect();
    assert_eq!(headings.len(), 19, "{headings:?}");
    for heading in headings {
        let name = heading
            .trim()
            .to_lowercase()
            .replace(" /request", "/request");
        let name = name.replace('/', "_per_").replace([' ', '.'], "_");
        assert!(names.contains(&name.as_str()), "{heading}: {name}");
    }
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
        (
            epoll["requests_per_s"].as_str(),
            epoll["requests_per_s_least"].as_str()
        ),
        ("122000", "121000")
    );
    assert_eq!(epoll["syscalls_per_request"], "");
    assert_eq!(epoll["response_count"], "9");
}

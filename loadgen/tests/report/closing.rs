//! How a bench closes on a terminal of 80 columns, with all servers and scenarios that there are.

use loadgen::recording::histogram::{HIGHEST, Quantiles, histogram};
use loadgen::report::in_short;
use loadgen::report::style::Style;
use loadgen::report::summary::Summary;
use loadgen::report::{text, trial_table};
use loadgen::results::shard::ShardRow;
use loadgen::results::trial::{StageResult, Trial};
use loadgen::verdict::cause::{Cause, Verdict};
use loadgen::workload::percentile::Percentile;
use loadgen::workload::profile::Profile;

use crate::results::Results;

const WIDTH: u16 = 80;

/// A run of a built-in profile in which each server of the line-up has a trial at each point. `times` says by the server's
/// place how many times as long as the first one it takes.
fn run(
    profile: &str,
    times: impl Fn(usize) -> f64,
    edit: impl Fn(usize, &mut Trial),
) -> (Profile, Summary) {
    let profile = Profile::built_in(profile).unwrap();
    let results = Results::of_files(1, profile.files.clone());
    for scenario in &profile.scenarios {
        for point in &scenario.points {
            for (at, server) in profile.servers.iter().enumerate() {
                let place = results
                    .directory
                    .point(&scenario.name, &server.name, &point.name);
                let mut response = histogram();
                let nanos = (12_345e3 * times(at)) as u64;
                response.record_n(nanos.min(HIGHEST), 1000).unwrap();
                let rate = 212_345.0 / times(at);
                // A single trial is read without its log.
                Results::write(&place, 1, rate, &[], |trial| {
                    trial.response_us = Quantiles::of(&response);
                    edit(at, trial);
                });
            }
        }
    }
    let summary = results.summary();
    (profile, summary)
}

/// At most ten lines, each as it stands in 80 columns.
fn closing(summary: &Summary) -> Vec<String> {
    let lines = in_short::lines(summary);
    assert!((2..=10).contains(&lines.len()), "{lines:#?}");
    assert_eq!(lines[0], "In short");
    for line in &lines {
        assert!(line.chars().count() <= WIDTH.into(), "{line}");
    }
    lines
}

/// The word with which the line of a scenario begins.
fn begins(line: &str) -> &str {
    line.trim_start().split([',', ':']).next().unwrap()
}

#[test]
fn a_bench_of_all_servers_closes_with_ten_lines_of_80_columns() {
    type Times = fn(usize) -> f64;
    let level: Times = |_| 1.0;
    let different: Times = |at| 1.6_f64.powi(at as i32);
    let groups: Times = |at| [1.0, 3.0, 30.0][at % 3];
    for (profile, times) in [
        ("quick", level),
        ("quick", different),
        ("quick", groups),
        ("full", groups),
    ] {
        let (profile, summary) = run(profile, times, |_, _| {});
        assert!(profile.servers.len() >= 22);
        let lines = closing(&summary);
        let begun: Vec<&str> = lines.iter().map(|line| begins(line)).collect();
        for scenario in &profile.scenarios {
            assert!(begun.contains(&scenario.name.as_str()), "{lines:#?}");
        }
        assert!(lines.last().unwrap().contains("--trials 5"), "{lines:#?}");
    }
}

#[test]
fn the_lines_say_who_leads_who_is_last_and_who_is_not_ranked() {
    let names: Vec<String> = Profile::built_in("quick")
        .unwrap()
        .servers
        .into_iter()
        .map(|server| server.name)
        .collect();
    let (_, summary) = run(
        "quick",
        |at| match names[at].as_str() {
            "poll" | "epoll" => 1.0,
            "select" => 30.0,
            _ => 3.0,
        },
        |at, trial| match names[at].as_str() {
            "threads" => {
                trial.verdict = Verdict::Failed;
                trial.causes.push(Cause::WrongAnswers);
            }
            "tokio" => {
                trial.verdict = Verdict::Invalid;
                trial.causes.push(Cause::MachineStolen);
            }
            _ => {}
        },
    );
    let lines = closing(&summary);
    let active = lines.iter().find(|line| begins(line) == "active");
    assert_eq!(
        active.map(String::as_str),
        Some("  active: poll and epoll level at 212,000/s; last: select (97 % fewer)")
    );
    let (_, none) = run(
        "quick",
        |_| 1.0,
        |_, trial| trial.verdict = Verdict::Invalid,
    );
    assert_eq!(closing(&none)[1], "  ping: no VALID result (see its table)");
    let points = summary.sections.len();
    let apart = format!("  not ranked: {points} FAILED, {points} INVALID (see the tables)");
    assert!(lines.contains(&apart), "{lines:#?}");
}

#[test]
fn tables_of_all_servers_fit_into_80_columns() {
    let style = Style::Terminal {
        width: WIDTH,
        colour: false,
    };
    let (_, summary) = run("quick", |at| 1.6_f64.powi(at as i32), |_, _| {});
    for section in &summary.sections {
        let text = text::for_section(section, style);
        // Only what is no table is folded.
        let rows = text
            .lines()
            .filter(|line| line.starts_with("  > ") || line.contains('\u{2500}'));
        for line in rows.chain(style.fold(&text).lines()) {
            assert!(line.chars().count() <= WIDTH.into(), "{line}");
        }
        for row in &section.rows {
            let own = text
                .lines()
                .filter(|line| line.split_whitespace().any(|word| word == row.server));
            let folded = style.fold(&text);
            for line in own.filter(|line| line.contains("\u{b1}") || line.ends_with(' ')) {
                assert!(folded.lines().any(|folded| folded == line), "{line}");
            }
        }
        assert!(
            text.contains("requests/s") && text.contains("p50"),
            "{text}"
        );
        assert!(text.contains("no room for: "), "{text}");
    }
}

#[test]
fn tables_of_stages_and_of_shards_fit_into_80_columns() {
    let results = Results::new(1);
    results.trial("epoll", 1, 123_456.0, &[1_234_567; 1000], |trial| {
        trial.stages = (0..3)
            .map(|at| StageResult {
                from: 123_456.0 * f64::from(at),
                to: 223_456.0,
                length_s: 83.25,
                scheduled: 12_345_678,
                answered: 12_345_678,
                failed: 1_234_567,
                response_us: trial.response_us,
            })
            .collect();
        trial.shards = (1..=3)
            .map(|number| ShardRow {
                number,
                host: format!("load-{number}.example.org"),
                verdict: Verdict::Valid,
                causes: Vec::new(),
                connections: 10_000,
                scheduled: 12_345_678,
                answered: 12_345_678,
                rate: 123_456.0,
                response_p99_us: Some(1_234_567.0),
                lateness_max_us: Some(12_345.0),
                read_delay_max_us: None,
                begin: String::new(),
                clock_ahead_us: Some(12.0),
                clock_bound_us: Some(345.0),
                clock_source: None,
            })
            .collect();
    });
    let style = Style::Terminal {
        width: WIDTH,
        colour: false,
    };
    let summary = results.summary();
    let text = text::for_section(&summary.sections[0], style);
    // What is no row of a table is folded.
    for line in text.lines().filter(|line| !line.contains("no room")) {
        assert!(line.chars().count() <= WIDTH.into(), "{line}");
    }
    assert_eq!(text.matches("  no room for: ").count(), 3, "{text}");
    let trial = &summary.sections[0].rows[0].outcome.as_ref().unwrap().each[0];
    let text = trial_table::render(trial, &Percentile::ALL, style);
    assert!(
        text.contains("  no room for: p75, p90, p95, p99.99, mean (--json has all)\n"),
        "{text}"
    );
    assert!(text.contains("  no room for: scheduled, "), "{text}");
    let wide = text::for_section(&summary.sections[0], Style::Plain);
    assert!(!wide.contains("no room for"), "{wide}");
}

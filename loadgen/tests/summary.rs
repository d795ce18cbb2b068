//! Tables, CSV and sentences from trials whose figures are known.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram;
use loadgen::observe::cores::allowed_cpus;
use loadgen::observe::machine::Machine;
use loadgen::observe::observed::{MachineShares, ServerCosts};
use loadgen::recording::account::{Counts, MinMax, NeighbourCounts};
use loadgen::recording::histogram::{Quantiles, histogram};
use loadgen::recording::record::Recording;
use loadgen::recording::times::{Interval, Times};
use loadgen::report::sentences::sentences;
use loadgen::report::style::Style;
use loadgen::report::summary::Summary;
use loadgen::report::{csv as table_csv, text};
use loadgen::results::directory::{PointDir, RunDir};
use loadgen::results::run::{NoResult, Run, Settings, Status};
use loadgen::results::trial::{self, GeneratorCosts, LoadKind, Trial};
use loadgen::verdict::cause::{Cause, Verdict};
use loadgen::verdict::note::Note;
use loadgen::workload::load::Mode;
use loadgen::workload::profile::{Profile, ScenarioFile};
use tempfile::TempDir;

const SCENARIOS: &str = r#"
trials = 3
[[scenario]]
name = "active"
question = "100 busy connections: throughput and latency"
connections = 100
rank = "rate"
[[server]]
name = "epoll"
crate = "epoll"
[[server]]
name = "poll"
crate = "poll"
[[server]]
name = "a-server-with-a-name"
crate = "threads"
[[server]]
name = "stolen"
crate = "select"
[[server]]
name = "small"
crate = "sequential"
[[server]]
name = "smaller"
crate = "sequential"
"#;

struct Results {
    _top: TempDir,
    directory: RunDir,
    run: Run,
}

impl Results {
    fn new(trials: usize) -> Self {
        Self::of(trials, SCENARIOS)
    }

    /// Of these scenarios.
    fn of(trials: usize, scenarios: &str) -> Self {
        let top = tempfile::tempdir().unwrap();
        let run = Run {
            schema_version: trial::SCHEMA_VERSION,
            loadgen: "0.0.0".to_owned(),
            started: "2026-11-23T00-00-00Z".to_owned(),
            command: vec!["loadgen".to_owned(), "bench".to_owned()],
            machine: Machine::here(),
            shortcomings: Vec::new(),
            settings: Settings {
                servers: Vec::new(),
                scenarios: Vec::new(),
                trials,
                duration_s: None,
                seed: 1,
                keep_awake: true,
                server_cpus: Vec::new(),
                generator_cpus: allowed_cpus(),
                servers_dir: None,
            },
            scenario_files: vec![ScenarioFile {
                name: "x.toml".to_owned(),
                text: scenarios.to_owned(),
            }],
        };
        Profile::from_kept(&run.scenario_files).unwrap();
        let directory = RunDir::create(&top.path().join("run"), &run).unwrap();
        Self {
            _top: top,
            directory,
            run,
        }
    }

    /// Writes a trial whose answers took these times, microseconds.
    fn trial(
        &self,
        server: &str,
        number: usize,
        rate: f64,
        times_us: &[u64],
        edit: fn(&mut Trial),
    ) {
        let place = self.directory.point("active", server, "connections-100");
        Self::write(&place, number, rate, times_us, edit);
    }

    fn write(
        place: &PointDir,
        number: usize,
        rate: f64,
        times_us: &[u64],
        edit: impl FnOnce(&mut Trial),
    ) {
        let mut times = Times::default();
        for us in times_us {
            times.response.record(us * 1000).unwrap();
            times.service.record(us * 1000).unwrap();
        }
        let mut trial = a_trial(rate, &times.response);
        edit(&mut trial);
        let recording = Recording {
            started: SystemTime::UNIX_EPOCH,
            connect: histogram(),
            // Where nothing was measured the engine makes none.
            intervals: (!times_us.is_empty())
                .then(|| Interval::new(Duration::ZERO, Duration::from_secs(1), &times))
                .into_iter()
                .collect(),
            times,
            counts: Counts::default(),
            blocks: Vec::new(),
            connections_answered: 100,
            answers_per_connection: MinMax::default(),
            connections_missing: 0,
            neighbours: NeighbourCounts::default(),
            threads: Vec::new(),
        };
        trial::write(place.path(), number, &trial, &recording).unwrap();
    }

    fn without(&self, server: &str, reason: &str) {
        let place = self.directory.point("active", server, "connections-100");
        let no_result = NoResult {
            status: Status::NotApplicable,
            reason: reason.to_owned(),
        };
        place.write_no_result(&no_result).unwrap();
    }

    fn summary(&self) -> Summary {
        Summary::read(&self.directory, &self.run).unwrap()
    }

    /// A run with something of everything.
    fn of_all_kinds() -> Self {
        let results = Self::new(3);
        for number in 1..=3 {
            let faster = 120_000.0 + 1_000.0 * number as f64;
            results.trial("epoll", number, faster, &[700, 800, 900], |_| {});
            results.trial("poll", number, 60_000.0, &[1600, 1700, 4900], |trial| {
                trial.notes.push(Note::GeneratorBound);
                trial.failed = 2;
            });
            results.trial(
                "a-server-with-a-name",
                number,
                12_345.6,
                &[8000, 9000],
                |_| {},
            );
            results.trial("stolen", number, 500_000.0, &[1], |trial| {
                trial.verdict = Verdict::Invalid;
                trial.causes.push(Cause::MachineStolen);
            });
        }
        results.without("small", "serves 1 client at once");
        results.without("smaller", "serves 1 client at once");
        results
    }
}

fn a_trial(rate: f64, response: &Histogram<u64>) -> Trial {
    Trial {
        schema_version: trial::SCHEMA_VERSION,
        verdict: Verdict::Valid,
        causes: Vec::new(),
        notes: Vec::new(),
        load: LoadKind::Closed,
        mode: Mode::Echo,
        connections: 100,
        duration_s: 1.0,
        scheduled: response.len(),
        answered: response.len(),
        failed: 0,
        in_flight: 0,
        never_sent: 0,
        mismatches: 0,
        rate,
        offered_rate: None,
        bytes_sent: 0,
        bytes_received: 0,
        connections_answered: 100,
        answers_per_connection: MinMax { min: 1, max: 1 },
        response_us: Quantiles::of(response),
        service_us: Quantiles::of(response),
        lateness_us: Quantiles::default(),
        wait_us: Quantiles::default(),
        connect_us: Quantiles::default(),
        errors: BTreeMap::new(),
        server: Some(ServerCosts {
            pid: 1,
            cpu_us_per_request: Some(1e6 / rate),
            context_switches_per_request: Some(0.02),
            syscalls_per_request: None,
            pss_kib: Some(3 * 1024),
            threads: Some(1),
            processes: Some(1),
        }),
        generator: GeneratorCosts::default(),
        machine: MachineShares::default(),
    }
}

fn table_of(results: &Results, style: Style) -> String {
    text::for_section(&results.summary().sections[0], style)
}

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
            trial.verdict = Verdict::Invalid;
            trial.causes.push(Cause::NoAnswer);
        });
    }
    let text = table_of(&results, Style::Plain);
    assert!(text.contains("epoll: no-answer"), "{text}");
}

#[test]
fn a_narrow_terminal_gets_fewer_columns_and_is_told() {
    let results = Results::of_all_kinds();
    let wide = table_of(
        &results,
        Style::Terminal {
            width: 200,
            colour: false,
        },
    );
    assert!(!wide.contains("no room for"), "{wide}");
    let mut last = 0;
    for width in [60, 80, 100, 120, 200] {
        let text = table_of(
            &results,
            Style::Terminal {
                width,
                colour: false,
            },
        );
        let rows = text
            .lines()
            .filter(|line| line.contains('\u{2500}') || line.starts_with(" >"));
        for line in rows {
            assert!(
                line.chars().count() <= usize::from(width),
                "{width}: {line}"
            );
        }
        let columns = text.lines().nth(2).unwrap().split_whitespace().count();
        assert!(columns >= last, "{text}");
        last = columns;
        assert!(
            text.contains("requests/s") && text.contains("p50"),
            "{text}"
        );
        assert_eq!(width < 200, text.contains("no room for"), "{width}: {text}");
    }
}

#[test]
fn the_leader_the_best_and_the_spread_are_marked() {
    let text = table_of(&Results::of_all_kinds(), Style::Plain);
    let row = |name: &str| {
        text.lines()
            .find(|line| line.contains(name))
            .unwrap()
            .to_owned()
    };
    assert!(row("epoll").trim_start().starts_with("> epoll"), "{text}");
    assert!(row("epoll").contains("122,000 \u{b1}1%*"), "{text}");
    // A bound generator shows what the server does at least.
    assert!(row(" poll").contains(">= 60,000"), "{text}");
    assert!(text.contains("poll: 6 requests failed"), "{text}");
    assert!(text.contains("closed loop"), "{text}");
    assert!(
        text.contains("n/a"),
        "system calls that could not be counted"
    );
    assert!(!text.contains('\u{1b}'));
}

#[test]
fn invalid_rows_stand_apart_and_are_not_ranked() {
    let results = Results::of_all_kinds();
    let text = table_of(&results, Style::Plain);
    let (ranked, apart) = text.split_once("INVALID, not ranked:").unwrap();
    assert!(
        !ranked.contains("stolen") && apart.contains("500,000"),
        "{text}"
    );
    assert!(apart.contains("stolen: machine-stolen"), "{text}");
    assert!(
        !apart.contains('*') && !apart.contains('>'),
        "no marks among them: {text}"
    );
    assert!(
        apart.contains("small, smaller: n/a: serves 1 client at once"),
        "{text}"
    );
    let sentences = sentences(&results.summary()).join("\n");
    assert!(!sentences.contains("stolen"), "{sentences}");
    // Where a trial is VALID, it is the row, and the others are left out of it.
    results.trial("stolen", 2, 50_000.0, &[1], |_| {});
    let text = table_of(&results, Style::Plain);
    assert!(!text.contains("not ranked"), "{text}");
    assert!(text.contains("stolen: 2 INVALID trials left out"), "{text}");
}

#[test]
fn colours_are_for_terminals_that_want_them() {
    let results = Results::of_all_kinds();
    let text = table_of(
        &results,
        Style::Terminal {
            width: 200,
            colour: true,
        },
    );
    assert!(text.contains('\u{1b}'));
    let text = table_of(
        &results,
        Style::Terminal {
            width: 200,
            colour: false,
        },
    );
    assert!(!text.contains('\u{1b}'));
}

#[test]
fn only_what_the_spread_supports_is_said() {
    let results = Results::new(3);
    for number in 1..=3 {
        let rate = 100_000.0 * (1.0 + number as f64 / 100.0);
        results.trial("epoll", number, rate, &[700], |_| {});
        results.trial("poll", number, rate / 2.0, &[1400], |_| {});
        results.trial("a-server-with-a-name", number, rate / 10.0, &[7000], |_| {});
    }
    assert_eq!(
        sentences(&results.summary()),
        [
            "active: epoll leads with 102,000 requests/s, 9.80 us of CPU a request; poll follows with 2.0 \
             times fewer; at the other end a-server-with-a-name: 10,200 requests/s, 98.0 us of CPU a request, \
             10.0 times fewer.",
            "Incomplete: 9 of 18 trials are still to be run (loadgen bench --resume DIR)."
        ]
    );
    let first = |results: &Results| sentences(&results.summary()).swap_remove(0);
    // Its trials reach from below the leader's to above them.
    results.trial("poll", 1, 40_000.0, &[700], |_| {});
    results.trial("poll", 3, 190_000.0, &[700], |_| {});
    let sentence = first(&results);
    assert!(
        sentence.contains("epoll (102,000 requests/s")
            && sentence.contains("is not told apart by the trials from poll")
    );
    // A generator at its limit does not show how good the server is.
    for number in 1..=3 {
        results.trial("poll", number, 50_000.0, &[700], |trial| {
            trial.notes.push(Note::GeneratorBound);
        });
    }
    assert!(first(&results).contains("is not told apart by the trials from poll"));

    // One trial has no spread; then only large differences count.
    let results = Results::new(1);
    results.trial("epoll", 1, 100_000.0, &[100], |_| {});
    results.trial("poll", 1, 80_000.0, &[125], |_| {});
    let sentences = sentences(&results.summary());
    assert!(
        sentences[0].contains("is not told apart by the trials from poll"),
        "{sentences:?}"
    );
    assert!(sentences[1].contains("there is no spread"), "{sentences:?}");
}

#[test]
fn a_goal_is_met_up_to_a_rate() {
    let results = Results::of(
        1,
        r#"
[[scenario]]
name = "load"
question = "How fast?"
goal = "p99<1ms"
vary = { rate = [1000.0, 2000.0, 4000.0] }
[[server]]
name = "quick"
crate = "a"
[[server]]
name = "slow"
crate = "b"
[[server]]
name = "behind"
crate = "c"
"#,
    );
    for (server, times_us) in [
        ("quick", [100, 200, 999]),
        ("slow", [1001, 100, 100]),
        ("behind", [100, 100, 100]),
    ] {
        for (rate, us) in [1000, 2000, 4000].into_iter().zip(times_us) {
            let place = results
                .directory
                .point("load", server, &format!("rate-{rate}"));
            Results::write(&place, 1, f64::from(rate), &[us], |trial| {
                if server == "behind" && rate == 4000 {
                    trial
                        .notes
                        .push(Note::RateNotReached("3000 of 4000".to_owned()));
                }
            });
        }
    }
    let sentences = sentences(&results.summary());
    let goal = "load: p99<1ms is met up to 4,000 requests/s by quick; up to 2,000 requests/s by behind; at none \
                of these rates by slow.";
    assert!(
        sentences.iter().any(|sentence| sentence == goal),
        "{sentences:#?}"
    );
}

#[test]
fn a_table_without_a_valid_row_says_so() {
    let results = Results::new(1);
    results.trial("stolen", 1, 500_000.0, &[1], |trial| {
        trial.verdict = Verdict::Invalid;
        trial.causes.push(Cause::MachineStolen);
    });
    let sentences = sentences(&results.summary());
    assert_eq!(sentences[0], "active: no VALID result (machine-stolen).");
}

#[test]
fn those_that_are_shown_as_equal_are_all_the_best() {
    let results = Results::new(1);
    for (server, us) in [("epoll", 700), ("poll", 700), ("a-server-with-a-name", 900)] {
        results.trial(server, 1, 1000.0, &[us], |_| {});
    }
    let text = table_of(&results, Style::Plain);
    // The p50 and its like of two rows; what is the same in all three is nobody's.
    assert_eq!(text.matches("700*").count(), 10, "{text}");
    assert!(!text.contains("900*") && !text.contains("1,000*"), "{text}");
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
        results.trial("epoll", number, percent * 1e3, &[us; 100], |_| {});
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
        close(spread.relative(), half_width(sorted, least));
        let (low, high) = spread.interval.unwrap();
        assert!(
            (low * high / value.powi(2) - 1.0).abs() < 2e-3,
            "{spread:?}"
        );
    }
    let text = table_of(&results, Style::Plain);
    let shown = format!("100,000 \u{b1}{:.0}%", found.rate.relative() * 100.0);
    assert!(text.contains(&shown), "{text}");
    let csv = table_csv::render(&results.summary()).unwrap();
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let row: HashMap<String, String> = reader.deserialize().next().unwrap().unwrap();
    for (column, spread) in [
        ("rate", found.rate),
        ("p50", found.p50_us.unwrap()),
        ("p99", found.p99_us.unwrap()),
        ("p99_9", found.p99_9_us.unwrap()),
    ] {
        let unit = if column == "rate" { "" } else { "_us" };
        let (low, high) = spread.interval.unwrap();
        for (bound, value) in [
            ("least", spread.least),
            ("most", spread.most),
            ("low", low),
            ("high", high),
        ] {
            let cell = &row[&format!("{column}_{bound}{unit}")];
            assert_eq!(*cell, value.to_string(), "{column} {bound}");
        }
    }

    // With a trial fewer that counts there is the range and no interval.
    results.trial("epoll", 5, 110e3, &[1100; 100], |trial| {
        trial.verdict = Verdict::Invalid;
        trial.causes.push(Cause::MachineStolen);
    });
    let found = figures(&results);
    for spread in [Some(found.rate), found.p50_us, found.p99_us, found.p99_9_us] {
        let spread = spread.unwrap();
        assert_eq!(spread.interval, None);
        assert!(
            (spread.relative() - 7.0 / 2.0 / 100.0).abs() < 2e-3,
            "{spread:?}"
        );
    }
}

#[test]
fn the_intervals_decide_who_leads() {
    let results = Results::new(5);
    // One trial of the second was disturbed: its range reaches the leader, the median's interval does not.
    for (number, slow) in (1..).zip([0.0, 1.0, 2.0, 3.0, 60.0]) {
        results.trial("epoll", number, 100e3 + 100.0 * slow, &[700], |_| {});
        results.trial("poll", number, 50e3 + 1000.0 * slow, &[1400], |_| {});
    }
    let summary = results.summary();
    let poll = summary.sections[0].rows[1].outcome.as_ref().unwrap().rate;
    assert!(
        poll.most > 100e3 && poll.interval.unwrap().1 < 100e3,
        "{poll:?}"
    );
    let sentence = &sentences(&summary)[0];
    assert!(sentence.contains("epoll leads"), "{sentence}");
    // And the other way round: the ranges are apart by little, the intervals are not.
    let results = Results::new(5);
    for (number, more) in (1..).zip([0.0, 8e3, 9e3, 10e3, 20e3]) {
        results.trial("epoll", number, 121e3 + more, &[700], |_| {});
        results.trial("poll", number, 100e3 + more, &[700], |_| {});
    }
    let sentence = sentences(&results.summary()).swap_remove(0);
    assert!(
        sentence.contains("is not told apart by the trials from poll"),
        "{sentence}"
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

#[test]
fn markdown_tables_have_a_row_for_each_server() {
    let results = Results::of_all_kinds();
    let text = text::markdown(&results.summary());
    let rows = text
        .lines()
        .filter(|line| line.starts_with("| ") && line.contains(" of 100 "));
    assert_eq!(rows.count(), 4, "{text}");
    assert!(text.contains("| **epoll** "), "{text}");
    assert!(text.contains("## In short"), "{text}");
}

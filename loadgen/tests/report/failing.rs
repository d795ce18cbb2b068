//! Servers that answered wrongly, or not all clients: where their rows stand, and what is said of them.

use loadgen::report::csv as table_csv;
use loadgen::report::sentences::sentences;
use loadgen::report::style::Style;
use loadgen::report::text;
use loadgen::results::run::Status;
use loadgen::verdict::cause::{Cause, Verdict};

use crate::results::{Results, table_of};

/// The line of `summary.csv` of a server.
fn csv_of(results: &Results, server: &str) -> String {
    let csv = table_csv::render(&results.summary()).unwrap();
    let row = csv
        .lines()
        .find(|line| line.contains(&format!(",{server},")))
        .unwrap();
    row.to_owned()
}

#[test]
fn two_corrupted_trials_of_five_make_a_failed_row() {
    let results = Results::new(5);
    for number in 1..=5 {
        results.trial("epoll", number, 1000.0, &[100], |_| {});
        results.trial("poll", number, 9000.0, &[100], |_| {});
    }
    for number in [2, 3] {
        results.trial("poll", number, 9000.0, &[100], |trial| {
            trial.verdict = Verdict::Failed;
            trial.causes = vec![Cause::WrongAnswers];
            (trial.failed, trial.mismatches) = (6, 6);
        });
    }
    results.trial("poll", 5, 9000.0, &[100], |trial| {
        trial.verdict = Verdict::Invalid;
        trial.causes = vec![Cause::MachineStolen];
    });
    let said = "FAILED: 12 wrong answers in 2 of 5 trials";
    let text = table_of(&results, Style::Plain);
    let (ranked, apart) = text.split_once("FAILED, not ranked:").unwrap();
    assert!(
        !ranked.contains("9,000") && apart.contains("9,000"),
        "{text}"
    );
    let remark = format!("poll: {said}; 12 requests failed; 1 INVALID trial left out");
    assert!(apart.contains(&remark), "{text}");
    assert!(!apart.contains('*') && !apart.contains('>'), "{text}");
    let markdown = text::markdown(&results.summary());
    assert!(markdown.contains(&format!("| {said} |")), "{markdown}");
    let row = csv_of(&results, "poll");
    assert!(row.contains(",FAILED,wrong-answers,,4,1,2,"), "{row}");
    assert!(row.ends_with(",100,0,12,12"), "{row}");
    let said = sentences(&results.summary()).swap_remove(0);
    let end = " FAILED: poll (12 wrong answers in 2 of 5 trials).";
    assert!(said.ends_with(end), "{said}");
}

#[test]
fn what_is_wrong_beside_a_failure_is_said_too() {
    let results = Results::new(1);
    results.trial("epoll", 1, 0.0, &[], |trial| {
        trial.verdict = Verdict::Failed;
        trial.causes = vec![Cause::GeneratorLate, Cause::NoAnswer];
    });
    let text = table_of(&results, Style::Plain);
    let said = "epoll: FAILED: no answer; also generator-late";
    assert!(text.contains(said), "{text}");
}

/// However good the figures of the answered clients are.
#[test]
fn a_server_that_left_clients_without_an_answer_leads_nothing() {
    let results = Results::new(1);
    results.trial("epoll", 1, 1000.0, &[900], |_| {});
    results.trial("a-server-with-a-name", 1, 500.0, &[1900], |_| {});
    results.trial("poll", 1, 9000.0, &[100], |trial| {
        (trial.connections_answered, trial.connections_unanswered) = (51, 49);
    });
    let text = table_of(&results, Style::Plain);
    let at = |name: &str| text.find(name).unwrap_or_else(|| panic!("{name}: {text}"));
    assert!(at("> epoll") < at("a-server-with-a-name"), "{text}");
    assert!(at("a-server-with-a-name") < at("  poll "), "{text}");
    let remark = "poll: 49 of 100 clients never answered";
    assert!(text.contains(remark), "{text}");
    assert!(text.contains("1,000*"), "{text}");
    assert!(!text.contains("9,000*"), "{text}");
    let said = sentences(&results.summary()).swap_remove(0);
    let (ranked, last) = said.split_once(" Not ranked: ").unwrap();
    assert!(
        ranked.starts_with("active: epoll") && !ranked.contains(" poll"),
        "{said}"
    );
    assert_eq!(last, "poll (49 of 100 clients never answered).");
    let row = csv_of(&results, "poll");
    assert!(row.ends_with(",51,49,0,0"), "{row}");
}

#[test]
fn where_all_left_clients_without_an_answer_nobody_leads() {
    let results = Results::new(1);
    for (server, rate) in [("epoll", 9000.0), ("poll", 1000.0)] {
        results.trial(server, 1, rate, &[100], |trial| {
            trial.connections_unanswered = 1;
        });
    }
    let text = table_of(&results, Style::Plain);
    assert!(
        text.contains("epoll") && !text.contains('>') && !text.contains('*'),
        "{text}"
    );
    let said = sentences(&results.summary()).swap_remove(0);
    assert!(said.starts_with("active: Not ranked: epoll ("), "{said}");
}

/// A failed request is slower than any limit.
#[test]
fn a_goal_is_missed_by_those_that_failed() {
    let results = Results::of(
        2,
        r#"
[[scenario]]
name = "load"
question = "How fast?"
goal = "p99<1ms"
vary = { rate = [1000.0, 2000.0] }
[[server]]
name = "few"
crate = "a"
[[server]]
name = "many"
crate = "b"
"#,
    );
    for (server, failed) in [("few", 10), ("many", 30)] {
        for rate in [1000, 2000] {
            let place = results
                .directory
                .point("load", server, &format!("rate-{rate}"));
            for number in 1..=2 {
                Results::write(&place, number, f64::from(rate), &[100; 1990], |trial| {
                    trial.failed = if rate == 2000 { failed } else { 0 };
                });
            }
        }
    }
    let said = sentences(&results.summary()).swap_remove(0);
    assert_eq!(
        said,
        "load: goal p99<1ms: at 1,000/s all servers meet it in all trials; at 2,000/s only few meets it in all \
         trials, many misses it."
    );
}

#[test]
fn a_server_that_did_not_start_or_died_is_named() {
    let results = Results::new(1);
    results.trial("epoll", 1, 1000.0, &[100], |_| {});
    results.trial("poll", 1, 1000.0, &[100], |_| {});
    results.no_result("poll", Status::Failed, "died: exit code 9 (trial 2)");
    results.no_result("threads", Status::Unavailable, "its program is not there");
    let summary = results.summary();
    let said = sentences(&summary).swap_remove(0);
    let end = " FAILED: poll (died: exit code 9 (trial 2)).";
    assert!(said.ends_with(end), "{said}");
    assert!(summary.any_failed());
    results.no_result("poll", Status::NotApplicable, "serves 1 client at once");
    assert!(!results.summary().any_failed());
}

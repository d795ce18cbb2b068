//! What the tables show, and on which terminals.

use loadgen::report::sentences::sentences;
use loadgen::report::style::Style;
use loadgen::report::text;

use crate::results::{Results, table_of};

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
    // With a generator at its limit the rate is a lower bound.
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
    assert!(apart.contains("stolen: INVALID: machine-stolen"), "{text}");
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
    // If one trial is VALID, the row has its figures alone.
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
fn those_that_are_shown_as_equal_are_all_the_best() {
    let results = Results::new(1);
    for (server, us) in [("epoll", 700), ("poll", 700), ("a-server-with-a-name", 900)] {
        results.trial(server, 1, 1000.0, &vec![us; 10_000], |_| {});
    }
    let text = table_of(&results, Style::Plain);
    // The best percentiles belong to two rows. A figure that is the same in all three rows is marked in none.
    assert_eq!(text.matches("700*").count(), 10, "{text}");
    assert!(!text.contains("900*") && !text.contains("1,000*"), "{text}");
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

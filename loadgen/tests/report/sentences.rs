//! The sentences about the tables.

use std::fmt::Write as _;

use loadgen::report::sentences::sentences;
use loadgen::verdict::cause::{Cause, Verdict};
use loadgen::verdict::note::Note;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, LogNormal};

use crate::results::Results;

#[test]
fn only_what_the_trials_support_is_said() {
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
            "active: epoll leads with 102,000 requests/s; behind: poll at 51,000 (50 % fewer), then \
             a-server-with-a-name at 10,200 (90 % fewer).",
            "Incomplete: 9 of 18 trials are still to be run (loadgen bench --resume DIR)."
        ]
    );
    let first = |results: &Results| sentences(&results.summary()).swap_remove(0);
    // Its trials reach from below the leader's to above them.
    results.trial("poll", 1, 40_000.0, &[700], |_| {});
    results.trial("poll", 3, 190_000.0, &[700], |_| {});
    assert_eq!(
        first(&results),
        "active: no difference is shown among epoll and poll at 51,000 to 102,000 requests/s; behind: a-server-with-a-name at 10,200 (90 % \
         fewer)."
    );
    // A generator at its limit does not show how good the server is.
    for number in 1..=3 {
        results.trial("poll", number, 50_000.0, &[700], |trial| {
            trial
                .notes
                .push(Note::GeneratorBound { server_busy: false });
        });
    }
    assert_eq!(
        first(&results),
        "active: epoll leads with 102,000 requests/s; behind: a-server-with-a-name at 10,200 (90 % fewer); not placed: \
         poll at >= 50,000 (the generator was busy all the time)."
    );

    // One trial has no spread; then only large differences count.
    let results = Results::new(1);
    results.trial("epoll", 1, 100_000.0, &[100], |_| {});
    results.trial("poll", 1, 60_000.0, &[125], |_| {});
    let said = sentences(&results.summary());
    assert_eq!(
        said[0],
        "active: no difference is shown among epoll and poll at 60,000 to 100,000 requests/s."
    );
    assert!(said[1].contains("spread is assumed"), "{said:?}");
    // Alone it has no other row to compare with.
    let results = Results::new(1);
    results.trial("poll", 1, 60_000.0, &[125], |_| {});
    assert_eq!(
        first(&results),
        "active: poll has 60,000 requests/s, and there is no other to compare."
    );
}

#[test]
fn those_that_cannot_be_placed_are_named() {
    let results = Results::new(3);
    for number in 1..=3 {
        let spread = [0.5, 1.0, 2.0][number - 1];
        results.trial("epoll", number, 1e5 + number as f64, &[700], |_| {});
        results.trial("poll", number, 8e4 + number as f64, &[700], |_| {});
        results.trial("small", number, 7.9e4 * spread, &[700], |_| {});
        results.trial("smaller", number, 4e4 + number as f64, &[700], |_| {});
        results.trial("stolen", number, 5e5, &[700], |trial| {
            trial.verdict = Verdict::Failed;
            trial.causes.push(Cause::WrongAnswers);
            trial.mismatches = 1;
        });
    }
    results.without(
        "a-server-with-a-name",
        "serves 1 client at once (a stuck one stops them all), this test has 100",
    );
    assert_eq!(
        sentences(&results.summary())[0],
        "active: epoll leads with 100,000 requests/s; behind: poll at 80,000 (20 % fewer), then smaller at \
         40,000 (60 % fewer); not placed: small at 79,000 (not shown to be behind epoll). FAILED: stolen (3 wrong \
         answers in 3 of 3 trials). n/a: a-server-with-a-name (serves 1 client \
         at once)."
    );
}

/// A scenario of these rates, with a goal, and these servers.
fn with_a_goal(trials: usize, servers: &[&str], rates: &str) -> Results {
    let mut scenarios = format!(
        "[[scenario]]\nname = \"load\"\nquestion = \"How fast?\"\ngoal = \"p99<1ms\"\nvary = {{ rate = [{rates}] }}\n"
    );
    for server in servers {
        let _ = writeln!(
            scenarios,
            "[[server]]\nname = \"{server}\"\ncrate = \"a\"\nabout = \"a thread for each\""
        );
    }
    Results::of(trials, &scenarios)
}

#[test]
fn a_goal_is_met_if_all_trials_meet_it() {
    let results = with_a_goal(
        2,
        &["quick", "slow", "behind", "doubtful"],
        "1000.0, 2000.0, 4000.0, 8000.0",
    );
    for (server, times_us) in [
        ("quick", [[100, 100], [200, 200], [999, 998], [1001, 1002]]),
        (
            "slow",
            [[1001, 1001], [1100, 1200], [1100, 1200], [1100, 1200]],
        ),
        ("behind", [[100, 100], [100, 100], [100, 100], [1001, 1002]]),
        (
            "doubtful",
            [[100, 100], [999, 1001], [1100, 1200], [1100, 1200]],
        ),
    ] {
        for (rate, times_us) in [1000, 2000, 4000, 8000].into_iter().zip(times_us) {
            let place = results
                .directory
                .point("load", server, &format!("rate-{rate}"));
            for (number, us) in (1..).zip(times_us) {
                Results::write(&place, number, f64::from(rate), &[us; 1000], |trial| {
                    if server == "behind" && rate == 4000 {
                        trial
                            .notes
                            .push(Note::RateNotReached("3000 of 4000".to_owned()));
                    }
                });
            }
        }
    }
    assert_eq!(
        sentences(&results.summary())[0],
        "load: goal p99<1ms: at 1,000/s only quick, behind and doubtful meet it in all trials, slow misses it; at 2,000/s \
         only quick and behind meet it in all trials, for doubtful the trials disagree, slow misses it; at 4,000/s only \
         quick meets it in all trials, slow, behind and doubtful miss it; at 8,000/s no server meets it."
    );
}

/// One trial's figure comes from its JSON, that of several from their logs, in other units.
#[test]
fn a_row_of_one_trial_is_compared_in_the_same_unit() {
    let results = Results::of(
        3,
        r#"
[[scenario]]
name = "active"
question = "?"
connections = 100
rank = "p50"
[[server]]
name = "several"
crate = "a"
[[server]]
name = "single"
crate = "b"
[[server]]
name = "slow"
crate = "c"
"#,
    );
    for number in 1..=3 {
        results.trial("several", number, 1e3, &[100 + number as u64; 1000], |_| {});
        results.trial("slow", number, 1e3, &[900 + number as u64; 1000], |_| {});
    }
    for us in [97, 106] {
        results.trial("single", 1, 1e3, &[us; 1000], |_| {});
        let sentence = sentences(&results.summary()).swap_remove(0);
        assert!(
            sentence.contains("and single are level")
                || sentence.contains("single and several are level"),
            "{sentence}"
        );
        assert!(sentence.contains("behind: slow"), "{sentence}");
    }
}

#[test]
fn a_percentile_of_few_requests_ranks_nobody() {
    let results = Results::of(
        1,
        r#"
[[scenario]]
name = "active"
question = "?"
connections = 100
rank = "p99"
[[server]]
name = "quick"
crate = "a"
[[server]]
name = "rare"
crate = "b"
"#,
    );
    results.trial("rare", 1, 1e3, &[100; 999], |_| {});
    let first = |results: &Results| sentences(&results.summary()).swap_remove(0);
    assert_eq!(first(&results), "active: too few requests for a p99.");
    results.trial("quick", 1, 1e3, &[100; 1000], |_| {});
    assert_eq!(
        first(&results),
        "active: quick has p99 100 us, and there is no other to compare; not placed: rare (too few requests for the p99)."
    );
    let results = with_a_goal(1, &["rare"], "1000.0");
    let place = results.directory.point("load", "rare", "rate-1000");
    Results::write(&place, 1, 1e3, &[100; 999], |_| {});
    assert_eq!(
        first(&results),
        "load: goal p99<1ms: at 1,000/s too few requests to judge rare."
    );
}

#[test]
fn there_are_at_most_ten_lines() {
    let scenario =
        |n| format!("[[scenario]]\nname = \"s{n}\"\nquestion = \"?\"\nconnections = 100\n");
    let scenarios: String = (0..12).map(scenario).collect();
    let results = Results::of(
        1,
        &(scenarios + "[[server]]\nname = \"epoll\"\ncrate = \"a\"\n"),
    );
    for n in 0..12 {
        let place = results
            .directory
            .point(&format!("s{n}"), "epoll", "connections-100");
        Results::write(&place, 1, 1e3, &[700], |_| {});
    }
    let said = sentences(&results.summary());
    assert_eq!(said.len(), 10, "{said:#?}");
    // Each scenario has one row, so nothing is said of small differences between rows.
    assert_eq!(said[9], "3 more scenarios: see their tables.");
}

#[test]
fn a_table_without_a_valid_row_says_so() {
    let results = Results::new(1);
    results.trial("stolen", 1, 500_000.0, &[1], |trial| {
        trial.verdict = Verdict::Invalid;
        trial.causes.push(Cause::MachineStolen);
    });
    let sentences = sentences(&results.summary());
    assert_eq!(
        sentences[0],
        "active: no VALID result (other programs or other virtual machines used this machine)."
    );
}

#[test]
fn a_disturbed_trial_does_not_hide_who_leads() {
    let results = Results::new(5);
    // One trial of the second was disturbed: its range reaches the leader.
    for (number, slow) in (1..).zip([0.0, 1.0, 2.0, 3.0, 60.0]) {
        results.trial("epoll", number, 100e3 + 100.0 * slow, &[700], |_| {});
        results.trial("poll", number, 50e3 + 1000.0 * slow, &[1400], |_| {});
    }
    let sentence = &sentences(&results.summary())[0];
    assert!(sentence.contains("epoll leads"), "{sentence}");
}

/// The trials of the best one spread so far that it differs from nobody. The others differ from each other.
#[test]
fn no_two_rows_of_a_group_differ() {
    let results = Results::new(5);
    for number in 1..=5 {
        let spread = [0.2, 0.5, 1.0, 2.0, 5.0][number - 1];
        let jitter = number as f64;
        results.trial("epoll", number, 3e5 * spread, &[700], |_| {});
        results.trial("poll", number, 2.8e5 + jitter, &[700], |_| {});
        results.trial("small", number, 2.75e5 + jitter, &[700], |_| {});
        results.trial("smaller", number, 1.6e5 + jitter, &[700], |_| {});
    }
    let sentence = &sentences(&results.summary())[0];
    assert_eq!(
        sentence,
        "active: epoll, poll and small are level at 275,000 to 300,000 requests/s; not placed: smaller at 160,000 (not \
         shown to be behind epoll)."
    );
}

/// Each group says how far it is behind, from its first to its last.
#[test]
fn a_group_says_how_far_it_is_behind() {
    let results = Results::new(3);
    for number in 1..=3 {
        let spread = [0.7, 1.0, 1.4][number - 1];
        results.trial("epoll", number, 3e5 + number as f64, &[700], |_| {});
        results.trial("poll", number, 1e5 * spread, &[700], |_| {});
        results.trial("small", number, 0.8e5 * spread, &[700], |_| {});
    }
    let sentence = &sentences(&results.summary())[0];
    assert!(
        sentence.contains("poll and small at 80,000 to 100,000 (67 to 73 % fewer)"),
        "{sentence}"
    );
}

#[test]
fn a_small_difference_is_none_however_sure_it_is() {
    let results = Results::new(5);
    for number in 1..=5 {
        results.trial("epoll", number, 104e3 + number as f64, &[700], |_| {});
        results.trial("poll", number, 100e3 + number as f64, &[700], |_| {});
    }
    let sentence = &sentences(&results.summary())[0];
    assert!(
        sentence.contains("epoll and poll are level at 100,000 to 104,000"),
        "{sentence}"
    );
    for number in 1..=5 {
        results.trial("epoll", number, 120e3 + number as f64, &[700], |_| {});
    }
    let sentence = &sentences(&results.summary())[0];
    assert!(sentence.contains("epoll leads"), "{sentence}");
}

#[test]
fn equal_servers_are_level() {
    const BENCHES: usize = 3;
    const SERVERS: usize = 20;
    let mut scenarios =
        "[[scenario]]\nname = \"active\"\nquestion = \"?\"\nconnections = 100\n".to_owned();
    for server in 0..SERVERS {
        let _ = writeln!(scenarios, "[[server]]\nname = \"s{server}\"\ncrate = \"s\"");
    }
    let mut rng = StdRng::seed_from_u64(17);
    for trials in 1..=4 {
        let results = Results::of(trials, &scenarios);
        let mut ranked = 0;
        for _ in 0..BENCHES {
            // Up to three times what is typical.
            let spread = LogNormal::new(0.0, rng.random_range(0.02..0.15)).unwrap();
            for server in 0..SERVERS {
                for number in 1..=trials {
                    let rate = 1e5 * spread.sample(&mut rng);
                    results.trial(&format!("s{server}"), number, rate, &[700], |_| {});
                }
            }
            let said = sentences(&results.summary());
            let are_level = said[0].contains("all 20 servers are level");
            let no_difference = said[0].contains("no difference is shown among all 20 servers");
            ranked += usize::from(!are_level && !no_difference);
        }
        assert_eq!(ranked, 0, "{trials} trials");
    }
}

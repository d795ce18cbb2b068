//! What is said of the tables, in sentences.

use std::fmt::Write as _;

use loadgen::report::sentences::sentences;
use loadgen::verdict::cause::{Cause, Verdict};
use loadgen::verdict::note::Note;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, LogNormal};

use crate::results::Results;

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
            trial
                .notes
                .push(Note::GeneratorBound { server_busy: false });
        });
    }
    assert!(first(&results).contains("is not told apart by the trials from poll"));

    // One trial has no spread; then only large differences count.
    let results = Results::new(1);
    results.trial("epoll", 1, 100_000.0, &[100], |_| {});
    results.trial("poll", 1, 60_000.0, &[125], |_| {});
    let sentences = sentences(&results.summary());
    assert!(
        sentences[0].contains("is not told apart by the trials from poll"),
        "{sentences:?}"
    );
    assert!(sentences[1].contains("spread is assumed"), "{sentences:?}");
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

#[test]
fn a_small_difference_is_none_however_sure_it_is() {
    let results = Results::new(5);
    for number in 1..=5 {
        results.trial("epoll", number, 104e3 + number as f64, &[700], |_| {});
        results.trial("poll", number, 100e3 + number as f64, &[700], |_| {});
    }
    let sentence = &sentences(&results.summary())[0];
    assert!(!sentence.contains("leads"), "{sentence}");
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
            ranked += usize::from(!said[0].contains("19 others are"));
        }
        assert_eq!(ranked, 0, "{trials} trials");
    }
}

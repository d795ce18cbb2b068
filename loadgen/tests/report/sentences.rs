//! What is said of the tables, in sentences.

use loadgen::report::sentences::sentences;
use loadgen::verdict::cause::{Cause, Verdict};
use loadgen::verdict::note::Note;

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

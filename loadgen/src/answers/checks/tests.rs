//! The rules of all built-in experiments, on trials that are made up.

use std::collections::BTreeMap;

use super::*;
use crate::answers::measured::Head;
use crate::answers::verdict::{Verdict, judge};

/// Trials of all servers at all points of an experiment, in which each figure is 100, give or take a thousandth.
fn made_up(experiment: &Experiment) -> Measured {
    let mut cells = Vec::new();
    for scenario in &experiment.profile.scenarios {
        for point in &scenario.points {
            for server in &experiment.profile.servers {
                let trial = |number: usize| {
                    let value = 100.0 + 0.1 * number as f64;
                    let figures = experiment.figures().into_iter();
                    (number, figures.map(|figure| (figure, value)).collect())
                };
                cells.push(Cell {
                    scenario: scenario.name.clone(),
                    server: server.name.clone(),
                    point: point.name.clone(),
                    offered_rate: point.workload.offered_rate(),
                    blocked: None,
                    invalid: Vec::new(),
                    bound: false,
                    trials: (1..=5).map(trial).collect(),
                });
            }
        }
    }
    Measured {
        head: Head {
            schema_version: 1,
            name: experiment.name.clone(),
            fingerprint: experiment.fingerprint.clone(),
            started: String::new(),
            loadgen: String::new(),
            machine: String::new(),
            cores: 2,
            conditions: String::new(),
            trials: 5,
            duration_s: (1.0, 1.0),
            seed: 1,
        },
        cells,
    }
}

/// Makes a figure of a cell this value, give or take a thousandth.
fn set(measured: &mut Measured, prediction: &Prediction, value: f64) {
    let [scenario, server, point] = &prediction.place;
    let is_it = |cell: &&mut Cell| {
        cell.scenario == *scenario && cell.server == *server && cell.point == *point
    };
    let cell = measured.cells.iter_mut().find(is_it).unwrap();
    for (number, trial) in &mut cell.trials {
        trial.insert(prediction.figure, value * (1.0 + 1e-3 * *number as f64));
    }
}

fn experiment(name: &str) -> Experiment {
    let mut experiments = Experiment::built_in().unwrap().into_iter();
    experiments.find(|one| one.name == name).unwrap()
}

#[test]
fn every_rule_makes_something_of_trials() {
    for experiment in Experiment::built_in().unwrap() {
        let measured = made_up(&experiment);
        for outcome in judge(&experiment, &measured) {
            assert!(!outcome.checks.is_empty(), "{}", outcome.claim);
            for judged in &outcome.checks {
                assert!(judged.found.is_some(), "{}: {judged:?}", experiment.name);
            }
        }
    }
}

#[test]
fn what_theory_says_holds_and_twice_as_much_does_not() {
    let mut tried = 0;
    for experiment in Experiment::built_in().unwrap() {
        let claims = 0..experiment.answer.claim.len();
        for claim in claims {
            let mut measured = made_up(&experiment);
            let predictions = |measured: &Measured| -> Vec<Prediction> {
                let checks = &judge(&experiment, measured)[claim].checks;
                checks
                    .iter()
                    .filter_map(|judged| judged.check.predicts.clone())
                    .collect()
            };
            let said = predictions(&measured);
            if said.is_empty() {
                continue;
            }
            tried += 1;
            for (times, verdict) in [(1.0, Verdict::Holds), (2.0, Verdict::Fails)] {
                for prediction in &said {
                    set(&mut measured, prediction, times * prediction.value);
                }
                let outcome = &judge(&experiment, &measured)[claim];
                assert_eq!(outcome.verdict, verdict, "{}: {outcome:?}", experiment.name);
            }
        }
    }
    // Half an interval, two pools, two queues before twelve workers, two loops, M/G/1, and the standstill.
    assert_eq!(tried, 9);
}

#[test]
fn a_line_is_found_and_a_bend_is_noticed() {
    let experiment = experiment("idle");
    let grown = |by: f64| {
        let mut measured = made_up(&experiment);
        for cell in &mut measured.cells {
            let x: f64 = cell.point.rsplit_once('-').unwrap().1.parse().unwrap();
            for trial in cell.trials.values_mut() {
                *trial.get_mut(&Figure::Cpu).unwrap() *= 1.0 + by * x / 1e4;
            }
        }
        let outcomes = judge(&experiment, &measured);
        outcomes
            .iter()
            .map(|outcome| outcome.verdict)
            .collect::<Vec<_>>()
    };
    let (yes, no) = (Verdict::Holds, Verdict::Fails);
    // The first is poll, which is to grow; the others are not to.
    assert_eq!(grown(0.0), [no, yes, yes, yes]);
    assert_eq!(grown(3.0), [yes, no, no, no]);
}

#[test]
fn nothing_is_said_of_a_server_that_failed_or_a_generator_that_was_the_limit() {
    let experiment = experiment("threads-for-100");
    let said = |spoil: fn(&mut Cell)| {
        let mut measured = made_up(&experiment);
        measured.cells.iter_mut().for_each(spoil);
        judge(&experiment, &measured).remove(0).sentence
    };
    for (spoil, why) in [
        (
            (|cell| cell.bound = true) as fn(&mut Cell),
            "the generator was the limit",
        ),
        (
            |cell| cell.blocked = Some("FAILED: no-answer".to_owned()),
            "FAILED: no-answer",
        ),
        (
            |cell| drop(cell.trials.split_off(&3)),
            "too few VALID trials, 2 where 3",
        ),
        (
            |cell| cell.trials = BTreeMap::new(),
            "too few VALID trials, 0 where 3",
        ),
    ] {
        let said = said(spoil);
        assert!(
            said.starts_with("Undecided: ") && said.contains(why),
            "{said}"
        );
    }
    let mut measured = made_up(&experiment);
    measured.head.cores = 1;
    let outcome = judge(&experiment, &measured).remove(0);
    assert_eq!(outcome.verdict, Verdict::Undecided);
    assert!(
        outcome
            .sentence
            .contains("needs 2 cores, and this machine has 1"),
        "{outcome:?}"
    );
}

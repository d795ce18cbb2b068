//! Why a trial or a row is FAILED or INVALID, and whom the server left without an answer, in words.

use super::figures::Figures;
use super::numbers::{count, counted, words};
use crate::results::trial::Trial;
use crate::verdict::cause::{Cause, Verdict};

/// The verdict of a trial: `VALID`, `FAILED: 12 wrong answers`, `INVALID: generator-late`.
pub fn of_trial(trial: &Trial) -> String {
    let verdict = words(&[trial.verdict]);
    match trial.verdict {
        Verdict::Valid => verdict,
        Verdict::Invalid => format!("{verdict}: {}", words(&trial.causes)),
        Verdict::Failed => {
            let done = wrong(&trial.causes, trial.mismatches);
            format!("{verdict}: {}", with_others(done, &trial.causes))
        }
    }
}

/// Why it could not be measured, in plain words.
pub fn meanings(causes: &[Cause]) -> Option<String> {
    let ours = causes.iter().filter(|cause| !cause.is_the_servers());
    let meanings: Vec<&str> = ours.map(|cause| cause.meaning()).collect();
    (!meanings.is_empty()).then(|| meanings.join("; "))
}

/// The verdict of a row likewise: `FAILED: 12 wrong answers in 2 of 5 trials`.
pub fn of_row(figures: &Figures) -> String {
    let verdict = words(&[figures.verdict]);
    match figures.verdict {
        Verdict::Valid => verdict,
        Verdict::Failed | Verdict::Invalid => format!("{verdict}: {}", why(figures)),
    }
}

/// Why a row is FAILED or INVALID.
pub fn why(figures: &Figures) -> String {
    if figures.verdict == Verdict::Invalid {
        return words(&figures.causes);
    }
    let mut done = wrong(&figures.causes, figures.wrong_answers);
    let all = figures.trials + figures.left_out;
    if all > 1 {
        let failed = count(figures.trials_failed as u64);
        done = format!("{done} in {failed} of {} trials", count(all as u64));
    }
    with_others(done, &figures.causes)
}

/// The clients that the server left without an answer: `490 of 1,500 clients never answered`.
pub fn starvation(unanswered: usize, connections: usize) -> Option<String> {
    let clients = counted(connections as u64, "client");
    (unanswered > 0).then(|| format!("{} of {clients} never answered", count(unanswered as u64)))
}

/// The same of a row.
pub fn starved(figures: &Figures) -> String {
    let (unanswered, all) = (figures.connections_unanswered, figures.connections);
    starvation(unanswered, all).unwrap_or_default()
}

/// What the server did wrong.
fn wrong(causes: &[Cause], wrong_answers: u64) -> String {
    let answers = (wrong_answers > 0).then(|| counted(wrong_answers, "wrong answer"));
    let silence = causes.contains(&Cause::NoAnswer);
    let parts = answers
        .into_iter()
        .chain(silence.then(|| "no answer".to_owned()));
    parts.collect::<Vec<_>>().join(" and ")
}

/// What the server did wrong, and then the causes that are not its own.
fn with_others(done: String, causes: &[Cause]) -> String {
    let others = causes.iter().filter(|cause| !cause.is_the_servers());
    match words(&others.collect::<Vec<_>>()) {
        others if others.is_empty() => done,
        others => format!("{done}; also {others}"),
    }
}

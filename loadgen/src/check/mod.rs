//! The conformance suite, tried on one server.
//!
//! *In:* a server, and the cases to try. *Out:* a line for each case, and whether all passed. *Must not know:*
//! flags and exit codes, and what a case does: the crate `conformance` knows that.

mod lines;

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use anyhow::bail;
use conformance::{Case, NotPassed, Outcome, Target, soak};
use supervisor::Unable;

use crate::console;

/// Prints the cases and what they try.
///
/// # Errors
/// When standard output cannot be written.
pub fn list(cases: &[Case]) -> anyhow::Result<()> {
    cases.iter().try_for_each(|case| print(&lines::about(case)))
}

/// Tries the cases, this many at a time, and prints a line for each, as JSON if that is wanted. Returns whether none
/// failed.
///
/// # Errors
/// When standard output cannot be written; [`Unable`] when a case could not be tried.
pub fn check(cases: &[Case], target: &Target, threads: usize, json: bool) -> anyhow::Result<bool> {
    let start = Instant::now();
    let (mut passed, mut failed, mut skipped, mut unable) = (0, 0, 0, Vec::new());
    let mut printed = Ok(());
    try_all(cases, target, threads, |case, outcome, took| {
        match outcome {
            Ok(()) => passed += 1,
            Err(NotPassed::Failed { .. }) => failed += 1,
            Err(NotPassed::Skipped(_)) => skipped += 1,
            Err(NotPassed::Unable(why)) => unable.push(why.clone()),
        }
        let line = if json {
            lines::json(case, outcome, took)
        } else {
            lines::text(case, outcome)
        };
        printed = std::mem::replace(&mut printed, Ok(())).and(print(&line));
    });
    printed?;
    if !json {
        let seconds = start.elapsed().as_secs_f64();
        print(&format!(
            "{passed} passed, {failed} failed, {skipped} skipped in {seconds:.1} s"
        ))?;
    }
    if let Some(why) = unable.first() {
        bail!(Unable::new(format!(
            "{} of {} cases could not be tried: {why}",
            unable.len(),
            cases.len()
        )));
    }
    Ok(failed == 0)
}

/// Loads the server with hostile and well-behaved clients for this time, and prints the result. Returns whether it
/// did not fail.
///
/// # Errors
/// When standard output cannot be written; [`Unable`] when it could not be tried.
pub fn soaked(target: &Target, duration: Duration) -> anyhow::Result<bool> {
    let outcome = soak(target, duration);
    let failed = matches!(outcome, Err(NotPassed::Failed { .. }));
    print(&match outcome {
        Ok(soaked) => soaked.to_string(),
        Err(NotPassed::Skipped(why)) => format!("skip ({why})"),
        Err(NotPassed::Unable(why)) => bail!(Unable::new(why)),
        Err(NotPassed::Failed { expected, seen }) => {
            let last_words = target.last_words();
            format!("FAIL: expected {expected}; seen {seen}{last_words}")
        }
    })?;
    Ok(!failed)
}

/// Tries the cases in their order, this many at a time, and reports each when it ends.
fn try_all(
    cases: &[Case],
    target: &Target,
    threads: usize,
    mut report: impl FnMut(&Case, &Outcome, Duration),
) {
    let next = AtomicUsize::new(0);
    let (sender, results) = channel();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                while let Some(case) = cases.get(next.fetch_add(1, Relaxed)) {
                    let start = Instant::now();
                    let outcome = case.try_on(target);
                    if sender.send((case, outcome, start.elapsed())).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        for (case, outcome, took) in results {
            report(case, &outcome, took);
        }
    });
}

/// Prints a line. The exit code says the result too, so it is no error if nobody reads the line.
fn print(line: &str) -> anyhow::Result<()> {
    console::print(&format!("{line}\n")).map(drop)
}

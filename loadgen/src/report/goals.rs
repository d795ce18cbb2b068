//! Which servers meet the goal of a scenario, rate by rate.

use super::figures::Figures;
use super::numbers::{counted, figure, named, shortened};
use super::section::Section;
use super::trial_table;
use crate::recording::histogram::Quantiles;
use crate::results::trial::Trial;
use crate::verdict::cause::Verdict;
use crate::workload::goal::Goal;
use crate::workload::load::Load;

/// What the trials of a row say of a goal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// All trials met it.
    Met,
    /// None did.
    Missed,
    /// Some did.
    Undecided,
    /// A trial has too few requests for the figure.
    TooFew,
}

impl Outcome {
    fn of(goal: &Goal, figures: &Figures) -> Self {
        if figures.verdict == Verdict::Failed {
            return Self::Missed;
        }
        let trials = || figures.each.iter().zip(&figures.with_failed_us);
        let kept_up = |(trial, _): &(&Trial, &Quantiles)| trial.kept_up();
        let few = |(_, times): (&Trial, &Quantiles)| times.count < goal.figure.least_requests();
        if trials().filter(kept_up).any(few) {
            return Self::TooFew;
        }
        let met = trials()
            .filter(kept_up)
            .filter(|(_, times)| goal.is_met_by(times.figure(goal.figure)));
        match met.count() {
            0 => Self::Missed,
            met if met == figures.each.len() => Self::Met,
            _ => Self::Undecided,
        }
    }
}

/// What the trials of each row say of the goals that it must meet: the row, and whether it meets all.
pub fn of_rows(section: &Section) -> Vec<(&str, bool, String)> {
    if !section.judged {
        return Vec::new();
    }
    let rows = section.rows.iter();
    rows.filter_map(|row| {
        let trials = &row.outcome.as_deref().ok()?.each;
        let goals = &trials.first()?.goals;
        let said = goals.iter().enumerate().map(|(at, first)| {
            let met = |trial: &&Trial| {
                trial
                    .goals
                    .get(at)
                    .is_some_and(|goal| goal.met == Some(true))
            };
            match trials.as_slice() {
                [_] => trial_table::said(first),
                all => format!(
                    "{} met in {} of {}",
                    first.goal,
                    all.iter().filter(met).count(),
                    counted(all.len() as u64, "trial")
                ),
            }
        });
        let said: Vec<String> = said.collect();
        let all_met = trials
            .iter()
            .flat_map(|trial| &trial.goals)
            .all(|goal| goal.met == Some(true));
        (!said.is_empty()).then(|| (row.server.as_str(), all_met, said.join("; ")))
    })
    .collect()
}

/// Which servers meet the goal of a scenario at which of its rates; `None` without a goal.
///
/// A server meets it when all of its trials do, and misses it when none does.
pub fn sentence(sections: &[Section]) -> Option<String> {
    let goal = sections.first()?.goal?;
    let mut rates: Vec<(f64, &Section)> = sections
        .iter()
        .filter_map(|section| match section.point.workload.load {
            Load::Open { rate, .. } => Some((rate, section)),
            Load::Closed => None,
        })
        .collect();
    rates.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    let said = rates
        .iter()
        .filter_map(|(rate, section)| Some((*rate, at_a_rate(&goal, section)?)));
    // Rates with the same sentence share it.
    let mut parts: Vec<(Vec<String>, String)> = Vec::new();
    for (rate, said) in said {
        let rate = format!("{}/s", figure(rate));
        match parts.last_mut() {
            Some((rates, last)) if *last == said => rates.push(rate),
            _ => parts.push((vec![rate], said)),
        }
    }
    let parts: Vec<String> = parts
        .iter()
        .map(|(rates, said)| format!("at {} {said}", rates.join(" and ")))
        .collect();
    (!parts.is_empty()).then(|| format!("goal {goal}: {}.", parts.join("; ")))
}

/// The highest rate at which a goal is met, and at most this many names of servers that meet it.
pub fn in_short(goal: &Goal, sections: &[Section], names: usize) -> String {
    let met_by = |section: &'_ Section| -> Vec<String> {
        let rows = section.rows.iter().filter_map(|row| {
            let figures = row.outcome.as_deref().ok()?;
            let met =
                figures.verdict == Verdict::Valid && Outcome::of(goal, figures) == Outcome::Met;
            met.then(|| row.server.clone())
        });
        rows.collect()
    };
    let best = sections
        .iter()
        .filter_map(|section| match section.point.workload.load {
            Load::Open { rate, .. } => Some((rate, met_by(section))),
            Load::Closed => None,
        })
        .filter(|(_, servers)| !servers.is_empty())
        .max_by(|(a, _), (b, _)| a.total_cmp(b));
    match best {
        None => format!("no server meets {goal}"),
        Some((rate, servers)) => {
            let servers: Vec<&str> = servers.iter().map(String::as_str).collect();
            format!(
                "{goal} is met at up to {}/s, by {}",
                figure(rate),
                shortened(&servers, names)
            )
        }
    }
}

/// What is said of one rate; `None` if nothing was measured.
fn at_a_rate(goal: &Goal, section: &Section) -> Option<String> {
    let rows: Vec<(&str, Outcome, usize)> = section
        .rows
        .iter()
        .filter_map(|row| {
            let figures = row.outcome.as_deref().ok()?;
            let measured = figures.verdict != Verdict::Invalid;
            let outcome = Outcome::of(goal, figures);
            measured.then_some((row.server.as_str(), outcome, figures.each.len()))
        })
        .collect();
    let most = rows.iter().map(|(_, _, trials)| *trials).max()?;
    let of = |wanted: Outcome| -> Vec<&str> {
        let rows = rows.iter().filter(|(_, outcome, _)| *outcome == wanted);
        rows.map(|(name, ..)| *name).collect()
    };
    let [met, missed, undecided, too_few] = [
        Outcome::Met,
        Outcome::Missed,
        Outcome::Undecided,
        Outcome::TooFew,
    ]
    .map(of);
    let in_all = if most > 1 { " in all trials" } else { "" };
    let mut parts = Vec::new();
    if met.len() == rows.len() && met.len() > 1 {
        parts.push(format!("all servers meet it{in_all}"));
    } else if !met.is_empty() {
        let verb = if met.len() == 1 { "meets" } else { "meet" };
        parts.push(format!("only {} {verb} it{in_all}", named(&met)));
    } else if too_few.len() < rows.len() {
        parts.push(if undecided.is_empty() {
            "no server meets it".to_owned()
        } else {
            format!("no server meets it{in_all}")
        });
    }
    if !undecided.is_empty() {
        parts.push(format!("for {} the trials disagree", named(&undecided)));
    }
    if !missed.is_empty() && missed.len() + too_few.len() < rows.len() {
        let verb = if missed.len() == 1 { "misses" } else { "miss" };
        parts.push(format!("{} {verb} it", named(&missed)));
    }
    if !too_few.is_empty() {
        parts.push(format!("too few requests to judge {}", named(&too_few)));
    }
    Some(parts.join(", "))
}

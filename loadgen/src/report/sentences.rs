//! What the tables say, in sentences, and only what the spread of the trials supports.

use std::fmt::Write;

use super::figures::{Figures, distinct};
use super::numbers::{figure, words};
use super::section::Section;
use super::spread::Spread;
use super::summary::Summary;
use crate::workload::line_up::ServerEntry;
use crate::workload::load::Load;
use crate::workload::scenario::Rank;

/// What the tables say, one sentence for each, and only what the spread supports.
pub fn sentences(summary: &Summary) -> Vec<String> {
    let mut sentences = Vec::new();
    for sections in summary.sections.chunk_by(|a, b| a.scenario == b.scenario) {
        sentences.extend(sections.iter().filter_map(ranking));
        sentences.extend(goal_sentence(&summary.servers, sections));
    }
    if summary.run.settings.trials == 1 && !sentences.is_empty() {
        sentences.push(
            "One trial each: their spread is assumed and not measured, so only large differences count (--trials 5)."
                .to_owned(),
        );
    }
    if let (missing @ 1.., all) = summary.missing {
        sentences.push(format!(
            "Incomplete: {missing} of {all} trials are still to be run (loadgen bench --resume DIR)."
        ));
    }
    sentences
}

/// Up to which of a scenario's rates each server meets its goal.
fn goal_sentence(servers: &[ServerEntry], sections: &[Section]) -> Option<String> {
    let goal = sections.first()?.goal?;
    let mut rates: Vec<(f64, &Section)> = sections
        .iter()
        .filter_map(|section| match section.point.load {
            Load::Open { rate, .. } => Some((rate, section)),
            Load::Closed => None,
        })
        .collect();
    rates.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    // The highest rate below the first one that misses the goal, with the servers that reach it.
    let mut reached: Vec<(Option<f64>, Vec<&str>)> = Vec::new();
    for ServerEntry { name, .. } in servers {
        let tried: Vec<(f64, bool)> = rates
            .iter()
            .filter_map(|(rate, section)| {
                let (_, figures) = section
                    .ranked()
                    .into_iter()
                    .find(|(other, _)| other == name)?;
                Some((
                    *rate,
                    figures.kept_up() && goal.is_met_by(figures.response_us.figure(goal.figure)),
                ))
            })
            .collect();
        if tried.is_empty() {
            continue;
        }
        let met = tried.iter().take_while(|(_, met)| *met).last();
        let met = met.map(|(rate, _)| *rate);
        match reached.iter_mut().find(|(other, _)| *other == met) {
            Some((_, names)) => names.push(name),
            None => reached.push((met, vec![name])),
        }
    }
    reached.sort_by(|(a, _), (b, _)| b.partial_cmp(a).expect("rates are numbers"));
    let parts: Vec<String> = reached
        .iter()
        .map(|(rate, names)| {
            let names = names.join(", ");
            match rate {
                Some(rate) => format!("up to {} requests/s by {names}", figure(*rate)),
                None => format!("at none of these rates by {names}"),
            }
        })
        .collect();
    let scenario = &sections.first()?.scenario;
    (!parts.is_empty()).then(|| format!("{scenario}: {goal} is met {}.", parts.join("; ")))
}

/// Why a table has no row that is ranked, if rows were measured.
fn without_valid(section: &Section) -> Option<String> {
    let measured = section.rows.iter();
    let measured = measured.filter_map(|row| row.outcome.as_deref().ok());
    let causes = distinct(measured.flat_map(|figures| &figures.causes));
    (!causes.is_empty())
        .then(|| format!("{}: no VALID result ({}).", section.title(), words(&causes)))
}

/// Who leads, by how much, and who is last.
fn ranking(section: &Section) -> Option<String> {
    let ranked = section.ranked();
    let Some((&(winner, first), others)) = ranked.split_first() else {
        return without_valid(section);
    };
    let best = first.ranked_by(section.rank)?;
    let apart: Vec<&(&str, &Figures)> = others
        .iter()
        .filter(|(_, other)| section.apart(first, other))
        .collect();
    let level: Vec<&str> = others
        .iter()
        .filter(|(_, other)| !section.apart(first, other))
        .map(|(name, _)| *name)
        .collect();
    let value = |spread: Spread| match section.rank {
        Rank::Rate => format!("{} requests/s", figure(spread.value)),
        rank => format!("{} {}", rank.name(), time(spread.value)),
    };
    let cost = |figures: &Figures| {
        figures.costs.cpu_us.map_or_else(String::new, |cpu| {
            format!(", {} us of CPU a request", figure(cpu))
        })
    };
    let ratio = |other: &Figures| {
        let other = other
            .ranked_by(section.rank)
            .map_or(best.value, |other| other.value);
        let (more, less) = if other > best.value {
            (other, best.value)
        } else {
            (best.value, other)
        };
        let ratio = more / less.max(f64::MIN_POSITIVE);
        let digits = if ratio < 1.1 { 2 } else { 1 };
        format!("{ratio:.digits$}")
    };
    let times = match section.rank {
        Rank::Rate => "times fewer",
        _ => "times as much",
    };
    let mut text = format!("{}: {winner} ", section.title());
    let of_winner = format!("{}{}", value(best), cost(first));
    let _ = match level[..] {
        _ if others.is_empty() => {
            write!(text, "has {of_winner}, and nobody to be held against")
        }
        [] => write!(text, "leads with {of_winner}"),
        [_, _, _, _, ..] => write!(
            text,
            "({of_winner}) and {} others are not told apart by the trials",
            level.len()
        ),
        _ => write!(
            text,
            "({of_winner}) is not told apart by the trials from {}",
            level.join(", ")
        ),
    };
    if let [(next, second), .., _] = apart[..] {
        let _ = if level.is_empty() {
            write!(text, "; {next} follows with {} {times}", ratio(second))
        } else {
            write!(
                text,
                "; the first behind them is {next} with {} {times}",
                ratio(second)
            )
        };
    }
    if let Some((last, worst)) = apart.last() {
        let spread = worst.ranked_by(section.rank)?;
        let _ = write!(
            text,
            "; at the other end {last}: {}{}, {} {times}",
            value(spread),
            cost(worst),
            ratio(worst)
        );
    }
    text.push('.');
    Some(text)
}

/// A time of so many microseconds in a readable unit.
fn time(us: f64) -> String {
    if us < 1e3 {
        format!("{} us", figure(us))
    } else if us < 1e6 {
        format!("{} ms", figure(us / 1e3))
    } else {
        format!("{} s", figure(us / 1e6))
    }
}

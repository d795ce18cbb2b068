//! How a bench closes on a terminal: a line for each scenario, short enough for 80 columns.

use super::figures::Figures;
use super::goals;
use super::numbers::counted;
use super::section::Section;
use super::sentences::{Ranked, against, leaders, point, split_level, without_valid};
use super::summary::Summary;
use crate::results::run::Status;
use crate::verdict::cause::Verdict;

/// The most lines, with the heading.
const MOST: usize = 10;
/// The width of a line, columns.
const WIDTH: usize = 80;
/// At most this many servers are named in a line.
const NAMED: usize = 4;

/// The lines; empty if nothing was measured.
pub fn lines(summary: &Summary) -> Vec<String> {
    let scenarios = summary.sections.chunk_by(|a, b| a.scenario == b.scenario);
    let mut lines: Vec<String> = scenarios.filter_map(scenario).collect();
    if lines.is_empty() {
        return lines;
    }
    let remarks: Vec<String> = [apart(summary), limits(summary)]
        .into_iter()
        .flatten()
        .collect();
    let room = MOST - 1 - remarks.len();
    if lines.len() > room {
        let left_out = lines.split_off(room - 1);
        lines.push(format!(
            "{} more scenarios: see their tables",
            left_out.len()
        ));
    }
    lines.extend(remarks);
    let heading = std::iter::once("In short".to_owned());
    heading
        .chain(lines.into_iter().map(|line| format!("  {line}")))
        .collect()
}

/// Who is best at the point that stands for a scenario, its middle one, and who is last; of a scenario that has a goal, up
/// to which rate it is met, and by whom.
fn scenario(sections: &[Section]) -> Option<String> {
    let section = sections.get(sections.len() / 2)?;
    let name = &section.scenario;
    if let Some(goal) = section.goal
        && !section.judged
    {
        let texts = (1..=NAMED)
            .rev()
            .map(|names| goals::in_short(&goal, sections, names));
        return fitting(texts.map(|said| format!("{name}: {said}")));
    }
    let title = match point(section) {
        Some(point) => format!("{name}, {point}"),
        None => name.clone(),
    };
    let ranked = section.ranked();
    if ranked.is_empty() {
        let said = if section.unranked().is_empty() {
            "no VALID result (see its table)".to_owned()
        } else {
            without_valid(section)?
        };
        return Some(format!("{title}: {said}"));
    }
    let (best, behind) = split_level(section, &ranked);
    let last = last_of(section, &ranked, behind);
    let last = last.map_or(String::new(), |last| format!("; last: {last}"));
    // To name the last one is more useful than to name all that are level.
    let texts = [last.as_str(), ""].into_iter().flat_map(|last| {
        let named = (1..=NAMED).rev().map(|names| leaders(section, best, names));
        named
            .map(|best| format!("{title}: {best}{last}"))
            .collect::<Vec<_>>()
    });
    fitting(texts)
}

/// The last of those that the trials show to be behind the best.
fn last_of(section: &Section, ranked: &[Ranked], behind: &[Ranked]) -> Option<String> {
    let (_, first) = ranked.first()?;
    let (name, last) = behind
        .iter()
        .rfind(|(_, last)| section.apart(first, last))?;
    let value = |figures: &Figures| Some(figures.ranked_by(section.rank)?.value);
    let difference = against(section.rank, value(first)?, value(last)?);
    Some(format!("{name} ({difference})"))
}

/// The first text that fits in a line, or the last one.
fn fitting(texts: impl IntoIterator<Item = String>) -> Option<String> {
    let mut last = None;
    for text in texts {
        if text.chars().count() + 2 <= WIDTH {
            return Some(text);
        }
        last = Some(text);
    }
    last
}

/// How many results are not ranked, and why.
fn apart(summary: &Summary) -> Option<String> {
    let rows = || summary.sections.iter().flat_map(|section| &section.rows);
    let count = |wanted: Verdict| {
        let failed = rows().filter(|row| match &row.outcome {
            Ok(figures) => figures.verdict == wanted,
            Err(without) => wanted == Verdict::Failed && without.status == Status::Failed,
        });
        failed.count() as u64
    };
    let starved = rows().filter_map(|row| row.outcome.as_deref().ok());
    let starved = starved.filter(|figures| figures.verdict == Verdict::Valid && figures.starves());
    let parts = [
        (count(Verdict::Failed), "FAILED"),
        (count(Verdict::Invalid), "INVALID"),
        (starved.count() as u64, "left clients without an answer"),
    ];
    let parts: Vec<String> = parts
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    (!parts.is_empty()).then(|| format!("not ranked: {} (see the tables)", parts.join(", ")))
}

/// What limits all lines: missing trials, or one trial each.
fn limits(summary: &Summary) -> Option<String> {
    if let (missing @ 1.., all) = summary.missing {
        let all = counted(all as u64, "trial");
        return Some(format!(
            "incomplete: {missing} of {all} are still to be run (loadgen bench --resume DIR)"
        ));
    }
    (summary.run.settings.trials == 1 && summary.compares()).then(|| {
        "one trial each: only large differences count (--trials 5 shows smaller ones)".to_owned()
    })
}

//! The head of the page: the finding, where it was measured, and a card for each question that most people have.

use minijinja::{Value, context};

use super::data::id;
use crate::report::section::Section;
use crate::report::sentences;
use crate::report::summary::Summary;
use crate::verdict::cause::Verdict;

/// The most cards.
const MOST: usize = 4;
/// The scenarios that have a card, and what it is called.
const CARDS: [(&str, &str); MOST] = [
    ("ping", "One client"),
    ("active", "Busy clients"),
    ("idle", "Silent clients"),
    ("churn", "New clients"),
];

/// The finding in one line: that of many busy clients, or else the first one.
pub fn headline(summary: &Summary) -> Option<String> {
    let busy = key_point(summary, "active").into_iter();
    busy.chain(&summary.sections)
        .find_map(|section| sentences::headline(&summary.servers, section))
}

/// Trials and machine, such as `5 x 1 s, 2 cores, virtual machine`.
pub fn badge(summary: &Summary) -> String {
    let trials = summary.run.settings.trials;
    let lengths = summary
        .sections
        .iter()
        .map(|section| section.point.workload.duration);
    let length = match (lengths.clone().min(), lengths.max()) {
        (Some(least), Some(most)) if least == most => format!(" \u{d7} {most:?}"),
        (Some(least), Some(most)) => format!(" \u{d7} {least:?} to {most:?}"),
        _ => String::new(),
    };
    let machine = &summary.run.machine;
    let kind = if machine.virtual_machine {
        ", virtual machine"
    } else {
        ""
    };
    format!("{trials}{length}, {} cores{kind}", machine.cores)
}

/// How many rows are FAILED and how many INVALID.
pub fn apart(summary: &Summary) -> Vec<String> {
    let rows = || summary.sections.iter().flat_map(|section| &section.rows);
    let count = |verdict| {
        let figures = rows().filter_map(|row| row.outcome.as_deref().ok());
        figures.filter(|figures| figures.verdict == verdict).count()
    };
    [(Verdict::Failed, "FAILED"), (Verdict::Invalid, "INVALID")]
        .into_iter()
        .map(|(verdict, word)| (count(verdict), word))
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| match count {
            1 => format!("1 result is {word}"),
            count => format!("{count} results are {word}"),
        })
        .collect()
}

/// The cards. A run without the scenarios that have one gets a card for each of its first scenarios.
pub fn cards(summary: &Summary) -> Vec<Value> {
    let known: Vec<(&str, &Section)> = CARDS
        .iter()
        .filter_map(|(scenario, title)| Some((*title, key_point(summary, scenario)?)))
        .collect();
    let cards = if known.is_empty() {
        let scenarios = summary.sections.chunk_by(|a, b| a.scenario == b.scenario);
        scenarios
            .take(MOST)
            .filter_map(|sections| sections.get(sections.len() / 2))
            .map(|section| (section.scenario.as_str(), section))
            .collect()
    } else {
        known
    };
    let cards = cards.into_iter().map(|(title, section)| {
        context! {
            title,
            id => id(section),
            question => section.question,
            sentence => sentences::sentence(&summary.servers, section),
        }
    });
    cards.collect()
}

/// The point that stands for a scenario: its middle one.
pub fn key_point<'a>(summary: &'a Summary, scenario: &str) -> Option<&'a Section> {
    let sections = summary.sections.iter();
    let own: Vec<&Section> = sections
        .filter(|section| section.scenario == scenario)
        .collect();
    own.get(own.len() / 2).copied()
}

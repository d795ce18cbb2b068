//! How many times worse than the best each server is, at each point.

use minijinja::{Value, context};

use super::cards::key_point;
use super::data::id;
use crate::report::section::Section;
use crate::report::summary::Summary;
use crate::workload::line_up::ServerEntry;

/// A cell has a darker shade above each of these.
const SHADES: [f64; 6] = [1.1, 1.5, 2.5, 5.0, 10.0, 100.0];

/// The columns and the rows of the matrix.
pub fn matrix(summary: &Summary) -> Value {
    let columns = summary.sections.iter().map(|section| {
        context! {
            id => id(section),
            title => section.title(),
            rank => section.rank.name(),
            key => is_key(summary, section),
        }
    });
    let rows = summary.servers.iter().map(|server| row(summary, server));
    context! {
        columns => columns.collect::<Vec<_>>(),
        rows => rows.collect::<Vec<_>>(),
    }
}

/// Whether a point stands for its scenario while the others are folded.
fn is_key(summary: &Summary, section: &Section) -> bool {
    key_point(summary, &section.scenario).is_some_and(|key| key.point.name == section.point.name)
}

fn row(summary: &Summary, server: &ServerEntry) -> Value {
    let cells = summary.sections.iter().map(|section| {
        let (class, text) = cell(section, &server.name);
        context! { class, text, key => is_key(summary, section) }
    });
    context! {
        server => server.name,
        about => server.about,
        family => server.family,
        cells => cells.collect::<Vec<_>>(),
    }
}

/// A cell has a colour only where the trials show a difference from the best.
fn cell(section: &Section, server: &str) -> (String, String) {
    let Some(ratio) = section.times_worse(server) else {
        return (String::new(), "\u{2013}".to_owned());
    };
    let text = match ratio {
        ratio if ratio < 1.2 => format!("{ratio:.2}"),
        ratio if ratio < 10.0 => format!("{ratio:.1}"),
        ratio => format!("{ratio:.0}"),
    };
    if section
        .ranked()
        .first()
        .is_some_and(|(best, _)| *best == server)
    {
        return ("best".to_owned(), text);
    }
    if section.level_with_best(server) {
        return ("level".to_owned(), text);
    }
    let darker = SHADES.iter().take_while(|&&limit| ratio > limit).count();
    (format!("r{darker}"), text)
}

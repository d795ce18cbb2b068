//! The requests of a load whose rate changes, by the stage in which they were due.

use comfy_table::{CellAlignment, Table};

use super::numbers::{count, figure, no_room, optional, percentile_cell, time};
use super::section::Section;
use super::style::Style;
use crate::results::trial::{StageResult, Trial};
use crate::workload::percentile::Percentile;

/// The headings of a table of stages.
pub const HEADINGS: [&str; 8] = [
    "offered/s",
    "for",
    "scheduled",
    "answered",
    "failed",
    "p50 us",
    "p99 us",
    "max us",
];

/// The column with the highest number is left out of a narrow table first; 0: never.
const DISPENSABLE: [u8; 8] = [0, 0, 5, 4, 1, 2, 0, 3];

/// The stages of a trial.
pub fn of_trial(trial: &Trial, style: Style) -> String {
    let (table, left_out) = style.fit(&DISPENSABLE, |style, kept| {
        let mut table = style.table();
        table.set_header(kept.iter().map(|&at| HEADINGS[at]));
        for stage in &trial.stages {
            let cells = cells(stage);
            table.add_row(kept.iter().map(|&at| cells[at].clone()));
        }
        align(&mut table, 2);
        table
    });
    let left_out = left_out.into_iter().map(|at| HEADINGS[at]);
    format!("{table}\n{}", no_room(left_out, "--json has all"))
}

/// The stages of each row of a section, trial by trial: percentiles of several trials are not averaged.
pub fn of_section(section: &Section) -> Vec<(String, [String; 8])> {
    let mut rows = Vec::new();
    for row in &section.rows {
        let Ok(figures) = &row.outcome else {
            continue;
        };
        for (number, trial) in (1..).zip(&figures.each) {
            let whose = if figures.each.len() == 1 {
                row.server.clone()
            } else {
                format!("{}, trial {number}", row.server)
            };
            let stages = trial.stages.iter();
            rows.extend(stages.map(|stage| (whose.clone(), cells(stage))));
        }
    }
    rows
}

/// [`of_section`] as a table; `None` where the rate does not change in stages.
pub fn table(section: &Section, style: Style) -> Option<String> {
    let rows = of_section(section);
    if rows.is_empty() {
        return None;
    }
    let (table, left_out) = style.fit(&DISPENSABLE, |style, kept| {
        let mut table = style.table();
        let headings = kept.iter().map(|&at| HEADINGS[at]);
        table.set_header(std::iter::once("stages of").chain(headings));
        for (whose, cells) in &rows {
            let cells = kept.iter().map(|&at| cells[at].clone());
            table.add_row(std::iter::once(whose.clone()).chain(cells));
        }
        align(&mut table, 3);
        table
    });
    let left_out = left_out.into_iter().map(|at| HEADINGS[at]);
    Some(format!(
        "{table}\n{}",
        no_room(left_out, "all are in summary.md")
    ))
}

fn align(table: &mut Table, first: usize) {
    for column in table.column_iter_mut().skip(first) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}

fn cells(stage: &StageResult) -> [String; 8] {
    // A rate is mostly a whole number, and then it is shown as one.
    let rate = |rate: f64| match rate.fract() {
        0.0 => count(rate as u64),
        _ => figure(rate),
    };
    let offered = if stage.from.to_bits() == stage.to.to_bits() {
        rate(stage.from)
    } else {
        format!("{} to {}", rate(stage.from), rate(stage.to))
    };
    [
        offered,
        time(stage.length_s),
        count(stage.scheduled),
        count(stage.answered),
        count(stage.failed),
        percentile_cell(&stage.response_us, Percentile::P50),
        percentile_cell(&stage.response_us, Percentile::P99),
        optional(stage.response_us.max),
    ]
}

//! The requests of a load whose rate changes, by the stage in which they were due.

use comfy_table::{CellAlignment, Table};

use super::numbers::{count, figure, optional, percentile_cell, time};
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

/// The stages of a trial.
pub fn of_trial(trial: &Trial, style: Style) -> Table {
    let mut table = style.table();
    table.set_header(HEADINGS);
    for stage in &trial.stages {
        table.add_row(cells(stage));
    }
    align(&mut table, 2);
    table
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
pub fn table(section: &Section, style: Style) -> Option<Table> {
    let rows = of_section(section);
    if rows.is_empty() {
        return None;
    }
    let mut table = style.table();
    table.set_header(std::iter::once("stages of").chain(HEADINGS));
    for (whose, cells) in rows {
        table.add_row(std::iter::once(whose).chain(cells));
    }
    align(&mut table, 3);
    Some(table)
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

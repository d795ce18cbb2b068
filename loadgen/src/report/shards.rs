//! The shards of a trial that several generators made.

use super::numbers::{count, no_room, optional, words};
use super::style::Style;
use crate::results::shard::ShardRow;
use comfy_table::CellAlignment;

/// More of them are not shown in a text; all are in the page and in the JSON.
const SHOWN: usize = 40;

/// The headings.
pub const HEADINGS: [&str; 10] = [
    "shard",
    "host",
    "verdict",
    "connections",
    "scheduled",
    "answered",
    "requests/s",
    "p99 us",
    "latest us",
    "clock ahead us",
];

/// The column with the highest number is left out of a narrow table first; 0: never.
const DISPENSABLE: [u8; 10] = [0, 0, 0, 6, 5, 4, 1, 2, 3, 7];

/// The cells of a shard.
pub fn cells(row: &ShardRow) -> [String; 10] {
    let verdict = words(&[row.verdict]);
    // The sum has no -0.
    let ahead = row.clock_ahead_us.map(|ahead| ahead.round() + 0.0);
    let clock = match (ahead, row.clock_bound_us) {
        (Some(ahead), Some(bound)) if bound > 0.0 => format!("{ahead:.0} \u{b1} {bound:.0}"),
        (Some(ahead), _) => format!("{ahead:.0}"),
        (None, _) => "unknown".to_owned(),
    };
    let clock = match &row.clock_source {
        Some(source) => format!("{clock} ({source})"),
        None => clock,
    };
    [
        row.number.to_string(),
        row.host.clone(),
        if row.causes.is_empty() {
            verdict
        } else {
            format!("{verdict}: {}", words(&row.causes))
        },
        count(row.connections as u64),
        count(row.scheduled),
        count(row.answered),
        optional(Some(row.rate)),
        optional(row.response_p99_us),
        optional(row.lateness_max_us),
        clock,
    ]
}

/// The table; empty without shards. Those that are not VALID come first.
pub fn table(rows: &[ShardRow], style: Style) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut rows: Vec<&ShardRow> = rows.iter().collect();
    rows.sort_by_key(|row| row.causes.is_empty());
    let shown: Vec<[String; 10]> = rows.iter().take(SHOWN).map(|row| cells(row)).collect();
    let (table, left_out) = style.fit(&DISPENSABLE, |style, kept| {
        let mut table = style.table();
        table.set_header(kept.iter().map(|&at| HEADINGS[at]));
        for cells in &shown {
            table.add_row(kept.iter().map(|&at| cells[at].clone()));
        }
        for column in table.column_iter_mut().skip(3) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    });
    let left_out = left_out.into_iter().map(|at| HEADINGS[at]);
    let left_out = no_room(left_out, "all are in summary.md");
    let more = rows.len().saturating_sub(SHOWN);
    if more > 0 {
        format!(
            "{table}\n{left_out}and {} shards more\n",
            count(more as u64)
        )
    } else {
        format!("{table}\n{left_out}")
    }
}

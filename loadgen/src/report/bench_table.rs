//! The table of a section: the rows of a bench that had the same load.

use comfy_table::{Attribute, Cell, CellAlignment, Color, Table};

use super::failure;
use super::figures::Figures;
use super::numbers::{count, figure, optional, words};
use super::section::Row;
use super::spread::Spread;
use super::style::Style;
use crate::verdict::cause::Verdict;

/// A column of a bench's table.
struct Column {
    heading: &'static [&'static str],
    /// The column with the highest number is left out of a narrow table first; 0: never.
    dispensable: u8,
    cell: fn(&Figures) -> String,
    /// The row with the smallest of these values is the best of the column. `None`: no row is.
    best: fn(&Figures) -> Option<f64>,
}

const COLUMNS: [Column; 15] = [
    Column {
        heading: &["requests/s"],
        dispensable: 0,
        cell: |row| {
            let at_least = if row.generator_bound() { ">= " } else { "" };
            format!("{at_least}{}", spread(row, row.rate.value, Some(row.rate)))
        },
        best: |row| Some(-row.rate.value),
    },
    Column {
        heading: &["p50", "us"],
        dispensable: 0,
        cell: |row| percentile(row, row.response_us.p50, row.p50_us),
        best: |row| row.response_us.p50,
    },
    Column {
        heading: &["p90", "us"],
        dispensable: 8,
        cell: |row| optional(row.response_us.p90),
        best: |row| row.response_us.p90,
    },
    Column {
        heading: &["p99", "us"],
        dispensable: 1,
        cell: |row| percentile(row, row.response_us.p99, row.p99_us),
        best: |row| row.response_us.p99,
    },
    Column {
        heading: &["p99.9", "us"],
        dispensable: 6,
        cell: |row| percentile(row, row.response_us.p99_9, row.p99_9_us),
        best: |row| row.response_us.p99_9,
    },
    Column {
        heading: &["max", "us"],
        dispensable: 2,
        cell: |row| optional(row.response_us.max),
        best: |row| row.response_us.max,
    },
    Column {
        heading: &["CPU us", "/request"],
        dispensable: 3,
        cell: |row| optional(row.costs.cpu_us),
        best: |row| row.costs.cpu_us,
    },
    Column {
        heading: &["switches", "/request"],
        dispensable: 9,
        cell: |row| optional(row.costs.context_switches),
        best: |row| row.costs.context_switches,
    },
    Column {
        heading: &["syscalls", "/request"],
        dispensable: 10,
        cell: |row| optional(row.costs.syscalls),
        best: |row| row.costs.syscalls,
    },
    Column {
        heading: &["memory", "MiB"],
        dispensable: 5,
        cell: |row| optional(row.costs.memory_mib),
        best: |row| row.costs.memory_mib,
    },
    Column {
        heading: &["threads"],
        dispensable: 11,
        cell: |row| whole(row.costs.threads),
        best: |_| None,
    },
    Column {
        heading: &["processes"],
        dispensable: 12,
        cell: |row| whole(row.costs.processes),
        best: |_| None,
    },
    Column {
        heading: &["clients", "answered"],
        dispensable: 4,
        cell: |row| {
            format!(
                "{} of {}",
                count(row.connections_answered as u64),
                count(row.connections as u64)
            )
        },
        best: |_| None,
    },
    Column {
        heading: &["trials"],
        dispensable: 13,
        cell: |row| match row.left_out {
            0 => row.trials.to_string(),
            left_out => format!("{} of {}", row.trials, row.trials + left_out),
        },
        best: |_| None,
    },
    Column {
        heading: &["verdict"],
        dispensable: 7,
        cell: |row| match row.verdict {
            Verdict::Failed => failure::of_row(row),
            verdict => words(&[verdict]),
        },
        best: |_| None,
    },
];

/// The headings of a bench's table, without the first one, `server`.
pub fn headings() -> Vec<String> {
    COLUMNS
        .iter()
        .map(|column| column.heading.join(" "))
        .collect()
}

/// The cells of its rows, one for each of [`headings`], and whether each is the best of its column.
pub fn cells(rows: &[&Figures]) -> Vec<Vec<(String, bool)>> {
    marked(rows, &COLUMNS.each_ref())
}

fn marked(rows: &[&Figures], columns: &[&Column]) -> Vec<Vec<(String, bool)>> {
    let ranked = |row: &&&Figures| row.verdict == Verdict::Valid && !row.starves();
    let shown = |column: &Column, row: &Figures| (column.best)(row).map(|best| figure(best.abs()));
    // Where all cells look the same none is the best.
    let best = |column: &&Column| {
        let ranked = || rows.iter().filter(ranked);
        let best = |row: &&&Figures| (column.best)(row);
        let (row, _) = ranked()
            .filter_map(|row| Some((row, best(&row)?)))
            .min_by(|(_, a), (_, b)| a.total_cmp(b))?;
        let text = shown(column, row);
        ranked()
            .any(|row| shown(column, row) != text)
            .then_some(text?)
    };
    let bests: Vec<Option<String>> = columns.iter().map(best).collect();
    let mark = |row: &&Figures| {
        let columns = columns.iter().zip(&bests);
        let cells = columns.map(|(column, best)| {
            let is_best = ranked(&row) && best.is_some() && shown(column, row) == *best;
            ((column.cell)(row), is_best)
        });
        cells.collect()
    };
    rows.iter().map(mark).collect()
}

fn whole(x: Option<f64>) -> String {
    x.map_or_else(|| "n/a".to_owned(), |x| count(x.round() as u64))
}

/// A percentile of all trials together, marked where much of it is the generator's own delay; or without histograms the median of the trials.
fn percentile(row: &Figures, value: Option<f64>, of_trials: Option<Spread>) -> String {
    let value = value.or(of_trials.map(|spread| spread.value));
    let late = if row.read_late() { "~ " } else { "" };
    value.map_or_else(
        || "n/a".to_owned(),
        |value| format!("{late}{}", spread(row, value, of_trials)),
    )
}

/// `1,234 \u{b1}5%`; with one trial there is no spread.
fn spread(row: &Figures, value: f64, of_trials: Option<Spread>) -> String {
    match of_trials {
        Some(spread) if row.trials > 1 => {
            format!("{} \u{b1}{:.0}%", figure(value), spread.relative() * 100.0)
        }
        _ => figure(value),
    }
}

/// A table of the columns that fit, and the headings of the others.
pub fn fit(rows: &[(&Row, &Figures)], ranked: bool, style: Style) -> (Table, Vec<String>) {
    let mut columns: Vec<&Column> = COLUMNS.iter().collect();
    let mut least = 0;
    while !style.has_room(|style| build(rows, &columns, ranked, style)) {
        let dispensable = columns
            .iter()
            .map(|column| column.dispensable)
            .max()
            .unwrap_or(0);
        if dispensable == 0 {
            break;
        }
        least = dispensable;
        columns.retain(|column| column.dispensable < least);
    }
    let left_out = COLUMNS
        .iter()
        .filter(|column| least > 0 && column.dispensable >= least);
    let left_out = left_out
        .map(|column| column.heading[0].to_owned())
        .collect();
    (build(rows, &columns, ranked, style), left_out)
}

fn build(rows: &[(&Row, &Figures)], columns: &[&Column], ranked: bool, style: Style) -> Table {
    let mut table = style.table();
    let headings = columns.iter().map(|column| style.heading(column.heading));
    table.set_header(std::iter::once("server".to_owned()).chain(headings));
    let figures: Vec<&Figures> = rows.iter().map(|(_, figures)| *figures).collect();
    for (at, cells) in marked(&figures, columns).into_iter().enumerate() {
        let leads = ranked && rows.len() > 1 && at == 0 && !rows[at].1.starves();
        let cells = cells
            .into_iter()
            .map(|(text, best)| cell(text, best, style));
        table.add_row(std::iter::once(name(&rows[at].0.server, leads, style)).chain(cells));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    if style != Style::Markdown {
        // The best cell has a mark at its end, the others a blank.
        table.column_iter_mut().for_each(|column| {
            column.set_padding((0, 1));
        });
    }
    table
}

/// The first cell of a row; the leader's is marked.
fn name(server: &str, leads: bool, style: Style) -> Cell {
    match (leads, style) {
        (true, Style::Markdown) => Cell::new(format!("**{server}**")),
        (true, _) => Cell::new(format!("> {server}"))
            .add_attribute(Attribute::Bold)
            .fg(Color::Green),
        (false, Style::Markdown) => Cell::new(server),
        (false, _) => Cell::new(format!("  {server}")),
    }
}

/// A figure; the best of its column is marked.
fn cell(text: String, best: bool, style: Style) -> Cell {
    match (best, style) {
        (true, Style::Markdown) => Cell::new(format!("**{text}**")),
        (true, _) => Cell::new(text + "*").add_attribute(Attribute::Bold),
        (false, Style::Markdown) => Cell::new(text),
        (false, _) => Cell::new(text + " "),
    }
}

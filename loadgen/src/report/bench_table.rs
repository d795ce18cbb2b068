//! The table of a section: the rows of a bench that had the same load.

use comfy_table::{Attribute, Cell, CellAlignment, Color, Table};

use super::failure;
use super::figures::Figures;
use super::numbers::{DASH, count, figure, optional, words};
use super::section::Row;
use super::spread::Spread;
use super::style::Style;
use crate::verdict::cause::Verdict;
use crate::workload::percentile::Percentile;

/// A column of a bench's table.
#[derive(Clone, Copy)]
struct Column {
    heading: &'static [&'static str],
    /// The column with the highest number is left out of a narrow table first; 0: never.
    dispensable: u8,
    content: Content,
}

#[derive(Clone, Copy)]
enum Content {
    Percentile(Percentile),
    Fixed {
        cell: fn(&Figures) -> String,
        /// The row with the smallest of these values is the best of the column. `None`: no row is.
        best: fn(&Figures) -> Option<f64>,
    },
}

impl Column {
    fn of(percentile: Percentile) -> Self {
        let (heading, dispensable): (&[&str], u8) = match percentile {
            Percentile::P50 => (&["p50", "us"], 0),
            Percentile::P75 => (&["p75", "us"], 8),
            Percentile::P90 => (&["p90", "us"], 8),
            Percentile::P95 => (&["p95", "us"], 8),
            Percentile::P99 => (&["p99", "us"], 1),
            Percentile::P999 => (&["p99.9", "us"], 6),
            Percentile::P9999 => (&["p99.99", "us"], 8),
        };
        Self {
            heading,
            dispensable,
            content: Content::Percentile(percentile),
        }
    }

    fn cell(&self, row: &Figures) -> String {
        match self.content {
            Content::Percentile(percentile) => percentile_cell(row, percentile),
            Content::Fixed { cell, .. } => cell(row),
        }
    }

    fn best(&self, row: &Figures) -> Option<f64> {
        match self.content {
            Content::Percentile(percentile) => row.response_us.percentile(percentile),
            Content::Fixed { best, .. } => best(row),
        }
    }
}

/// The columns before the percentiles.
const BEFORE: [Column; 1] = [Column {
    heading: &["requests/s"],
    dispensable: 0,
    content: Content::Fixed {
        cell: |row| {
            let at_least = if row.generator_bound() { ">= " } else { "" };
            format!("{at_least}{}", spread(row, row.rate.value, Some(row.rate)))
        },
        best: |row| Some(-row.rate.value),
    },
}];

/// The columns behind them.
const BEHIND: [Column; 10] = [
    Column {
        heading: &["max", "us"],
        dispensable: 2,
        content: Content::Fixed {
            cell: |row| optional(row.response_us.max),
            best: |row| row.response_us.max,
        },
    },
    Column {
        heading: &["CPU us", "/request"],
        dispensable: 3,
        content: Content::Fixed {
            cell: |row| optional(row.costs.cpu_us),
            best: |row| row.costs.cpu_us,
        },
    },
    Column {
        heading: &["switches", "/request"],
        dispensable: 9,
        content: Content::Fixed {
            cell: |row| optional(row.costs.context_switches),
            best: |row| row.costs.context_switches,
        },
    },
    Column {
        heading: &["syscalls", "/request"],
        dispensable: 10,
        content: Content::Fixed {
            cell: |row| optional(row.costs.syscalls),
            best: |row| row.costs.syscalls,
        },
    },
    Column {
        heading: &["memory", "MiB"],
        dispensable: 5,
        content: Content::Fixed {
            cell: |row| optional(row.costs.memory_mib),
            best: |row| row.costs.memory_mib,
        },
    },
    Column {
        heading: &["threads"],
        dispensable: 11,
        content: Content::Fixed {
            cell: |row| whole(row.costs.threads),
            best: |_| None,
        },
    },
    Column {
        heading: &["processes"],
        dispensable: 12,
        content: Content::Fixed {
            cell: |row| whole(row.costs.processes),
            best: |_| None,
        },
    },
    Column {
        heading: &["clients", "answered"],
        dispensable: 4,
        content: Content::Fixed {
            cell: |row| {
                format!(
                    "{} of {}",
                    count(row.connections_answered as u64),
                    count(row.connections as u64)
                )
            },
            best: |_| None,
        },
    },
    Column {
        heading: &["trials"],
        dispensable: 13,
        content: Content::Fixed {
            cell: |row| match row.left_out {
                0 => row.trials.to_string(),
                left_out => format!("{} of {}", row.trials, row.trials + left_out),
            },
            best: |_| None,
        },
    },
    Column {
        heading: &["verdict"],
        dispensable: 7,
        content: Content::Fixed {
            cell: |row| match row.verdict {
                Verdict::Failed => failure::of_row(row),
                verdict => words(&[verdict]),
            },
            best: |_| None,
        },
    },
];

/// The columns of a table with these percentiles.
fn columns(percentiles: &[Percentile]) -> Vec<Column> {
    let percentiles = percentiles.iter().copied().map(Column::of);
    BEFORE
        .into_iter()
        .chain(percentiles)
        .chain(BEHIND)
        .collect()
}

/// The headings of a bench's table, without the first one, `server`.
pub fn headings(percentiles: &[Percentile]) -> Vec<String> {
    columns(percentiles)
        .iter()
        .map(|column| column.heading.join(" "))
        .collect()
}

/// The cells of its rows, one for each of [`headings`], and whether each is the best of its column.
pub fn cells(rows: &[&Figures], percentiles: &[Percentile]) -> Vec<Vec<(String, bool)>> {
    marked(rows, &columns(percentiles))
}

fn marked(rows: &[&Figures], columns: &[Column]) -> Vec<Vec<(String, bool)>> {
    let ranked = |row: &&&Figures| row.verdict == Verdict::Valid && !row.starves();
    let shown = |column: &Column, row: &Figures| column.best(row).map(|best| figure(best.abs()));
    // Where all cells look the same none is the best.
    let best = |column: &Column| {
        let ranked = || rows.iter().filter(ranked);
        let best = |row: &&&Figures| column.best(row);
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
            (column.cell(row), is_best)
        });
        cells.collect()
    };
    rows.iter().map(mark).collect()
}

fn whole(x: Option<f64>) -> String {
    x.map_or_else(|| "n/a".to_owned(), |x| count(x.round() as u64))
}

/// A percentile of all trials together, marked where much of it is the generator's own delay; or without histograms the
/// median of the trials. A dash where it has too few samples.
fn percentile_cell(row: &Figures, percentile: Percentile) -> String {
    let of_trials = row.percentile(percentile);
    let value = row.response_us.percentile(percentile);
    let value = value.or(of_trials.map(|spread| spread.value));
    let late = if row.read_late() { "~ " } else { "" };
    match value {
        Some(value) => format!("{late}{}", spread(row, value, of_trials)),
        None if row.each.iter().any(|trial| trial.response_us.count > 0) => DASH.to_owned(),
        None => "n/a".to_owned(),
    }
}

/// `1,234 \u{b1}5%`; with one trial there is no spread.
fn spread(row: &Figures, value: f64, of_trials: Option<Spread>) -> String {
    match of_trials.and_then(|spread| spread.relative()) {
        Some(relative) if row.trials > 1 => {
            format!("{} \u{b1}{:.0}%", figure(value), relative * 100.0)
        }
        _ => figure(value),
    }
}

/// A table of the columns that fit, and the headings of the others.
pub fn fit(
    rows: &[(&Row, &Figures)],
    ranked: bool,
    percentiles: &[Percentile],
    style: Style,
) -> (Table, Vec<String>) {
    let all = columns(percentiles);
    let dispensable: Vec<u8> = all.iter().map(|column| column.dispensable).collect();
    let (table, left_out) = style.fit(&dispensable, |style, kept| {
        let columns: Vec<Column> = kept.iter().map(|&at| all[at]).collect();
        build(rows, &columns, ranked, style)
    });
    let left_out = left_out.into_iter();
    let left_out = left_out.map(|at| all[at].heading[0].to_owned());
    (table, left_out.collect())
}

fn build(rows: &[(&Row, &Figures)], columns: &[Column], ranked: bool, style: Style) -> Table {
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

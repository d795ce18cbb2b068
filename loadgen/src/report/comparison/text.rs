//! A comparison for people: a table for each point, then what differs in plain words.

use std::fmt::Write;

use comfy_table::{Attribute, Cell, CellAlignment, Color};

use super::rows::{Compared, Comparison, Outcome, Row};
use crate::report::numbers::{DASH, count, counted, figure};
use crate::report::style::Style;
use crate::workload::scenario::Rank;

/// The tables, the differences and the count of the verdicts.
pub fn render(comparison: &Comparison, style: Style) -> String {
    // Writing to a String cannot fail.
    let mut text = String::new();
    let (a, b) = (&comparison.a, &comparison.b);
    if style == Style::Markdown {
        let _ = writeln!(
            text,
            "## B: `{b}` against A: `{a}`\n\n{}\n",
            tally(comparison)
        );
    } else {
        let _ = writeln!(
            text,
            "{b} (B) against {a} (A), as ratios B / A [interval]\n"
        );
    }
    let (bullet, blank) = match style {
        Style::Markdown => ("* ", "\n"),
        Style::Terminal { .. } | Style::Plain => ("", ""),
    };
    let programs = comparison.same_programs.sentences();
    let mut closing = differences(comparison);
    closing.extend(uncertain(comparison));
    write_lines(&mut text, &programs, bullet);
    if style == Style::Markdown {
        write_lines(&mut text, &closing, bullet);
        let _ = writeln!(
            text,
            "<details><summary>All rows, as ratios B / A [interval]</summary>\n"
        );
    }
    let points = comparison
        .rows
        .chunk_by(|row, next| (&row.scenario, &row.point) == (&next.scenario, &next.point));
    for rows in points {
        let title = format!("{}, {}", rows[0].scenario, rows[0].point);
        let _ = match style {
            Style::Markdown => writeln!(text, "### {title}\n"),
            Style::Terminal { .. } | Style::Plain => writeln!(text, "{title}"),
        };
        if rows.iter().any(|row| !row.figures.is_empty()) {
            let _ = writeln!(
                text,
                "{}{blank}",
                fitting(rows, style, &comparison.compared)
            );
        }
        let mut lines = grouped(rows, |row| row.starved.as_deref());
        lines.extend(grouped(rows, |row| row.reason.as_deref()));
        write_lines(&mut text, &lines, bullet);
        if style != Style::Markdown && lines.is_empty() {
            text.push('\n');
        }
    }
    if style == Style::Markdown {
        text.push_str("</details>\n");
    } else {
        write_lines(&mut text, &closing, bullet);
        let _ = writeln!(text, "{}", tally(comparison));
    }
    text
}

/// The lines, with an empty one behind them if there are any.
fn write_lines(text: &mut String, lines: &[String], bullet: &str) {
    for line in lines {
        let _ = writeln!(text, "{bullet}{line}");
    }
    if !lines.is_empty() {
        text.push('\n');
    }
}

/// The table of a point. If it is too wide, the intervals go below the ratios; if it still is, only the figure that decides
/// is shown.
fn fitting(rows: &[Row], style: Style, figures: &[Rank]) -> comfy_table::Table {
    let forms = [(figures, " "), (figures, "\n"), (&[], "\n")];
    let (others, gap) = forms
        .into_iter()
        .find(|(others, gap)| style.has_room(|style| table(rows, style, others, gap)))
        .unwrap_or(forms[2]);
    table(rows, style, others, gap)
}

/// The ratios of the rows that can be compared: these figures and the one that decides. `gap` separates a ratio from
/// its interval.
fn table(rows: &[Row], style: Style, figures: &[Rank], gap: &str) -> comfy_table::Table {
    // All rows of a point are ranked by the same figure.
    let rank = rows[0].rank;
    let mut columns = figures.to_vec();
    if !columns.contains(&rank) {
        columns.push(rank);
    }
    let mut table = style.table();
    let headings = columns.iter().map(|column| column.name());
    table.set_header(std::iter::once("server").chain(headings).chain(["verdict"]));
    for row in rows.iter().filter(|row| !row.figures.is_empty()) {
        let mut cells = vec![Cell::new(row.server.replace(" / ", &format!(" /{gap}")))];
        for column in &columns {
            let compared = row.figures.iter().find(|figure| figure.figure == *column);
            cells.push(Cell::new(
                compared.map_or_else(|| DASH.to_owned(), |compared| ratio(compared, gap)),
            ));
        }
        let verdict = Cell::new(verdict(row, gap));
        cells.push(match row.verdict {
            Outcome::Slower => verdict.fg(Color::Red).add_attribute(Attribute::Bold),
            Outcome::Faster => verdict.fg(Color::Green).add_attribute(Attribute::Bold),
            Outcome::NoDifferenceShown | Outcome::NotComparable => verdict,
        });
        table.add_row(cells);
    }
    for column in table.column_iter_mut().skip(1).take(columns.len()) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    if style != Style::Markdown {
        table.column_iter_mut().for_each(|column| {
            column.set_padding((0, 1));
        });
    }
    table
}

/// `0.90 [0.87, 0.93]`
fn ratio(compared: &Compared, gap: &str) -> String {
    format!("{}{gap}{}", figure(compared.ratio), interval(compared))
}

/// `[0.87, 0.93]`. Bounds that are far off come from few trials that differ much, and are rounded.
fn interval(compared: &Compared) -> String {
    const FAR: f64 = 100.0;
    let low = if compared.low < 1.0 / FAR {
        "<0.01".to_owned()
    } else {
        figure(compared.low)
    };
    let high = if compared.high > FAR {
        ">100".to_owned()
    } else {
        figure(compared.high)
    };
    format!("[{low}, {high}]")
}

/// `slower (p99)`, with the figures that say so.
fn verdict(row: &Row, gap: &str) -> String {
    let named = |outcome: Outcome| -> Vec<&str> {
        let figures = row.figures.iter();
        let shown = figures.filter(|figure| figure.verdict == outcome);
        shown.map(|figure| figure.figure.name()).collect()
    };
    let (slower, faster) = (
        named(Outcome::Slower).join(", "),
        named(Outcome::Faster).join(", "),
    );
    match (slower.is_empty(), faster.is_empty()) {
        (true, true) => format!("no difference{gap}shown"),
        (false, true) => format!("slower{gap}({slower})"),
        (true, false) => format!("faster{gap}({faster})"),
        (false, false) => format!("slower ({slower}),{gap}faster ({faster})"),
    }
}

/// Remarks on rows: why they cannot be compared, or how many clients they left without an answer. Rows with the
/// same remark share a line.
fn grouped(rows: &[Row], said: fn(&Row) -> Option<&str>) -> Vec<String> {
    let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
    for row in rows {
        if let Some(reason) = said(row) {
            match reasons.iter_mut().find(|(other, _)| *other == reason) {
                Some((_, servers)) => servers.push(&row.server),
                None => reasons.push((reason, vec![&row.server])),
            }
        }
    }
    let line = |(reason, servers): (&str, Vec<&str>)| format!("{}: {reason}", servers.join(", "));
    reasons.into_iter().map(line).collect()
}

/// A line for each figure that differs, with what was measured.
fn differences(comparison: &Comparison) -> Vec<String> {
    let mut lines = Vec::new();
    for row in &comparison.rows {
        for compared in &row.figures {
            let word = match compared.verdict {
                Outcome::Slower => "slower",
                Outcome::Faster => "faster",
                Outcome::NoDifferenceShown | Outcome::NotComparable => continue,
            };
            let unit = match compared.figure {
                Rank::Rate => "",
                _ => " us",
            };
            lines.push(format!(
                "{}, {}: {} is {word}: {} {}{unit} in B, {}{unit} in A, B/A {} {}",
                row.scenario,
                row.point,
                row.server,
                compared.figure.name(),
                figure(compared.b),
                figure(compared.a),
                figure(compared.ratio),
                interval(compared)
            ));
        }
    }
    lines
}

/// What to do about differences that the trials do not support.
fn uncertain(comparison: &Comparison) -> Option<String> {
    let rows = comparison.rows.iter();
    let unsure = rows.flat_map(|row| &row.figures).filter(|compared| {
        compared.verdict == Outcome::NoDifferenceShown
            && compared.low < 1.0
            && compared.high > 1.0
            && compared.ratio.max(compared.ratio.recip()) >= 1.0 + comparison.least_effect
    });
    let unsure = unsure.count();
    (unsure > 0).then(|| {
        format!(
            "{} of {} figures differ by {} % or more, but so do their trials: no difference is shown. More trials \
             (bench --trials) or a bench of fewer rows narrow the intervals.",
            count(unsure as u64),
            count(comparison.comparisons as u64),
            share(comparison.least_effect)
        )
    })
}

fn tally(comparison: &Comparison) -> String {
    let rows = |outcome: Outcome| {
        let rows = comparison.rows.iter();
        rows.filter(|row| row.verdict == outcome).count() as u64
    };
    let mut text = format!(
        "{} slower, {} faster, {} no difference shown, {} not comparable.",
        counted(rows(Outcome::Slower), "row"),
        count(rows(Outcome::Faster)),
        count(rows(Outcome::NoDifferenceShown)),
        count(rows(Outcome::NotComparable))
    );
    if comparison.comparisons > 0 {
        let _ = write!(
            text,
            " The intervals hold for all {} figures together at {} %; less than {} % is no difference.",
            count(comparison.comparisons as u64),
            share(comparison.confidence),
            share(comparison.least_effect)
        );
    }
    let broke = comparison.rows.iter().filter(|row| row.broke).count() as u64;
    if broke > 0 {
        let _ = write!(
            text,
            " Regression: {} failed in B and not in A.",
            counted(broke, "row")
        );
    } else if comparison.regression {
        let _ = write!(
            text,
            " Regression: a figure is slower by {} % or more.",
            share(comparison.threshold)
        );
    }
    text
}

/// A share in percent, without digits that it does not have.
fn share(share: f64) -> f64 {
    (share * 1e4).round() / 1e2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_fit_into_80_columns() {
        let style = Style::Terminal {
            width: 80,
            colour: false,
        };
        let figures = [Rank::Rate, Rank::P50, Rank::P99, Rank::P999];
        for (verdict, bounds) in [
            (Outcome::NoDifferenceShown, (0.001, 1000.0)),
            (Outcome::Slower, (12.34, 56.78)),
        ] {
            let compared = |figure| Compared {
                figure,
                a: 1_234_567.0,
                b: 1_234_567.0,
                ratio: 23.45,
                low: bounds.0,
                high: bounds.1,
                p_value: 0.5,
                verdict,
            };
            let row = |server: &str| Row {
                scenario: "active".to_owned(),
                point: "connections-1000".to_owned(),
                server: server.to_owned(),
                rank: Rank::Rate,
                verdict,
                reason: None,
                broke: false,
                starved: None,
                figures: figures.map(compared).into(),
            };
            let rows = ["poll", "io-uring-multishot", "prefork-reuseport / epoll"].map(row);
            let table = fitting(&rows, style, &figures[1..]);
            assert!(style.has_room(|_| table.clone()), "{table}");
        }
    }
}

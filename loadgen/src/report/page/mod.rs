//! `report.html`: a run as one page that needs no network.
//!
//! The words and the tables are made here. The browser draws the charts, from JSON that is in the page.

mod cards;
mod data;
mod matrix;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use minijinja::{AutoEscape, Environment, Value, context};
use sha2::{Digest, Sha256};

use self::data::{Data, id};
use super::figures::Figures;
use super::numbers::words;
use super::section::{Row, Section};
use super::sentences::sentences;
use super::style::Style;
use super::summary::Summary;
use super::{bench_table, csv, failure, goals, remarks, shards, stages, text};
use crate::results::directory::RunDir;
use crate::verdict::cause::Verdict;

const TEMPLATE: &str = include_str!("../../../assets/report.html");
const STYLE: &str = include_str!("../../../assets/report.css");
const SCRIPT: &str = include_str!("../../../assets/report.js");
const CHARTS: &str = include_str!("../../../assets/echarts.min.js");

/// The columns of a table that are always shown; the others unfold.
const SHOWN: [&str; 5] = [
    "requests/s",
    "p50 us",
    "p99 us",
    "CPU us /request",
    "verdict",
];

/// The page of a run.
///
/// # Errors
/// When an interval log cannot be read.
pub fn render(directory: &RunDir, summary: &Summary) -> anyhow::Result<String> {
    let data = Data::read(directory, summary)?;
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.add_template("report", TEMPLATE)?;
    let hashes = [CHARTS, SCRIPT].map(|script| {
        let hash = BASE64_STANDARD.encode(Sha256::digest(script));
        format!("'sha256-{hash}'")
    });
    let headings = bench_table::headings(&summary.run.settings.percentiles);
    let page = environment.get_template("report")?.render(context! {
        started => summary.run.started,
        version => summary.run.loadgen,
        headline => cards::headline(summary),
        badge => cards::badge(summary),
        apart => cards::apart(summary),
        cards => cards::cards(summary),
        head => text::head(&summary.run),
        sentences => sentences(summary),
        matrix => matrix::matrix(summary),
        sections => summary.sections.iter().map(table).collect::<Vec<_>>(),
        servers => summary.servers,
        more => headings.iter().map(|heading| !SHOWN.contains(&heading.as_str())).collect::<Vec<_>>(),
        headings,
        legend => text::legend(Style::Plain),
        script_hashes => Value::from_safe_string(hashes.join(" ")),
        css => Value::from_safe_string(STYLE.to_owned()),
        js => Value::from_safe_string(SCRIPT.to_owned()),
        echarts => Value::from_safe_string(CHARTS.to_owned()),
        data => in_script(&data)?,
        csv => in_script(&csv::render(summary)?)?,
    })?;
    Ok(page)
}

/// JSON for a script element, which only `<` could end early.
fn in_script(value: &impl serde::Serialize) -> anyhow::Result<Value> {
    let json = serde_json::to_string(value)?.replace('<', "\\u003c");
    Ok(Value::from_safe_string(json))
}

/// One table: the ranked rows, those that are FAILED, those that are INVALID, and those without figures.
fn table(section: &Section) -> Value {
    let measured: Vec<(&Row, &Figures)> = section
        .rows
        .iter()
        .filter_map(|row| Some((row, row.outcome.as_deref().ok()?)))
        .collect();
    let figures: Vec<&Figures> = measured.iter().map(|(_, figures)| *figures).collect();
    let cells = bench_table::cells(&figures, &section.percentiles);
    let of = |verdict: Verdict| {
        let rows = measured.iter().zip(&cells);
        rows.filter(|((_, figures), _)| figures.verdict == verdict)
            .map(|((row, figures), cells)| {
                let why = failure::why(figures);
                context! { server => row.server, cells, why }
            })
            .collect::<Vec<_>>()
    };
    let apart = [Verdict::Failed, Verdict::Invalid].map(|verdict| {
        context! { verdict => words(&[verdict]), rows => of(verdict) }
    });
    let without = |row: &Row| {
        let without = row.outcome.as_ref().err()?;
        Some(context! {
            server => row.server,
            reason => format!("{}: {}", words(&[without.status]), without.reason),
        })
    };
    let note = |(row, figures): &(&Row, &Figures)| {
        Some(context! { server => row.server, text => remarks::remark(row, figures)? })
    };
    let goals = goals::of_rows(section).into_iter();
    let goals = goals.map(|(server, _, said)| {
        context! { server, text => format!("{server}: {said}") }
    });
    let stage = |(whose, cells): (String, [String; 8])| context! { whose, cells };
    context! {
        id => id(section),
        title => section.title(),
        question => section.question,
        asked => remarks::asked(section),
        ranked => of(Verdict::Valid),
        apart,
        without => section.rows.iter().filter_map(without).collect::<Vec<_>>(),
        notes => measured.iter().filter_map(note).chain(goals).collect::<Vec<_>>(),
        shard_headings => shards::HEADINGS,
        shards => section.shards().map(|rows| rows.iter().map(shards::cells).collect::<Vec<_>>()).collect::<Vec<_>>(),
        stage_headings => stages::HEADINGS,
        stages => stages::of_section(section).into_iter().map(stage).collect::<Vec<_>>(),
    }
}

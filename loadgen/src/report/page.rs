//! `report.html`: a run as one page that needs no network.
//!
//! The tables are made here. The browser draws the charts, from JSON that is in the page.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hdrhistogram::Histogram;
use minijinja::{AutoEscape, Environment, Value, context};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::figures::{Figures, response_times};
use super::numbers::words;
use super::section::{Row, Section};
use super::sentences::sentences;
use super::style::Style;
use super::summary::Summary;
use super::{bench_table, failure, goals, remarks, stages, text};
use crate::recording::histogram::histogram;
use crate::results::directory::{PointDir, RunDir};
use crate::verdict::cause::Verdict;
use crate::verdict::note::Note;
use crate::workload::line_up::ServerEntry;
use crate::workload::load::Load;
use crate::workload::percentile::Percentile;

const TEMPLATE: &str = include_str!("../../assets/report.html");
const STYLE: &str = include_str!("../../assets/report.css");
const SCRIPT: &str = include_str!("../../assets/report.js");
const CHARTS: &str = include_str!("../../assets/echarts.min.js");

/// Points of a percentile curve for each factor of ten of 1 / (1 - quantile).
const POINTS_PER_DECADE: f64 = 12.0;
/// Ranges of a heat map for each factor of ten of the time.
const RANGES_PER_DECADE: f64 = 10.0;

/// The matrix has a darker shade above each of these.
const SHADES: [f64; 6] = [1.1, 1.5, 2.5, 5.0, 10.0, 100.0];

/// What the charts are drawn from.
#[derive(Serialize)]
struct Data<'a> {
    servers: Vec<Server<'a>>,
    sections: Vec<SectionData<'a>>,
}

#[derive(Serialize)]
struct Server<'a> {
    name: &'a str,
    about: &'a str,
}

#[derive(Serialize)]
struct SectionData<'a> {
    id: String,
    scenario: &'a str,
    title: String,
    connections: usize,
    /// All that are connected at once, neighbours included.
    clients: usize,
    idle: usize,
    /// The measured time; what comes later is the drain.
    duration_s: f64,
    /// Open loop: requests a second that were asked for.
    offered: Option<f64>,
    rows: Vec<RowData<'a>>,
}

#[derive(Serialize)]
struct RowData<'a> {
    server: &'a str,
    figures: Option<FiguresData<'a>>,
    /// 1 / (1 - quantile) and microseconds.
    curve: Vec<(f64, f64)>,
    trials: Vec<Heat>,
}

#[derive(Serialize)]
struct FiguresData<'a> {
    verdict: Verdict,
    /// Clients that were never answered.
    unanswered: usize,
    notes: &'a [Note],
    rate: f64,
    p50: Option<f64>,
    p90: Option<f64>,
    p99: Option<f64>,
    p99_9: Option<f64>,
    max: Option<f64>,
    cpu_us: Option<f64>,
    context_switches: Option<f64>,
    syscalls: Option<f64>,
    memory_mib: Option<f64>,
}

/// A trial's answers by the second and by ranges of the response time.
#[derive(Serialize)]
struct Heat {
    number: usize,
    seconds: Vec<Second>,
}

/// The answers of one second. Range r begins at 10^(r / 10) microseconds.
#[derive(Serialize)]
struct Second {
    /// Seconds from the start of the measured time; one without an answer is left out.
    at: u64,
    first: i32,
    counts: Vec<u64>,
}

/// The page of a run.
///
/// # Errors
/// When an interval log cannot be read.
pub fn render(directory: &RunDir, summary: &Summary) -> anyhow::Result<String> {
    let data = Data {
        servers: summary
            .servers
            .iter()
            .map(|server| Server {
                name: &server.name,
                about: &server.about,
            })
            .collect(),
        sections: summary
            .sections
            .iter()
            .map(|section| section_data(directory, section))
            .collect::<anyhow::Result<_>>()?,
    };
    // In a script element only `<` could end it early.
    let json = serde_json::to_string(&data)?.replace('<', "\\u003c");
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.add_template("report", TEMPLATE)?;
    let hashes = [CHARTS, SCRIPT].map(|script| {
        format!(
            "'sha256-{}'",
            BASE64_STANDARD.encode(Sha256::digest(script))
        )
    });
    let page = environment.get_template("report")?.render(context! {
        started => summary.run.started,
        version => summary.run.loadgen,
        head => text::head(&summary.run),
        sentences => sentences(summary),
        columns => summary.sections.iter().map(|section| context! {
            title => section.title(),
            rank => section.rank.name(),
        }).collect::<Vec<_>>(),
        matrix => matrix(summary),
        // The charts show a point without idle connections at 1.
        none_idle => summary.sections.iter().any(|section| {
            section.scenario == "idle" && section.point.workload.neighbours.idle == 0
        }),
        sections => summary.sections.iter().map(table).collect::<Vec<_>>(),
        servers => &data.servers,
        headings => bench_table::headings(&summary.run.settings.percentiles),
        legend => text::legend(Style::Plain),
        script_hashes => Value::from_safe_string(hashes.join(" ")),
        css => Value::from_safe_string(STYLE.to_owned()),
        js => Value::from_safe_string(SCRIPT.to_owned()),
        echarts => Value::from_safe_string(CHARTS.to_owned()),
        data => Value::from_safe_string(json),
    })?;
    Ok(page)
}

/// A section's name in the page's links.
fn id(section: &Section) -> String {
    format!("{}-{}", section.scenario, section.point.name)
}

fn section_data<'a>(directory: &RunDir, section: &'a Section) -> anyhow::Result<SectionData<'a>> {
    let point = &section.point;
    let rows = section
        .rows
        .iter()
        .map(|row| {
            let place = directory.point(&section.scenario, &row.server, &point.name);
            row_data(&place, row)
        })
        .collect::<anyhow::Result<_>>()?;
    Ok(SectionData {
        id: id(section),
        scenario: &section.scenario,
        title: section.title(),
        connections: point.workload.connections,
        clients: point.clients(),
        idle: point.workload.neighbours.idle,
        duration_s: point.workload.duration.as_secs_f64(),
        offered: match point.workload.load {
            Load::Closed => None,
            Load::Open { rate, .. } => Some(rate),
        },
        rows,
    })
}

fn row_data<'a>(place: &PointDir, row: &'a Row) -> anyhow::Result<RowData<'a>> {
    let mut data = RowData {
        server: &row.server,
        figures: row.outcome.as_deref().ok().map(figures_data),
        curve: Vec::new(),
        trials: Vec::new(),
    };
    let Ok(figures) = &row.outcome else {
        return Ok(data);
    };
    let mut all = histogram();
    for (number, trial) in place.trials()? {
        let file = place.log(number);
        // Logs may have been removed, and a trial without an answer has no histogram.
        if trial.response_us.count == 0 || !file.exists() {
            continue;
        }
        let (intervals, times) = response_times(&file, &trial)?;
        if figures.counts(&trial) {
            all.add(times)?;
        }
        let seconds = intervals
            .iter()
            .map(|interval| ranges(interval.start, &interval.histogram))
            .collect();
        data.trials.push(Heat { number, seconds });
    }
    data.curve = curve(&all);
    Ok(data)
}

fn figures_data(figures: &Figures) -> FiguresData<'_> {
    let response = &figures.response_us;
    FiguresData {
        verdict: figures.verdict,
        unanswered: figures.connections_unanswered,
        notes: &figures.notes,
        rate: figures.rate.value,
        p50: response.percentile(Percentile::P50),
        p90: response.percentile(Percentile::P90),
        p99: response.percentile(Percentile::P99),
        p99_9: response.percentile(Percentile::P999),
        max: response.max,
        cpu_us: figures.costs.cpu_us,
        context_switches: figures.costs.context_switches,
        syscalls: figures.costs.syscalls,
        memory_mib: figures.costs.memory_mib,
    }
}

/// The percentile curve as the `HdrHistogram` plotter draws it: x = 1 / (1 - quantile), up to the number of samples.
fn curve(histogram: &Histogram<u64>) -> Vec<(f64, f64)> {
    let rarest = histogram.len() as f64;
    let steps = (rarest.max(1.0).log10() * POINTS_PER_DECADE).ceil() as u32;
    let mut points: Vec<(f64, f64)> = (0..steps)
        .map(|step| 10_f64.powf(f64::from(step) / POINTS_PER_DECADE))
        .chain((rarest > 0.0).then_some(rarest))
        .map(|x| {
            let nanos = histogram.value_at_quantile(1.0 - 1.0 / x);
            (rounded(x), rounded(nanos as f64 / 1e3))
        })
        .collect();
    if let Some(last) = points.last_mut() {
        last.1 = rounded(histogram.max() as f64 / 1e3);
    }
    points
}

/// A chart shows fewer than four digits.
fn rounded(value: f64) -> f64 {
    format!("{value:.3e}").parse().unwrap_or(value)
}

fn ranges(start: Duration, histogram: &Histogram<u64>) -> Second {
    let range = |nanos: u64| {
        let us = nanos.max(1000) as f64 / 1e3;
        (us.log10() * RANGES_PER_DECADE).floor() as i32
    };
    let (first, last) = (range(histogram.min()), range(histogram.max()));
    let mut counts = vec![0; (last - first + 1) as usize];
    for value in histogram.iter_recorded() {
        counts[(range(value.value_iterated_to()).clamp(first, last) - first) as usize] +=
            value.count_since_last_iteration();
    }
    Second {
        at: start.as_secs_f64().round() as u64,
        first,
        counts,
    }
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
        stage_headings => stages::HEADINGS,
        stages => stages::of_section(section).into_iter().map(stage).collect::<Vec<_>>(),
    }
}

/// How many times worse than the best each server is, at each point.
fn matrix(summary: &Summary) -> Vec<Value> {
    let cell = |section: &Section, server: &str| match section.times_worse(server) {
        None => context! { class => "", text => "\u{2013}" },
        Some(ratio) => {
            let darker = SHADES.iter().take_while(|&&limit| ratio > limit).count();
            let text = match ratio {
                ratio if ratio < 1.2 => format!("{ratio:.2}"),
                ratio if ratio < 10.0 => format!("{ratio:.1}"),
                ratio => format!("{ratio:.0}"),
            };
            let (best, mark) = match ratio {
                1.0 => (" best", ""),
                _ if section.level_with_best(server) => ("", "~"),
                _ => ("", ""),
            };
            context! { class => format!("r{darker}{best}"), text => format!("{text}{mark}") }
        }
    };
    let row = |server: &ServerEntry| {
        let sections = summary.sections.iter();
        context! {
            server => server.name,
            about => server.about,
            cells => sections.map(|section| cell(section, &server.name)).collect::<Vec<_>>(),
        }
    };
    summary.servers.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_ends_at_the_greatest_sample() {
        let mut samples = histogram();
        for us in 1..=1000_u64 {
            samples.record(us * 1000).expect("it is in range");
        }
        let points = curve(&samples);
        assert_eq!(points.first(), Some(&(1.0, 1.0)), "the least at 0 %");
        assert_eq!(
            points.last(),
            Some(&(1000.0, 1000.0)),
            "the greatest at 99.9 %"
        );
        let middle = points
            .iter()
            .find(|(x, _)| *x >= 10.0)
            .expect("there is 90 %");
        assert!((899.0..=911.0).contains(&middle.1), "{middle:?}");
        assert!(points.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1));
        assert_eq!(curve(&histogram()), []);
    }

    #[test]
    fn a_second_of_a_heat_map_holds_all_of_its_answers() {
        let mut samples = histogram();
        for nanos in [300, 1_000, 1_500, 99_000, 1_000_000, 1_000_000] {
            samples.record(nanos).expect("it is in range");
        }
        let Second { at, first, counts } = ranges(Duration::from_secs(3), &samples);
        assert_eq!(at, 3);
        assert_eq!(first, 0, "what is below 1 us is in the first range");
        assert_eq!(counts.iter().sum::<u64>(), 6);
        assert_eq!(counts[0], 2);
        assert_eq!(counts.last(), Some(&2));
    }
}

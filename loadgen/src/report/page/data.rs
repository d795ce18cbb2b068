//! What the page's charts are drawn from: the JSON in it.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::recording::histogram::histogram;
use crate::report::figures::{Figures, response_times};
use crate::report::section::{Row, Section};
use crate::report::spread::Spread;
use crate::report::summary::Summary;
use crate::results::directory::{PointDir, RunDir};
use crate::verdict::cause::Verdict;
use crate::verdict::note;
use crate::workload::line_up::Family;
use crate::workload::load::Load;
use crate::workload::percentile::Percentile;
use crate::workload::scenario::Rank;

/// Points of a percentile curve for each factor of ten of 1 / (1 - quantile).
const POINTS_PER_DECADE: f64 = 5.0;
/// Ranges of a heat map for each factor of ten of the time.
const RANGES_PER_DECADE: f64 = 10.0;
/// A shorter trial has no latency over time to show.
const LEAST_HEAT: Duration = Duration::from_secs(5);

/// What the charts are drawn from.
#[derive(Serialize)]
pub struct Data<'a> {
    servers: Vec<Server<'a>>,
    sections: Vec<SectionData<'a>>,
}

#[derive(Serialize)]
struct Server<'a> {
    name: &'a str,
    about: &'a str,
    family: Family,
}

#[derive(Serialize)]
struct SectionData<'a> {
    id: String,
    scenario: &'a str,
    title: String,
    question: &'a str,
    /// The figure that ranks: `requests/s`, or a percentile.
    rank: &'static str,
    /// The goal of its scenario in words, and its limit in microseconds.
    goal: Option<(String, f64)>,
    /// The ranked rows, best first.
    ranked: Vec<&'a str>,
    /// For each ranked row and each row behind it: the interval of the second figure divided by the first, and
    /// whether the trials show a difference.
    ratios: Vec<Vec<(f64, f64, bool)>>,
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
    figures: Option<FiguresData>,
    /// Why there are none.
    reason: Option<&'a str>,
    /// 1 / (1 - quantile) and microseconds.
    curve: Vec<(f64, f64)>,
    trials: Vec<Heat>,
}

#[derive(Serialize)]
struct FiguresData {
    verdict: Verdict,
    /// Clients that were never answered.
    unanswered: usize,
    /// The figure is a lower bound.
    bound: bool,
    /// The generator read many answers late.
    late: bool,
    /// The offered rate was not reached.
    missed: bool,
    /// The figure that ranks, and its interval.
    value: Option<f64>,
    interval: Option<(f64, f64)>,
    rate: f64,
    /// Of the percentiles that have one: their confidence interval, or else the range of the trials.
    intervals: Intervals,
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

#[derive(Serialize)]
struct Intervals {
    p50: Option<(f64, f64)>,
    p99: Option<(f64, f64)>,
    p99_9: Option<(f64, f64)>,
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

impl<'a> Data<'a> {
    /// Of a run.
    ///
    /// # Errors
    /// When an interval log cannot be read.
    pub fn read(directory: &RunDir, summary: &'a Summary) -> anyhow::Result<Self> {
        let servers = summary.servers.iter();
        let servers = servers.map(|server| Server {
            name: &server.name,
            about: &server.about,
            family: server.family,
        });
        let sections = summary.sections.iter();
        let sections = sections.map(|section| section_data(directory, section));
        Ok(Self {
            servers: servers.collect(),
            sections: sections.collect::<anyhow::Result<_>>()?,
        })
    }
}

/// A section's name in the page's links.
pub fn id(section: &Section) -> String {
    format!("{}-{}", section.scenario, section.point.name)
}

fn section_data<'a>(directory: &RunDir, section: &'a Section) -> anyhow::Result<SectionData<'a>> {
    let point = &section.point;
    let ranked = section.ranked();
    let rows = section
        .rows
        .iter()
        .map(|row| {
            let place = directory.point(&section.scenario, &row.server, &point.name);
            row_data(&place, row, section)
        })
        .collect::<anyhow::Result<_>>()?;
    Ok(SectionData {
        id: id(section),
        scenario: &section.scenario,
        title: section.title(),
        question: &section.question,
        rank: section.rank.name(),
        goal: section.goal.map(|goal| {
            let limit_us = goal.limit.as_secs_f64() * 1e6;
            (goal.to_string(), limit_us)
        }),
        ranked: ranked.iter().map(|(name, _)| *name).collect(),
        ratios: ratios(section, &ranked),
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

fn ratios(section: &Section, ranked: &[(&str, &Figures)]) -> Vec<Vec<(f64, f64, bool)>> {
    let of = |at: usize| {
        let (_, better) = ranked[at];
        let behind = ranked[at + 1..].iter();
        behind
            .map(|(_, worse)| {
                // A figure that is zero in some trial has no logarithm, and so no interval of its ratio.
                let (low, high) = section.ratio(worse, better).unwrap_or((0.0, f64::MAX));
                (rounded(low), rounded(high), section.differ(better, worse))
            })
            .collect()
    };
    (0..ranked.len()).map(of).collect()
}

fn row_data<'a>(place: &PointDir, row: &'a Row, section: &Section) -> anyhow::Result<RowData<'a>> {
    let figures = row.outcome.as_deref().ok();
    let mut data = RowData {
        server: &row.server,
        figures: figures.map(|figures| figures_data(figures, section.rank)),
        reason: row
            .outcome
            .as_ref()
            .err()
            .map(|without| without.reason.as_str()),
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
        let mut seconds = Vec::new();
        let times = response_times(&file, &trial, &mut |interval| {
            seconds.push(ranges(interval.start, &interval.histogram));
        })?;
        if figures.counts(&trial) {
            all.add(times)?;
        }
        if section.point.workload.duration < LEAST_HEAT {
            continue;
        }
        data.trials.push(Heat { number, seconds });
    }
    data.curve = curve(&all);
    Ok(data)
}

fn figures_data(figures: &Figures, rank: Rank) -> FiguresData {
    let response = &figures.response_us;
    let ranked_by = figures.ranked_by(rank);
    FiguresData {
        verdict: figures.verdict,
        unanswered: figures.connections_unanswered,
        bound: figures.generator_bound(),
        late: note::read_late(&figures.notes),
        missed: !note::kept_up(&figures.notes),
        value: ranked_by.map(|spread| spread.value),
        interval: interval(ranked_by.as_ref()),
        rate: figures.rate.value,
        intervals: Intervals {
            p50: interval(figures.p50_us.as_ref()),
            p99: interval(figures.p99_us.as_ref()),
            p99_9: interval(figures.p99_9_us.as_ref()),
        },
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

fn interval(spread: Option<&Spread>) -> Option<(f64, f64)> {
    let (low, high) = spread.and_then(|spread| spread.interval.or(spread.range))?;
    Some((rounded(low), rounded(high)))
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

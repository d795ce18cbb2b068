//! `summary.csv`: all figures.

use super::numbers::words;
use super::section::{Row, Section};
use super::spread::Spread;
use super::summary::Summary;
use crate::workload::load::Load;
use crate::workload::percentile::Percentile;

/// `summary.csv`: one line of names, then a line for each server at each point; no units in cells.
pub fn render(summary: &Summary) -> anyhow::Result<String> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    csv.write_record(CSV_COLUMNS)?;
    for section in &summary.sections {
        for row in &section.rows {
            csv.write_record(csv_record(section, row))?;
        }
    }
    Ok(String::from_utf8(csv.into_inner()?)?)
}

/// The columns of `summary.csv`. Those that the tables have, too, have the same names: `CPU us /request` is
/// `cpu_us_per_request`.
const CSV_COLUMNS: [&str; 60] = [
    "scenario",
    "point",
    "server",
    "status",
    "reason",
    "mode",
    "load",
    "offered_rate",
    "connections",
    "pipeline",
    "size",
    "idle",
    "slow_readers",
    "half_senders",
    "floods",
    "churn",
    "verdict",
    "causes",
    "notes",
    "trials",
    "trials_left_out",
    "trials_failed",
    "requests_per_s",
    "requests_per_s_least",
    "requests_per_s_most",
    "requests_per_s_low",
    "requests_per_s_high",
    "response_count",
    "min_us",
    "mean_us",
    "p50_us",
    "p75_us",
    "p90_us",
    "p95_us",
    "p99_us",
    "p99_9_us",
    "p99_99_us",
    "max_us",
    "p50_least_us",
    "p50_most_us",
    "p50_low_us",
    "p50_high_us",
    "p99_least_us",
    "p99_most_us",
    "p99_low_us",
    "p99_high_us",
    "p99_9_least_us",
    "p99_9_most_us",
    "p99_9_low_us",
    "p99_9_high_us",
    "cpu_us_per_request",
    "switches_per_request",
    "syscalls_per_request",
    "memory_mib",
    "threads",
    "processes",
    "clients_answered",
    "clients_unanswered",
    "requests_failed",
    "wrong_answers",
];

fn csv_record(section: &Section, row: &Row) -> Vec<String> {
    let point = &section.point;
    let text = |value: serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let number = |value: Option<f64>| value.map_or_else(String::new, |value| value.to_string());
    let (load, offered) = match point.workload.load {
        Load::Closed => ("closed", None),
        Load::Open { rate, .. } => ("open", Some(rate)),
    };
    let (status, reason) = match &row.outcome {
        Ok(_) => ("measured".to_owned(), String::new()),
        Err(without) => (
            // Readers of CSV mistake "n/a" for a missing value.
            words(&[without.status]).replace("n/a", "not-applicable"),
            without.reason.clone(),
        ),
    };
    let neighbours = point.workload.neighbours;
    let mut record = vec![
        section.scenario.clone(),
        point.name.clone(),
        row.server.clone(),
        status,
        reason,
        text(serde_json::to_value(point.workload.mode).unwrap_or_default()),
        load.to_owned(),
        number(offered),
        point.workload.connections.to_string(),
        point.workload.pipeline.to_string(),
        point.workload.size.to_string(),
        neighbours.idle.to_string(),
        neighbours.slow_readers.to_string(),
        neighbours.half_senders.to_string(),
        neighbours.floods.to_string(),
        neighbours.churn.to_string(),
    ];
    if let Ok(figures) = &row.outcome {
        let notes: Vec<String> = figures.notes.iter().map(ToString::to_string).collect();
        let times = &figures.response_us;
        let spread = |spread: Option<Spread>| {
            let interval = spread.and_then(|spread| spread.interval);
            let range = spread.and_then(|spread| spread.range);
            [
                range.map(|(least, _)| least),
                range.map(|(_, most)| most),
                interval.map(|(low, _)| low),
                interval.map(|(_, high)| high),
            ]
            .map(number)
        };
        record.extend([
            words(&[figures.verdict]),
            words(&figures.causes),
            notes.join("; "),
            figures.trials.to_string(),
            figures.left_out.to_string(),
            figures.trials_failed.to_string(),
            figures.rate.value.to_string(),
        ]);
        record.extend(spread(Some(figures.rate)));
        record.push(times.count.to_string());
        record.extend([times.min, times.mean].map(number));
        record.extend(Percentile::ALL.map(|percentile| number(times.percentile(percentile))));
        record.push(number(times.max));
        record.extend(spread(figures.p50_us));
        record.extend(spread(figures.p99_us));
        record.extend(spread(figures.p99_9_us));
        let costs = figures.costs;
        record.extend(
            [
                costs.cpu_us,
                costs.context_switches,
                costs.syscalls,
                costs.memory_mib,
                costs.threads,
                costs.processes,
            ]
            .map(number),
        );
        record.extend([
            figures.connections_answered.to_string(),
            figures.connections_unanswered.to_string(),
            figures.failed.to_string(),
            figures.wrong_answers.to_string(),
        ]);
    } else {
        // Zeros, since many readers turn a column of integers with missing values into floats.
        record.extend(["", "", "", "0", "0", "0"].map(str::to_owned));
    }
    record.resize(CSV_COLUMNS.len(), String::new());
    record
}

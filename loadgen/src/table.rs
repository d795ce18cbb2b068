//! Tables for people: one trial, and the rows of a bench.

use std::fmt::Write;

use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{CellAlignment, Table};

use crate::trial::{LoadKind, Quantiles, Trial, Verdict};

/// A count with separators: `1,234,567`.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut grouped = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A figure with about three significant digits, as many as are measured: `0.52`, `9.81`, `82.4`, `6,604`.
pub fn figure(x: f64) -> String {
    // The limits are those at which rounding would add a digit.
    if x < 9.995 {
        format!("{x:.2}")
    } else if x < 99.95 {
        format!("{x:.1}")
    } else {
        count(x.round() as u64)
    }
}

/// A share in percent, such as `12.3 %`.
pub fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

fn optional(x: Option<f64>) -> String {
    x.map_or_else(|| "n/a".to_owned(), figure)
}

/// One trial: its times, its account of requests, and what each side spent.
pub fn for_trial(trial: &Trial) -> String {
    let mut text = String::new();
    let line = |text: &mut String, label: &str, content: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{label:<12} {content}");
    };

    let verdict = match trial.verdict {
        Verdict::Valid => "VALID".to_owned(),
        Verdict::Invalid => format!("INVALID: {}", words(&trial.causes)),
    };
    line(&mut text, "verdict", verdict);
    if !trial.notes.is_empty() {
        line(&mut text, "notes", trial.notes.join("; "));
    }
    // A generator at its limit only shows what the server does at least.
    let at_least = if trial.notes.iter().any(|note| note == GENERATOR_BOUND) {
        ">= "
    } else {
        ""
    };
    let rate = format!("{at_least}{} requests/s", figure(trial.rate));
    let load = match (trial.load, trial.offered_rate) {
        (LoadKind::Open, Some(offered)) => {
            format!("{rate} of {} offered, open loop", figure(offered))
        }
        (LoadKind::Open, None) => format!("{rate}, open loop"),
        (LoadKind::Closed, _) => format!("{rate}, closed loop"),
    };
    line(
        &mut text,
        "rate",
        format!("{load}, {} connections", count(trial.connections as u64)),
    );

    let mut table = Table::new();
    table.force_no_tty().load_style(UTF8_HORIZONTAL_ONLY);
    table.set_header([
        "us", "min", "p50", "p75", "p90", "p99", "p99.9", "p99.99", "max", "mean", "count",
    ]);
    let times: [(&str, &Quantiles); 5] = [
        ("response", &trial.response_us),
        ("service", &trial.service_us),
        ("lateness", &trial.lateness_us),
        ("wait", &trial.wait_us),
        ("connect", &trial.connect_us),
    ];
    for (name, times) in times.into_iter().filter(|(_, times)| times.count > 0) {
        let cells = [
            times.min,
            times.p50,
            times.p75,
            times.p90,
            times.p99,
            times.p99_9,
            times.p99_99,
            times.max,
            times.mean,
        ];
        let cells = cells.into_iter().map(optional);
        table.add_row(
            std::iter::once(name.to_owned())
                .chain(cells)
                .chain([count(times.count)]),
        );
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let _ = writeln!(text, "{table}");

    line(
        &mut text,
        "requests",
        format!(
            "{} scheduled = {} answered + {} failed + {} in flight + {} never sent",
            count(trial.scheduled),
            count(trial.answered),
            count(trial.failed),
            count(trial.in_flight),
            count(trial.never_sent)
        ),
    );
    if trial.mismatches > 0 {
        line(
            &mut text,
            "wrong",
            format!("{} answers had wrong bytes", count(trial.mismatches)),
        );
    }
    if !trial.errors.is_empty() {
        let errors: Vec<String> = trial
            .errors
            .iter()
            .map(|(kind, n)| format!("{} {kind}", count(*n)))
            .collect();
        line(&mut text, "errors", errors.join(", "));
    }
    line(
        &mut text,
        "fairness",
        format!(
            "{} of {} connections answered, {} to {} times each",
            count(trial.connections_answered as u64),
            count(trial.connections as u64),
            count(trial.answers_per_connection.min),
            count(trial.answers_per_connection.max)
        ),
    );
    if let Some(server) = &trial.server {
        let whole = |n: Option<u64>| n.map_or_else(|| "n/a".to_owned(), count);
        line(
            &mut text,
            "server",
            format!(
                "{} us CPU, {} context switches, {} system calls a request; {} MiB, {} threads, {} processes",
                optional(server.cpu_us_per_request),
                optional(server.context_switches_per_request),
                optional(server.syscalls_per_request),
                optional(server.pss_kib.map(|kib| kib as f64 / 1024.0)),
                whole(server.threads),
                whole(server.processes)
            ),
        );
    }
    line(
        &mut text,
        "generator",
        format!(
            "{} us CPU a request, {} of {} threads",
            optional(trial.generator.cpu_us_per_request),
            percent(trial.generator.cpu_share),
            trial.generator.threads
        ),
    );
    line(
        &mut text,
        "machine",
        format!(
            "{} busy, of which foreign {}; stolen {}",
            percent(trial.machine.cpu_share),
            percent(trial.machine.foreign_share),
            percent(trial.machine.steal_share)
        ),
    );
    text
}

/// The note of a closed loop whose generator was at its limit while the server was not.
pub const GENERATOR_BOUND: &str = "generator-bound";

/// The causes as they are written in JSON.
pub fn words<T: serde::Serialize>(causes: &[T]) -> String {
    let word = |cause: &T| {
        serde_json::to_value(cause)
            .ok()?
            .as_str()
            .map(str::to_owned)
    };
    causes
        .iter()
        .filter_map(word)
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits() {
        let shown: Vec<String> = [0.0, 0.5, 9.994, 9.995, 99.94, 99.95, 999.6, 6604.4, 1e6]
            .map(figure)
            .into();
        assert_eq!(
            shown,
            [
                "0.00",
                "0.50",
                "9.99",
                "10.0",
                "99.9",
                "100",
                "1,000",
                "6,604",
                "1,000,000"
            ]
        );
    }

    #[test]
    fn counts_are_grouped_from_the_right() {
        assert_eq!(
            [0, 12, 123, 1234, 123_456, 1_234_567].map(count),
            ["0", "12", "123", "1,234", "123,456", "1,234,567"]
        );
    }
}

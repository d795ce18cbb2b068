//! One trial for people: its times, its account of requests, and what each side spent.

use std::collections::BTreeMap;
use std::fmt::Write;

use comfy_table::{CellAlignment, Table};

use super::numbers::{count, counted, figure, no_room, optional, percent, percentile_cell, time};
use super::style::Style;
use super::{failure, stages};
use crate::recording::histogram::Quantiles;
use crate::results::trial::{GoalResult, LoadKind, Trial};
use crate::verdict::note;
use crate::workload::percentile::Percentile;

/// One trial: its times, its account of requests, and what each side spent.
pub fn render(trial: &Trial, percentiles: &[Percentile], style: Style) -> String {
    let mut text = String::new();
    let line = |text: &mut String, label: &str, content: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{label:<12} {content}");
    };

    line(&mut text, "verdict", failure::of_trial(trial));
    if let Some(meanings) = failure::meanings(&trial.causes) {
        line(&mut text, "not measured", meanings);
    }
    if let Some(starvation) = failure::starvation(trial.connections_unanswered, trial.connections) {
        line(&mut text, "starved", starvation);
    }
    if !trial.notes.is_empty() {
        let notes: Vec<String> = trial.notes.iter().map(ToString::to_string).collect();
        line(&mut text, "notes", notes.join("; "));
    }
    // With the generator at its limit, the rate is a lower bound.
    let at_least = if note::generator_bound(&trial.notes) {
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
        (LoadKind::Closed, _) => match &trial.think {
            Some(think) => format!("{rate}, closed loop, think time {think}"),
            None => format!("{rate}, closed loop"),
        },
    };
    line(
        &mut text,
        "rate",
        format!("{load}, {} connections", count(trial.connections as u64)),
    );

    let percentiles = percentiles.iter().copied().map(Time::Percentile);
    let columns: Vec<Time> = std::iter::once(Time::Min)
        .chain(percentiles)
        .chain([Time::Max, Time::Mean])
        .collect();
    let dispensable: Vec<u8> = columns.iter().map(|column| column.dispensable()).collect();
    let (table, left_out) = style.fit(&dispensable, |style, kept| {
        let columns: Vec<Time> = kept.iter().map(|&at| columns[at]).collect();
        times(trial, &columns, style)
    });
    let _ = writeln!(text, "{table}");
    let left_out = left_out.into_iter().map(|at| columns[at].heading());
    text.push_str(&no_room(left_out, "--json has all"));
    if !trial.stages.is_empty() {
        text.push_str(&stages::of_trial(trial, style));
    }

    for goal in &trial.goals {
        line(&mut text, "goal", said(goal));
    }
    line(
        &mut text,
        "requests",
        format!(
            "{} scheduled = {} answered + {} failed{} + {} in flight + {} never sent",
            count(trial.scheduled),
            count(trial.answered),
            count(trial.failed),
            match trial.timed_out {
                0 => String::new(),
                timed_out => format!(" ({} timed out)", count(timed_out)),
            },
            count(trial.in_flight),
            count(trial.never_sent)
        ),
    );
    if !trial.errors.is_empty() {
        line(&mut text, "errors", errors(&trial.errors));
    }
    line(&mut text, "timeouts", timeouts(trial));
    if let Some(life) = life(trial) {
        line(&mut text, "connections", life);
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
        let whole = |n: Option<u64>, one: &str, more: &str| match n {
            None => format!("n/a {more}"),
            Some(1) => format!("1 {one}"),
            Some(n) => format!("{} {more}", count(n)),
        };
        line(
            &mut text,
            "server",
            format!(
                "{} us CPU, {} context switches, {} system calls a request; {} MiB, {}, {}",
                optional(server.cpu_us_per_request),
                optional(server.context_switches_per_request),
                optional(server.syscalls_per_request),
                optional(server.pss_kib.map(|kib| kib as f64 / 1024.0)),
                whole(server.threads, "thread", "threads"),
                whole(server.processes, "process", "processes")
            ),
        );
    }
    line(
        &mut text,
        "generator",
        format!(
            "{} us CPU a request, {} of {}",
            optional(trial.generator.cpu_us_per_request),
            percent(trial.generator.cpu_share),
            counted(trial.generator.threads as u64, "thread")
        ),
    );
    let machine = trial.machine;
    let shares = [
        machine.cpu_share,
        machine.foreign_share,
        machine.steal_share,
    ];
    let [busy, foreign, stolen] = shares.map(percent);
    let unknown = shares.iter().all(Option::is_none);
    line(
        &mut text,
        "machine",
        if unknown {
            "n/a".to_owned()
        } else {
            format!(
                "{busy} busy, of which {foreign} by other programs; {stolen} stolen by the hypervisor"
            )
        },
    );
    text
}

/// How long clients waited: `request 1s, connection 500ms`.
fn timeouts(trial: &Trial) -> String {
    let said =
        |what: &str, limit: Option<f64>| limit.map(|limit| format!("{what} {}", time(limit)));
    let request = said("request", trial.timeout_s);
    let connection = said("connection", trial.connect_timeout_s);
    let all: Vec<String> = request.into_iter().chain(connection).collect();
    match all.as_slice() {
        [] => "none".to_owned(),
        all => all.join(", "),
    }
}

/// When connections were replaced: `replaced after 10 requests or 1m; 31 opened`; `None`: never.
fn life(trial: &Trial) -> Option<String> {
    let requests = trial.requests_per_connection;
    let requests = requests.map(|requests| counted(requests, "request"));
    let age = trial.connection_age_s.map(time);
    let limits: Vec<String> = requests.into_iter().chain(age).collect();
    (!limits.is_empty()).then(|| {
        let opened = count(trial.connect_us.count);
        format!("replaced after {}; {opened} opened", limits.join(" or "))
    })
}

/// A column of a trial's times.
#[derive(Clone, Copy)]
enum Time {
    Min,
    Percentile(Percentile),
    Max,
    Mean,
}

impl Time {
    fn heading(self) -> &'static str {
        match self {
            Self::Min => "min",
            Self::Percentile(percentile) => percentile.name(),
            Self::Max => "max",
            Self::Mean => "mean",
        }
    }

    /// The column with the highest number is left out of a narrow table first; 0: never.
    fn dispensable(self) -> u8 {
        match self {
            Self::Percentile(Percentile::P75 | Percentile::P95) => 5,
            Self::Percentile(Percentile::P9999) => 4,
            Self::Mean => 3,
            Self::Percentile(Percentile::P90) => 2,
            Self::Min => 1,
            Self::Percentile(Percentile::P50 | Percentile::P99 | Percentile::P999) | Self::Max => 0,
        }
    }

    fn cell(self, times: &Quantiles) -> String {
        match self {
            Self::Min => optional(times.min),
            Self::Percentile(percentile) => percentile_cell(times, percentile),
            Self::Max => optional(times.max),
            Self::Mean => optional(times.mean),
        }
    }
}

/// The time that cannot be measured everywhere: then the table says so.
const READ_DELAY: &str = "read delay";

/// The times of a trial, without those that were not measured.
fn times(trial: &Trial, columns: &[Time], style: Style) -> Table {
    let mut table = style.table();
    let headings = columns.iter().map(|column| column.heading());
    table.set_header(std::iter::once("us").chain(headings).chain(["count"]));
    let times: [(&str, &Quantiles); 7] = [
        ("response", &trial.response_us),
        ("service", &trial.service_us),
        ("lateness", &trial.lateness_us),
        ("wait", &trial.wait_us),
        (READ_DELAY, &trial.read_delay_us),
        ("connect", &trial.connect_us),
        ("tls", &trial.tls_us),
    ];
    let measured = |(name, times): &(&str, &Quantiles)| times.count > 0 || *name == READ_DELAY;
    for (name, times) in times.into_iter().filter(measured) {
        let cells = columns.iter().map(|column| column.cell(times));
        table.add_row(
            std::iter::once(name.to_owned())
                .chain(cells)
                .chain([count(times.count)]),
        );
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// `p99<5ms met: 1,234 us`.
pub fn said(goal: &GoalResult) -> String {
    let value = match (goal.value_us, goal.failed_share) {
        (Some(us), _) => format!(": {} us", figure(us)),
        (None, Some(share)) => format!(": {}", percent(Some(share))),
        (None, None) => String::new(),
    };
    match goal.met {
        Some(true) => format!("{} met{value}", goal.goal),
        Some(false) => format!("{} missed{value}", goal.goal),
        None => format!("{} cannot be judged: too few requests", goal.goal),
    }
}

/// The errors of a trial: `3 reset, 1 closed-early`.
pub fn errors(errors: &BTreeMap<String, u64>) -> String {
    let errors = errors.iter();
    let errors = errors.map(|(kind, number)| format!("{} {kind}", count(*number)));
    errors.collect::<Vec<_>>().join(", ")
}

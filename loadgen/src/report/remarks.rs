//! The remarks beside a table: its load, and what the figures do not show.

use std::fmt::Write;
use std::time::Duration;

use super::failure;
use super::figures::Figures;
use super::numbers::{count, counted, figure, words};
use super::section::{Row, Section};
use crate::results::run::NoResult;
use crate::verdict::cause::Verdict;
use crate::verdict::note::Note;
use crate::workload::client::Client;
use crate::workload::course::Course;
use crate::workload::load::{Arrivals, Load, Mode};

/// The load of a section, in words.
pub fn asked(section: &Section) -> String {
    let point = &section.point;
    let asked = &point.workload;
    let load = match (&asked.course, asked.load) {
        (Course::Stages(stages), _) => {
            let stages: Vec<String> = stages.iter().map(ToString::to_string).collect();
            format!("open loop, stages {}", stages.join(","))
        }
        (Course::Recorded(_), _) => "open loop, recorded arrivals".to_owned(),
        (Course::Steady, Load::Closed) if asked.pipeline > 1 => {
            format!("closed loop, {} requests in flight on each", asked.pipeline)
        }
        (Course::Steady, Load::Closed) => "closed loop".to_owned(),
        (Course::Steady, Load::Open { rate, arrivals }) => {
            let arrivals = match arrivals {
                Arrivals::Poisson => "Poisson",
                Arrivals::Constant => "constant",
            };
            format!("open loop, {} requests/s, {arrivals}", figure(rate))
        }
    };
    let mut message = match (asked.mode, asked.http.requests.as_slice()) {
        (Mode::Echo, _) => format!("{}-byte echo", count(asked.size as u64)),
        (Mode::Once, _) => "a connection for each request".to_owned(),
        (Mode::Http, [one]) => format!("HTTP/1.1, {} {}", one.method, one.path),
        (Mode::Http, several) => format!("HTTP/1.1, {} requests", several.len()),
        (Mode::Raw, _) => "raw requests".to_owned(),
    };
    if asked.tls.is_some() {
        message.push_str(" over TLS");
    }
    if asked.mode != Mode::Once && asked.connection_per_request() {
        message.push_str(", a connection for each");
    }
    for said in clients(&asked.client) {
        let _ = write!(message, ", {said}");
    }
    let neighbours = point.workload.neighbours;
    let mut clients = count(point.workload.connections as u64);
    for (number, what) in [
        (neighbours.idle, "idle"),
        (neighbours.slow_readers, "slow readers"),
        (neighbours.half_senders, "half-senders"),
        (neighbours.floods, "floods"),
    ] {
        if number > 0 {
            let _ = write!(clients, " + {} {what}", count(number as u64));
        }
    }
    if neighbours.churn > 0.0 {
        let _ = write!(clients, " + {} new a second", figure(neighbours.churn));
    }
    format!(
        "{load}; {message}; clients: {clients}; ranked by {}",
        section.rank.name()
    )
}

/// How long the clients wait, and how long they use a connection.
fn clients(client: &Client) -> Vec<String> {
    let time = |what: &str, time: Option<Duration>| {
        time.map(|time| format!("{what} {}", humantime::format_duration(time)))
    };
    let requests = client.requests_per_connection;
    [
        time("timeout", client.timeout),
        time("connect timeout", client.connect_timeout),
        requests.map(|requests| format!("{} a connection", counted(requests, "request"))),
        time("connections replaced after", client.connection_age),
        client.think.map(|think| format!("think time {think}")),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Why rows have no figures; rows with the same reason share a line.
pub fn without_figures(section: &Section) -> Vec<String> {
    let mut reasons: Vec<(&NoResult, Vec<&str>)> = Vec::new();
    for row in &section.rows {
        if let Err(without) = &row.outcome {
            match reasons.iter_mut().find(|(reason, _)| *reason == without) {
                Some((_, servers)) => servers.push(&row.server),
                None => reasons.push((without, vec![&row.server])),
            }
        }
    }
    let line = |(without, servers): (&NoResult, Vec<&str>)| {
        format!(
            "{}: {}: {}",
            servers.join(", "),
            words(&[without.status]),
            without.reason
        )
    };
    reasons.into_iter().map(line).collect()
}

/// What else there is to say about a row.
pub fn remark(row: &Row, figures: &Figures) -> Option<String> {
    let mut remarks = Vec::new();
    if figures.verdict != Verdict::Valid {
        remarks.push(failure::of_row(figures));
    }
    // Several trials may have notes of one kind: the first one is shown.
    let mut kinds: Vec<(&Note, usize)> = Vec::new();
    for note in &figures.notes {
        match kinds
            .iter_mut()
            .find(|(other, _)| other.word() == note.word())
        {
            Some((_, more)) => *more += 1,
            // The rate's `>=` and the `~` of the times say it.
            None if *note == (Note::GeneratorBound { server_busy: false })
                || matches!(note, Note::ReadLate(_)) => {}
            None => kinds.push((note, 0)),
        }
    }
    remarks.extend(kinds.into_iter().map(|(note, more)| match more {
        0 => note.to_string(),
        more => format!("{note} (and in {more} more)"),
    }));
    remarks.extend(failure::starvation(
        figures.connections_unanswered,
        figures.connections,
    ));
    if figures.failed > 0 {
        remarks.push(format!("{} failed", counted(figures.failed, "request")));
    }
    if figures.left_out > 0 {
        let left_out = counted(figures.left_out as u64, "INVALID trial");
        remarks.push(format!("{left_out} left out"));
    }
    (!remarks.is_empty()).then(|| format!("{}: {}", row.server, remarks.join("; ")))
}

//! The Trace Event format, which Perfetto and `chrome://tracing` open.
//!
//! Source: "Trace Event Format" by the Chromium project. Complete events (`X`), metadata (`M`), flows (`s`, `f`) and one
//! instant (`i`); times in microseconds.

use serde::Serialize;

use super::span::{Story, Who};

/// The whole file.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct File<'a> {
    trace_events: Vec<Event<'a>>,
    display_time_unit: &'static str,
}

#[derive(Serialize)]
struct Event<'a> {
    ph: &'static str,
    name: &'a str,
    cat: &'static str,
    pid: u32,
    tid: usize,
    ts: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    dur: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<usize>,
    /// A flow ends in the slice around its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    bp: Option<&'static str>,
    /// How far an instant reaches.
    #[serde(skip_serializing_if = "Option::is_none")]
    s: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    args: Option<Args<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Args<'a> {
    Name(&'a str),
    SortIndex(usize),
    What(&'a str),
}

const CLIENTS: u32 = 1;
const SERVER: u32 = 2;

fn process(who: Who) -> u32 {
    if who == Who::Worker { SERVER } else { CLIENTS }
}

fn us(ns: i64) -> f64 {
    ns as f64 / 1e3
}

/// The text of the file.
///
/// # Errors When it cannot be written as JSON. No known story causes that.
pub fn text(story: &Story) -> serde_json::Result<String> {
    let mut events = Vec::new();
    let blank = |ph, name, pid, tid, t| Event {
        ph,
        name,
        cat: "doorbell",
        pid,
        tid,
        ts: us(t),
        dur: None,
        id: None,
        bp: None,
        s: None,
        args: None,
    };
    for (pid, name) in [(CLIENTS, "clients"), (SERVER, &*story.title)] {
        events.push(Event {
            args: Some(Args::Name(name)),
            ..blank("M", "process_name", pid, 0, 0)
        });
    }
    for (index, lane) in story.lanes.iter().enumerate() {
        let (pid, tid) = (process(lane.who), index + 1);
        events.push(Event {
            args: Some(Args::Name(&lane.name)),
            ..blank("M", "thread_name", pid, tid, 0)
        });
        events.push(Event {
            args: Some(Args::SortIndex(index)),
            ..blank("M", "thread_sort_index", pid, tid, 0)
        });
        for span in &lane.spans {
            let name = span
                .labels
                .first()
                .map_or(span.state.meaning(), |label| label);
            events.push(Event {
                dur: Some(us(span.to - span.from)),
                args: Some(Args::What(&span.say)),
                ..blank("X", name, pid, tid, span.from)
            });
        }
    }
    for (id, arrow) in story.arrows.iter().enumerate() {
        let name = arrow.errand.class();
        let end = |ph, (t, lane): (i64, usize), bp| Event {
            id: Some(id + 1),
            bp,
            ..blank(ph, name, process(story.lanes[lane].who), lane + 1, t)
        };
        events.push(end("s", arrow.from, None));
        events.push(end("f", arrow.to, Some("e")));
    }
    if let Some(stop) = story.stop {
        events.push(Event {
            s: Some("g"),
            ..blank("i", "SIGTERM", SERVER, 0, stop)
        });
    }
    serde_json::to_string(&File {
        trace_events: events,
        display_time_unit: "ns",
    })
}

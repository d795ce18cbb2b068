//! A trace: the lines that a server wrote for `--trace-to`.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context, bail};
use serde::Deserialize;

/// A later time is not valid: differences and sums of two must fit in 64 bits. The clock shows it after 73 years.
const LATEST: u64 = 1 << 61;
/// At most this many entries of a list are kept, because a trace of many clients has long lists in every line.
const MOST_ENTRIES: usize = 4;

/// A server's trace, in the order of time.
#[derive(Debug, Default)]
pub struct Trace {
    /// What happened.
    pub events: Vec<Event>,
    /// Lines that are not JSON: cut where the disk was full.
    pub unreadable: usize,
    /// Lines that the server could not write.
    pub dropped: u64,
    /// The server's name in tables.
    pub model: String,
}

/// A line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Nanoseconds of `CLOCK_MONOTONIC`.
    pub t: u64,
    /// The thread or process.
    pub worker: String,
    /// What happened.
    pub kind: Kind,
    /// The client that it happened with.
    pub client: Option<u32>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// The worker begins to wait: in which call and for what.
    Wait { call: String, what: String },
    /// The wait is over: what was found.
    Wake(String),
    /// A client was accepted.
    Accept,
    /// This many bytes were read; 0: the client has closed.
    Read(u64),
    /// This many bytes were written.
    Write(u64),
    /// A call failed, or had nothing to do.
    Failed { what: &'static str, error: String },
    /// CPU work for a request begins.
    Work,
    /// A sleep inside a request begins.
    Block,
    /// The work or the sleep is over.
    Done,
    /// The client has ended: why.
    Close(String),
    /// The client goes to another worker.
    Pass(Option<String>),
    /// A worker was made.
    Spawn(String),
    /// The worker ends: why.
    Exit(String),
    /// The server was asked to stop.
    Stop(String),
    /// This many EAGAIN answers were not written.
    Skipped(u64),
    /// Another thing worth saying, in words.
    Other(String),
}

/// A line as it is written. Unknown keys are ignored.
#[derive(Deserialize)]
struct Line {
    t_ns: u64,
    worker: String,
    event: String,
    call: Option<String>,
    client: Option<u32>,
    bytes: Option<u64>,
    error: Option<String>,
    #[serde(default)]
    r#for: Vec<String>,
    #[serde(default)]
    ready: Vec<String>,
    why: Option<String>,
    to: Option<String>,
    lines: Option<u64>,
    model: Option<String>,
}

impl Trace {
    /// Reads a trace. A line that was cut is counted and left out.
    ///
    /// # Errors
    /// When the file cannot be read, or no line of it is one of a trace.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let file = File::open(path).with_context(|| format!("cannot open {shown}"))?;
        let trace =
            Self::parse(BufReader::new(file)).with_context(|| format!("cannot read {shown}"))?;
        if trace.events.is_empty() {
            bail!("{shown} is no trace: a server writes one with --trace-to FILE");
        }
        Ok(trace)
    }

    fn parse(mut reader: impl BufRead) -> std::io::Result<Self> {
        let mut trace = Self::default();
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line)? > 0 {
            match serde_json::from_slice::<Line>(&line) {
                Ok(line) if line.t_ns <= LATEST => trace.take(line),
                _ => trace.unreadable += 1,
            }
            line.clear();
        }
        // Lines of different workers may be slightly out of order.
        trace.events.sort_by_key(|event| event.t);
        Ok(trace)
    }

    fn take(&mut self, line: Line) {
        if line.event == "start" {
            self.model = line.model.unwrap_or_default();
            self.events.push(Event {
                t: line.t_ns,
                worker: line.worker,
                kind: Kind::Other("starts".to_owned()),
                client: None,
            });
            return;
        }
        if line.event == "dropped" {
            self.dropped = self.dropped.saturating_add(line.lines.unwrap_or(0));
            return;
        }
        let why = line.why.unwrap_or_default();
        let call = line.call.unwrap_or_default();
        let moved = |done: fn(u64) -> Kind, what| match (line.bytes, line.error.clone()) {
            (Some(bytes), _) => done(bytes),
            (None, error) => Kind::Failed {
                what,
                error: error.unwrap_or_default(),
            },
        };
        let kind = match &*line.event {
            "wait" => Kind::Wait {
                call,
                what: shortened(&line.r#for),
            },
            "wake" => Kind::Wake(shortened(&line.ready)),
            "accept" => Kind::Accept,
            "read" => moved(Kind::Read, "read"),
            "write" => moved(Kind::Write, "write"),
            "nobody" => Kind::Failed {
                what: "accept",
                error: line.error.unwrap_or_default(),
            },
            "work" => Kind::Work,
            "block" => Kind::Block,
            "done" => Kind::Done,
            "close" => Kind::Close(why),
            "pass" => Kind::Pass(line.to),
            "spawn" => Kind::Spawn(line.to.unwrap_or_default()),
            "exit" => Kind::Exit(why),
            "stop" => Kind::Stop(why),
            "skipped" => Kind::Skipped(line.lines.unwrap_or(0)),
            "peek" => Kind::Other("looked whether there is something".to_owned()),
            "submit" => Kind::Other(format!("submitted {call}")),
            "reap" => Kind::Other(format!(
                "got a report of the end of {}",
                line.to.unwrap_or_default()
            )),
            "shutdown" => Kind::Other("said that this was the last byte".to_owned()),
            "refuse" => Kind::Other(format!("refused: {why}")),
            "note" => Kind::Other(why),
            // A newer server may have events that are not known here.
            _ => return,
        };
        self.events.push(Event {
            t: line.t_ns,
            worker: line.worker,
            kind,
            client: line.client,
        });
    }
}

/// A list in a line of text: its first entries and how many more there are.
fn shortened(list: &[String]) -> String {
    let (entries, more) = match list.split_last() {
        // The server has shortened it already.
        Some((rest, entries)) if rest.starts_with("and ") => {
            let more = rest.split(' ').nth(1).and_then(|word| word.parse().ok());
            (entries, more.unwrap_or(0))
        }
        _ => (list, 0),
    };
    let shown = &entries[..entries.len().min(MOST_ENTRIES)];
    let more = (entries.len() - shown.len()).saturating_add(more);
    let text = shown.join(", ");
    match more {
        0 => text,
        more => format!("{text} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Trace {
        Trace::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn lines_are_sorted_and_a_cut_or_unknown_one_is_left_out() {
        let trace = parse(
            r#"{"t_ns":1,"worker":"main","event":"start","model":"epoll","mode":"echo","address":"127.0.0.1:1","pid":7}
{"t_ns":9,"worker":"main","event":"read","client":1,"bytes":6,"later":true}
{"t_ns":5,"worker":"worker 1","event":"re
{"t_ns":7,"worker":"main","event":"accept","client":1,"fd":5}
{"t_ns":8,"worker":"main","event":"invented"}
{"t_ns":9,"worker":"main","event":"read","client":1,"error":"EAGAIN"}
{"t_ns":9,"worker":"main","event":"dropped","lines":4}
{"t_ns":10,"wor"#,
        );
        assert_eq!(trace.model, "epoll");
        assert_eq!((trace.unreadable, trace.dropped), (2, 4));
        let kinds: Vec<_> = trace.events.iter().map(|event| &event.kind).collect();
        assert_eq!(kinds[1..3], [&Kind::Accept, &Kind::Read(6)]);
        assert!(
            matches!(kinds[3], Kind::Failed { what: "read", error } if error == "EAGAIN"),
            "{kinds:?}"
        );
        assert_eq!(kinds.len(), 4);
    }

    #[test]
    fn numbers_of_a_trace_may_be_any() {
        let most = u64::MAX;
        let line = |t: u64, rest: &str| format!("{{\"t_ns\":{t},\"worker\":\"main\",{rest}}}\n");
        let lines = [
            line(0, "\"event\":\"accept\",\"client\":0"),
            line(LATEST, "\"event\":\"close\",\"client\":0"),
            line(
                LATEST,
                &format!("\"event\":\"read\",\"bytes\":{most},\"client\":4294967295"),
            ),
            line(LATEST + 1, "\"event\":\"accept\",\"client\":1"),
            line(most, "\"event\":\"accept\",\"client\":1"),
            line(2, &format!("\"event\":\"dropped\",\"lines\":{most}")),
            line(2, "\"event\":\"dropped\",\"lines\":1"),
            line(
                3,
                &format!(
                    "\"event\":\"wake\",\"ready\":[\"a\",\"b\",\"c\",\"d\",\"e\",\"and {most} more\"]"
                ),
            ),
        ];
        let trace = parse(&lines.concat());
        assert_eq!((trace.unreadable, trace.dropped), (2, most));
    }

    #[test]
    fn a_long_list_is_shortened_once_more() {
        let list = |n: u32| (1..=n).map(|n| format!("client {n}")).collect::<Vec<_>>();
        assert_eq!(shortened(&list(2)), "client 1, client 2");
        let mut long = list(100);
        long.push("and 97 more".to_owned());
        assert_eq!(
            shortened(&long),
            "client 1, client 2, client 3, client 4 and 193 more"
        );
        assert_eq!(shortened(&[]), "");
    }
}

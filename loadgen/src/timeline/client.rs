//! A client: what the server saw of it, and where it was watched, what it saw itself.

use super::player::{Moved, Seen};
use super::span::{Arrow, Errand, Lane, Span, State, Who};
use super::trace::Kind;
use super::words::{bytes, duration, whole_ms};

/// What takes less than this, nanoseconds, has no bar of its own.
const SHORT: i64 = 1_000_000;

/// A client while the trace is read.
#[derive(Debug, Default)]
pub struct Client {
    accepted: Option<i64>,
    closed: Option<(i64, String)>,
    read: Vec<Piece>,
    written: Vec<Piece>,
}

/// Bytes that a worker moved.
#[derive(Debug, Clone, Copy)]
struct Piece {
    t: i64,
    worker: usize,
    /// All bytes in this direction, with these.
    total: u64,
}

/// What a client saw, with the times of the picture.
struct Own<'a> {
    seen: &'a Seen,
    zero: u64,
}

impl Own<'_> {
    fn t(&self, t: u64) -> i64 {
        t as i64 - self.zero as i64
    }
}

impl Client {
    /// A worker does something with it.
    pub fn take(&mut self, t: i64, worker: usize, kind: &Kind) {
        let push = |list: &mut Vec<Piece>, bytes| {
            let before = list.last().map_or(0, |piece| piece.total);
            let total = before + bytes;
            list.push(Piece { t, worker, total });
        };
        match kind {
            Kind::Accept => self.accepted = self.accepted.or(Some(t)),
            Kind::Close(why) => self.closed = Some((t, why.clone())),
            Kind::Read(bytes @ 1..) => push(&mut self.read, *bytes),
            Kind::Write(bytes) => push(&mut self.written, *bytes),
            _ => {}
        }
    }

    /// Its lane and its arrows. `lane` is the number of its lane, `places` are those of the workers.
    pub fn tell(
        &self,
        number: u32,
        seen: Option<(&Seen, u64)>,
        end: i64,
        lane: usize,
        places: &[usize],
    ) -> (Lane, Vec<Arrow>) {
        let own = seen.map(|(seen, zero)| Own { seen, zero });
        let arrows = match &own {
            Some(own) => self.watched(number, own, lane, places),
            None => self.unwatched(number, lane, places),
        };
        let mut spans = self.line(number, own.as_ref(), end);
        match &own {
            Some(own) => self.questions(number, own, end, &mut spans),
            None => self.requests(number, end, &mut spans),
        }
        let lane = Lane {
            name: format!("client {number}"),
            who: Who::Client(number),
            spans,
            clients: vec![number],
        };
        (lane, arrows)
    }

    /// The line of its connection.
    fn line(&self, number: u32, own: Option<&Own>, end: i64) -> Vec<Span> {
        let own_end = own.and_then(|own| Some(own.t(own.seen.closed?.0)));
        let server_end = self.closed.as_ref().map(|(t, _)| *t);
        let to = own_end.or(server_end).unwrap_or(end);
        let connected = own.and_then(|own| Some(own.t(own.seen.connected?)));
        let Some(from) = connected.or(self.accepted) else {
            return Vec::new();
        };
        let accepted = self.accepted.map(|t| t.max(from).min(to));
        let mut spans = Vec::new();
        let backlog_end = accepted.unwrap_or(to);
        let waits = backlog_end - from >= SHORT;
        if waits {
            let ms = whole_ms(backlog_end - from);
            spans.push(Span {
                from,
                to: backlog_end,
                state: State::Backlog,
                labels: vec![format!("in the backlog: {ms}"), "in the backlog".to_owned()],
                say: format!(
                    "client {number} is connected, and the server has not accepted it: {}. It waits in the backlog.",
                    duration(backlog_end - from)
                ),
            });
        }
        if let Some(accepted) = accepted {
            let from = if waits { accepted } else { from };
            let asked_nothing = own.is_some_and(|own| own.seen.asked.is_empty());
            let labels = if asked_nothing {
                vec!["silent".to_owned()]
            } else {
                Vec::new()
            };
            let why = match (own.and_then(|own| own.seen.closed), &self.closed) {
                (Some((_, why)), _) => format!(" Then {why}."),
                (None, Some((_, why))) => format!(" Then: {why}."),
                (None, None) => String::new(),
            };
            spans.push(Span {
                from,
                to: to.max(from),
                state: State::Open,
                labels,
                say: format!(
                    "client {number} is connected: {}.{why}",
                    duration(to - from)
                ),
            });
        }
        spans
    }

    /// What it asked and how long it waited, as it saw it.
    fn questions(&self, number: u32, own: &Own, end: i64, spans: &mut Vec<Span>) {
        let end = own.seen.closed.map_or(end, |(t, _)| own.t(t));
        let mut answered_before = 0;
        for (index, asked) in own.seen.asked.iter().enumerate() {
            let next = own.seen.asked.get(index + 1);
            let next = next.map_or(i64::MAX, |next| own.t(next.first));
            let first = own.t(asked.first);
            let last = asked.last.map_or(end, |t| own.t(t));
            let size = bytes(asked.bytes);
            // A message that is sent at once is only asked.
            let last = if last - first < SHORT { first } else { last };
            if last > first {
                spans.push(Span {
                    from: first,
                    to: last,
                    state: State::Sends,
                    labels: vec![format!("sends {size}"), size.clone()],
                    say: format!("client {number} sends {size}: {}.", duration(last - first)),
                });
            }
            answered_before += asked.bytes;
            // The server may have noted its write after the client has read.
            let written = self
                .written
                .iter()
                .find(|piece| piece.total >= answered_before);
            let written = written.map_or(last, |piece| piece.t);
            let answered = asked.answered.map(|t| own.t(t).max(written).min(next));
            let to = answered.unwrap_or(end);
            if to <= last {
                continue;
            }
            let ms = whole_ms(to - last);
            let long = duration(to - last);
            let say = match answered {
                Some(_) => {
                    format!("client {number} has sent {size} and waits for the answer: {long}.")
                }
                None => format!("client {number} has sent {size} and is not answered: {long}."),
            };
            spans.push(Span {
                from: last,
                to,
                state: State::Asks,
                labels: vec![
                    format!("waits for the answer: {ms}"),
                    format!("waits {ms}"),
                    ms,
                ],
                say,
            });
        }
    }

    /// Its requests as the server saw them: read, and answered.
    fn requests(&self, number: u32, end: i64, spans: &mut Vec<Span>) {
        let mut from = 0;
        for read in &self.read {
            if read.t < from {
                continue;
            }
            let answer = self.written.iter().find(|piece| piece.total >= read.total);
            let answer = answer.or_else(|| self.written.iter().find(|piece| piece.t >= read.t));
            let to = answer.map_or_else(
                || self.closed.as_ref().map_or(end, |(t, _)| *t),
                |piece| piece.t,
            );
            if to > read.t {
                spans.push(Span {
                    from: read.t,
                    to,
                    state: State::Asks,
                    labels: vec![whole_ms(to - read.t)],
                    say: format!(
                        "the server has a request of client {number} and answers it: {}.",
                        duration(to - read.t)
                    ),
                });
            }
            from = to;
        }
    }

    /// An arrow for each piece that it sent, and for the answer to it.
    fn watched(&self, number: u32, own: &Own, lane: usize, places: &[usize]) -> Vec<Arrow> {
        let mut arrows = Vec::new();
        let mut before = 0;
        for sent in &own.seen.sent {
            let t = own.t(sent.t);
            if let Some(read) = self.read.iter().find(|piece| piece.total > before) {
                arrows.push(Arrow {
                    errand: Errand::Request,
                    from: (t, lane),
                    to: (read.t.max(t), places[read.worker]),
                    say: format!(
                        "client {number} sends {}; the server begins to read them {} later.",
                        bytes(sent.total - before),
                        duration(read.t - t)
                    ),
                });
            }
            let reaches = |moved: &&Moved| moved.total >= sent.total;
            let written = self.written.iter().find(|piece| piece.total >= sent.total);
            let received = own.seen.received.iter().find(reaches);
            if let (Some(written), Some(received)) = (written, received) {
                let at = own.t(received.t).max(written.t);
                arrows.push(Arrow {
                    errand: Errand::Answer,
                    from: (written.t, places[written.worker]),
                    to: (at, lane),
                    say: format!(
                        "client {number} has the answer to its {}, {} after it sent them.",
                        bytes(sent.total - before),
                        duration(at - t)
                    ),
                });
            }
            before = sent.total;
        }
        arrows
    }

    /// An arrow for each read and each write: more is not known.
    fn unwatched(&self, number: u32, lane: usize, places: &[usize]) -> Vec<Arrow> {
        let arrow = |errand, piece: &Piece, before: u64| {
            let (server, client) = ((piece.t, places[piece.worker]), (piece.t, lane));
            let size = bytes(piece.total - before);
            let (from, to, say) = if errand == Errand::Request {
                (
                    client,
                    server,
                    format!("the server reads {size} from client {number}."),
                )
            } else {
                (
                    server,
                    client,
                    format!("the server writes {size} to client {number}."),
                )
            };
            Arrow {
                errand,
                from,
                to,
                say,
            }
        };
        let all = |errand, list: &[Piece]| {
            let before = std::iter::once(0).chain(list.iter().map(|piece| piece.total));
            let arrows = list.iter().zip(before);
            arrows
                .map(|(piece, before)| arrow(errand, piece, before))
                .collect::<Vec<_>>()
        };
        let mut arrows = all(Errand::Request, &self.read);
        arrows.extend(all(Errand::Answer, &self.written));
        arrows
    }
}

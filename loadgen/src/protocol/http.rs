//! HTTP/1.1 by RFC 9112: the same GET request again and again. httparse parses the head. The status must be 2xx or 3xx and
//! the body as long as the head says.

use super::client::{Outcome, Protocol, Request};
use super::error::ErrorKind;
use crate::workload::load::HttpRequest;

/// A head may be this long, bytes.
const MAX_HEAD: usize = 64 * 1024;
/// A head may have so many fields.
const MAX_FIELDS: usize = 100;
/// A chunk's size line or a trailer may be this long, bytes.
const MAX_LINE: usize = 8 * 1024;

/// One request, repeated.
#[derive(Debug)]
pub struct Http {
    request: Vec<u8>,
    keep_alive: bool,
}

impl Http {
    /// The request that is sent to `host`.
    pub fn new(request: &HttpRequest, host: &str) -> Self {
        let has_host = request.headers.iter().any(|header| {
            header
                .split_once(':')
                .is_some_and(|(name, _)| name.eq_ignore_ascii_case("host"))
        });
        let mut lines = vec![format!("GET {} HTTP/1.1", request.path)];
        if !has_host {
            lines.push(format!("Host: {host}"));
        }
        lines.extend(request.headers.iter().cloned());
        if !request.keep_alive {
            lines.push("Connection: close".to_owned());
        }
        Self {
            request: (lines.join("\r\n") + "\r\n\r\n").into_bytes(),
            keep_alive: request.keep_alive,
        }
    }
}

/// Where in an answer the reader is.
#[derive(Debug, Default)]
enum Place {
    #[default]
    Head,
    /// This many bytes of the body are missing.
    Body(u64),
    ChunkSize,
    Chunk(u64),
    ChunkEnd,
    Trailer,
    /// The body ends when the connection does.
    UntilClose,
}

/// What is known of an answer of which a part has arrived.
#[derive(Debug, Default)]
pub struct Answer {
    place: Place,
    /// A head or a line of which only the beginning has arrived.
    partial: Vec<u8>,
    status: u16,
    closing: bool,
}

enum Step {
    /// So many bytes were read; the answer goes on.
    Took(usize),
    /// So many bytes were read; the last one ends the answer.
    Finished(usize),
    Failed,
}

impl Answer {
    fn outcome(&self) -> Outcome {
        let right = (200..400).contains(&self.status);
        Outcome::Answered {
            wrong: (!right).then_some(ErrorKind::Status(self.status)),
            last: self.closing,
        }
    }

    fn step(&mut self, data: &[u8]) -> Step {
        match self.place {
            Place::Head => self.head(data),
            Place::Body(left) => {
                let (taken, left) = take(left, data);
                if left == 0 {
                    return Step::Finished(taken);
                }
                self.place = Place::Body(left);
                Step::Took(taken)
            }
            Place::ChunkSize => self.line(data, Self::chunk_size),
            Place::Chunk(left) => {
                let (taken, left) = take(left, data);
                self.place = if left == 0 {
                    Place::ChunkEnd
                } else {
                    Place::Chunk(left)
                };
                Step::Took(taken)
            }
            Place::ChunkEnd => self.line(data, |answer, line| {
                answer.place = Place::ChunkSize;
                line == b"\r\n"
            }),
            Place::Trailer => self.line(data, |answer, line| {
                if line == b"\r\n" {
                    answer.place = Place::Body(0);
                }
                true
            }),
            Place::UntilClose => Step::Took(data.len()),
        }
    }

    fn head(&mut self, data: &[u8]) -> Step {
        // The common case: the whole head in one piece.
        if self.partial.is_empty() {
            return match self.parse_head(data) {
                Ok(Some(length)) => self.after_head(length),
                Ok(None) => {
                    self.partial.extend_from_slice(data);
                    Step::Took(data.len())
                }
                Err(()) => Step::Failed,
            };
        }
        let before = self.partial.len();
        self.partial.extend_from_slice(data);
        let partial = std::mem::take(&mut self.partial);
        match self.parse_head(&partial) {
            Ok(Some(length)) => self.after_head(length - before),
            Ok(None) => {
                self.partial = partial;
                Step::Took(data.len())
            }
            Err(()) => Step::Failed,
        }
    }

    fn after_head(&self, taken: usize) -> Step {
        if matches!(self.place, Place::Body(0)) {
            Step::Finished(taken)
        } else {
            Step::Took(taken)
        }
    }

    /// The length of a whole head; sets what follows it.
    fn parse_head(&mut self, data: &[u8]) -> Result<Option<usize>, ()> {
        let data = &data[..data.len().min(MAX_HEAD)];
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut head = httparse::Response::new(&mut fields);
        let length = match head.parse(data) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) if data.len() == MAX_HEAD => return Err(()),
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err(()),
        };
        self.status = head.code.ok_or(())?;
        if (100..200).contains(&self.status) {
            // An interim answer: the real one follows.
            self.place = Place::Head;
            return Ok(Some(length));
        }
        self.closing = head.version == Some(0);
        let mut content_length = None;
        let mut chunked = false;
        for field in head.headers.iter() {
            if field.name.eq_ignore_ascii_case("content-length") {
                let value = std::str::from_utf8(field.value).map_err(|_| ())?.trim();
                if value.is_empty() || !value.bytes().all(|b| b.is_ascii_digit()) {
                    return Err(());
                }
                let value: u64 = value.parse().map_err(|_| ())?;
                if content_length.is_some_and(|earlier| earlier != value) {
                    return Err(());
                }
                content_length = Some(value);
            } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
                chunked = has_token(field.value, "chunked");
            } else if field.name.eq_ignore_ascii_case("connection") {
                if has_token(field.value, "close") {
                    self.closing = true;
                } else if has_token(field.value, "keep-alive") {
                    self.closing = false;
                }
            }
        }
        self.place = match (self.status, chunked, content_length) {
            (204 | 304, ..) => Place::Body(0),
            (_, true, _) => Place::ChunkSize,
            (_, false, Some(length)) => Place::Body(length),
            (_, false, None) => Place::UntilClose,
        };
        Ok(Some(length))
    }

    /// Collects a line and passes it with its line end to `then`, which returns whether it is well formed.
    fn line(&mut self, data: &[u8], then: impl Fn(&mut Self, &[u8]) -> bool) -> Step {
        let taken = match data.iter().position(|&b| b == b'\n') {
            Some(end) => end + 1,
            None => data.len(),
        };
        self.partial.extend_from_slice(&data[..taken]);
        if self.partial.len() > MAX_LINE {
            return Step::Failed;
        }
        if self.partial.last() != Some(&b'\n') {
            return Step::Took(taken);
        }
        let mut line = std::mem::take(&mut self.partial);
        let right = then(self, &line);
        // The buffer is kept, so that the next line need not allocate one.
        line.clear();
        self.partial = line;
        match self.place {
            _ if !right => Step::Failed,
            Place::Body(0) => Step::Finished(taken),
            _ => Step::Took(taken),
        }
    }

    fn chunk_size(&mut self, line: &[u8]) -> bool {
        match httparse::parse_chunk_size(line) {
            Ok(httparse::Status::Complete((_, 0))) => self.place = Place::Trailer,
            Ok(httparse::Status::Complete((_, size))) => self.place = Place::Chunk(size),
            _ => return false,
        }
        true
    }

    /// Ready for the next answer; keeps the buffer.
    fn reset(&mut self) {
        self.partial.clear();
        self.place = Place::Head;
        self.closing = false;
    }
}

/// Takes at most `left` bytes of `data`; what is left then.
fn take(left: u64, data: &[u8]) -> (usize, u64) {
    let taken = left.min(data.len() as u64);
    (taken as usize, left - taken)
}

fn has_token(value: &[u8], token: &str) -> bool {
    std::str::from_utf8(value).is_ok_and(|value| {
        value
            .split(',')
            .any(|part| part.trim().eq_ignore_ascii_case(token))
    })
}

impl Protocol for Http {
    type Answer = Answer;

    fn request_len(&self) -> usize {
        self.request.len()
    }

    fn fill(&self, _request: Request, offset: usize, out: &mut [u8]) {
        out.copy_from_slice(&self.request[offset..offset + out.len()]);
    }

    fn receive(
        &self,
        answer: &mut Answer,
        _request: Request,
        data: &[u8],
    ) -> (usize, Option<Outcome>) {
        let mut at = 0;
        while at < data.len() {
            match answer.step(&data[at..]) {
                Step::Took(taken) => at += taken,
                Step::Finished(taken) => {
                    answer.closing |= !self.keep_alive;
                    let outcome = answer.outcome();
                    answer.reset();
                    return (at + taken, Some(outcome));
                }
                Step::Failed => return (at, Some(Outcome::Broken(ErrorKind::Malformed))),
            }
        }
        (at, None)
    }

    fn end(&self, answer: &mut Answer) -> Outcome {
        match answer.place {
            Place::UntilClose => {
                answer.closing = true;
                answer.outcome()
            }
            _ => Outcome::Broken(ErrorKind::ClosedEarly),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKED: Request = Request {
        connection: 0,
        number: 0,
    };

    const LAST: Outcome = Outcome::Answered {
        wrong: None,
        last: true,
    };

    fn client(keep_alive: bool) -> Http {
        let request = HttpRequest {
            path: "/".into(),
            headers: vec!["X-Test: 1".into()],
            keep_alive,
        };
        Http::new(&request, "localhost")
    }

    /// The outcome of all answers in `text`, whatever the pieces in which it arrives.
    fn outcomes(http: &Http, text: &str) -> Vec<Outcome> {
        let run = |piece: usize| {
            let mut answer = Answer::default();
            let mut outcomes = Vec::new();
            for mut data in text.as_bytes().chunks(piece) {
                while !data.is_empty() {
                    let (taken, outcome) = http.receive(&mut answer, ASKED, data);
                    data = &data[taken..];
                    outcomes.extend(outcome);
                    if let Some(Outcome::Broken(_)) = outcome {
                        return outcomes;
                    }
                }
            }
            if !matches!(answer.place, Place::Head) || !answer.partial.is_empty() {
                outcomes.push(http.end(&mut answer));
            }
            outcomes
        };
        let whole = run(text.len());
        for piece in 1..text.len() {
            assert_eq!(run(piece), whole, "in pieces of {piece}");
        }
        whole
    }

    #[test]
    fn lengths_of_all_kinds_end_an_answer() {
        let text = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc\
            HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
            3;x=y\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\nA: b\r\n\r\n\
            HTTP/1.1 204 No Content\r\n\r\n\
            HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n\
            HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx";
        assert_eq!(
            outcomes(&client(true), text),
            [
                Outcome::RIGHT,
                Outcome::RIGHT,
                Outcome::RIGHT,
                Outcome::Answered {
                    wrong: Some(ErrorKind::Status(404)),
                    last: false
                },
                LAST
            ]
        );
    }

    #[test]
    fn a_body_may_end_with_the_connection() {
        assert_eq!(
            outcomes(&client(true), "HTTP/1.0 200 OK\r\n\r\nabc"),
            [LAST]
        );
    }

    #[test]
    fn what_is_cut_short_or_wrong_is_an_error() {
        for (text, kind) in [
            ("HTTP/1.1 200 OK\r\nContent-Le", ErrorKind::ClosedEarly),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
                ErrorKind::ClosedEarly,
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
                ErrorKind::Malformed,
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
                ErrorKind::Malformed,
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nz\r\n",
                ErrorKind::Malformed,
            ),
            ("220 smtp ready\r\n", ErrorKind::Malformed),
        ] {
            assert_eq!(
                outcomes(&client(true), text),
                [Outcome::Broken(kind)],
                "{text}"
            );
        }
    }

    #[test]
    fn a_head_has_a_longest_length_in_whatever_pieces_it_comes() {
        for (length, expected) in [
            (MAX_HEAD, Some(Outcome::RIGHT)),
            (MAX_HEAD + 1, Some(Outcome::Broken(ErrorKind::Malformed))),
        ] {
            let mut head = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nA: ".to_owned();
            head += &"x".repeat(length - head.len() - 4);
            head += "\r\n\r\n";
            for piece in [1000, MAX_HEAD - 1, length] {
                let mut answer = Answer::default();
                let mut pieces = head.as_bytes().chunks(piece);
                let outcome =
                    pieces.find_map(|data| client(true).receive(&mut answer, ASKED, data).1);
                assert_eq!(outcome, expected, "{length} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn without_keep_alive_an_answer_is_the_last_one() {
        let http = client(false);
        let mut answer = Answer::default();
        let text = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";
        let outcome = http.receive(&mut answer, ASKED, text);
        assert_eq!(outcome, (text.len(), Some(LAST)));
        assert!(
            http.request
                .ends_with(b"X-Test: 1\r\nConnection: close\r\n\r\n")
        );
    }
}

//! HTTP/1.1 by RFC 9112: requests that the seed draws. httparse parses the head of an answer. The status must be an
//! expected one, the body as long as the head says and, if asked for, of this length or with this hash.

mod answer;
mod body;
mod head;
mod request;

use super::client::{Outcome, Protocol, Request};
use super::error::ErrorKind;
use crate::workload::requests::{Expect, HttpLoad};
pub use answer::Answer;
use request::Requests;

/// Requests of one server.
#[derive(Debug)]
pub struct Http {
    requests: Requests,
    keep_alive: bool,
    expect: Expect,
}

impl Http {
    /// The requests that are sent to `host`.
    pub fn new(load: &HttpLoad, host: &str, seed: u64) -> Self {
        Self {
            requests: Requests::new(load, host, seed),
            keep_alive: load.keep_alive,
            expect: load.expect.clone(),
        }
    }
}

impl Protocol for Http {
    type Answer = Answer;

    fn request_len(&self, request: Request) -> usize {
        self.requests.of(request).bytes.len()
    }

    fn fill(&self, request: Request, offset: usize, out: &mut [u8]) {
        let bytes = &self.requests.of(request).bytes;
        out.copy_from_slice(&bytes[offset..offset + out.len()]);
    }

    fn receive(
        &self,
        answer: &mut Answer,
        request: Request,
        data: &[u8],
    ) -> (usize, Option<Outcome>) {
        let sent = self.requests.of(request);
        let (taken, outcome) = answer.read(data, sent.is_head, &self.expect);
        let outcome = match outcome {
            Some(Outcome::Answered { wrong, last }) => Some(Outcome::Answered {
                wrong,
                last: last || !self.keep_alive,
            }),
            Some(Outcome::Broken(ErrorKind::Malformed)) => {
                match answer
                    .unreadable_head()
                    .map_or(Some(false), |head| is_echo(head, &sent.bytes))
                {
                    Some(true) => Some(Outcome::Broken(ErrorKind::Echoes)),
                    Some(false) => outcome,
                    None => return (data.len(), None),
                }
            }
            outcome => outcome,
        };
        (taken, outcome)
    }

    fn end(&self, answer: &mut Answer) -> Outcome {
        answer.end(&self.expect)
    }
}

/// Whether a head that cannot be read is the first line of the request; `None`: so far it is. It must not matter in
/// which pieces it arrives.
fn is_echo(head: &[u8], request: &[u8]) -> Option<bool> {
    let line = request.split_inclusive(|&byte| byte == b'\n').next()?;
    if head.len() < line.len() {
        return (!line.starts_with(head)).then_some(false);
    }
    Some(head.starts_with(line))
}

#[cfg(test)]
mod tests {
    use super::head::{MAX_FIELDS, MAX_HEAD};
    use sha2::{Digest, Sha256};

    use super::*;
    use crate::workload::requests::HttpRequest;

    const ASKED: Request = Request {
        connection: 0,
        number: 0,
    };

    const LAST: Outcome = Outcome::Answered {
        wrong: None,
        last: true,
    };

    fn client(keep_alive: bool) -> Http {
        let load = HttpLoad {
            keep_alive,
            ..HttpLoad::default()
        };
        Http::new(&load, "localhost", 1)
    }

    fn expecting(method: &str, expect: Expect) -> Http {
        let request = HttpRequest {
            method: method.to_owned(),
            ..HttpRequest::default()
        };
        let load = HttpLoad {
            requests: vec![request],
            expect,
            ..HttpLoad::default()
        };
        Http::new(&load, "localhost", 1)
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
            if !answer.is_fresh() {
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
                "HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\n",
                ErrorKind::Malformed,
            ),
            (
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
                ErrorKind::SwitchedProtocols,
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nxyz\r\n",
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
    fn an_echo_is_told_in_whatever_pieces_it_comes() {
        for (text, kind) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", ErrorKind::Echoes),
            // It may begin like one.
            ("GET / HTTP/1.0\r\n", ErrorKind::Malformed),
            ("Good day\r\n", ErrorKind::Malformed),
            ("HTTGET / HTTP/1.1\r\n", ErrorKind::Malformed),
            (
                "HTTP/1.1 200 OK\r\nGET / HTTP/1.1\r\n\r\n",
                ErrorKind::Malformed,
            ),
            ("GET /", ErrorKind::ClosedEarly),
        ] {
            for piece in 1..=text.len() {
                let (client, mut answer) = (client(true), Answer::default());
                let mut pieces = text.as_bytes().chunks(piece);
                let outcome = pieces
                    .find_map(|data| client.receive(&mut answer, ASKED, data).1)
                    .unwrap_or_else(|| client.end(&mut answer));
                assert_eq!(
                    outcome,
                    Outcome::Broken(kind),
                    "{text} in pieces of {piece}"
                );
            }
        }
    }

    #[test]
    fn a_head_has_a_longest_length_in_whatever_pieces_it_comes() {
        for (length, expected) in [
            (MAX_HEAD, Some(Outcome::RIGHT)),
            (MAX_HEAD + 1, Some(Outcome::Broken(ErrorKind::HeadTooLong))),
        ] {
            let mut head = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nA: ".to_owned();
            head += &"x".repeat(length - head.len() - 4);
            head += "\r\n\r\n";
            for piece in [8000, MAX_HEAD - 1, length] {
                let mut answer = Answer::default();
                let mut pieces = head.as_bytes().chunks(piece);
                let outcome =
                    pieces.find_map(|data| client(true).receive(&mut answer, ASKED, data).1);
                assert_eq!(outcome, expected, "{length} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn a_head_has_a_highest_number_of_fields() {
        for (fields, expected) in [
            (MAX_FIELDS, Outcome::RIGHT),
            (MAX_FIELDS + 1, Outcome::Broken(ErrorKind::TooManyFields)),
        ] {
            let others = "A: b\r\n".repeat(fields - 1);
            let head = format!("HTTP/1.1 200 OK\r\n{others}Content-Length: 0\r\n\r\n");
            let mut answer = Answer::default();
            let (_, outcome) = client(true).receive(&mut answer, ASKED, head.as_bytes());
            assert_eq!(outcome, Some(expected), "{fields}");
        }
    }

    /// RFC 9112, 6.3 and 9.3.
    #[test]
    fn all_lines_of_a_field_count() {
        let head = |fields: &str| format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
        for (fields, body, outcome) in [
            (
                "Connection: close\r\nConnection: keep-alive\r\nContent-Length: 0\r\n",
                "",
                LAST,
            ),
            (
                "Connection: keep-alive\r\nConnection: a, Close\r\nContent-Length: 0\r\n",
                "",
                LAST,
            ),
            (
                "Connection: a,\r\n\t close\r\nContent-Length: 0\r\n",
                "",
                LAST,
            ),
            (
                "Connection: closed\r\nContent-Length:\r\n 3\r\n",
                "abc",
                Outcome::RIGHT,
            ),
            (
                "Content-Length: 3, 3\r\nContent-Length: 3\r\n",
                "abc",
                Outcome::RIGHT,
            ),
            (
                "Content-Length: 9\r\nTransfer-Encoding: chunked\r\n",
                "1\r\nx\r\n0\r\n\r\n",
                Outcome::RIGHT,
            ),
            (
                "Transfer-Encoding: chunked\r\nContent-Length: x\r\n",
                "0\r\n\r\n",
                Outcome::RIGHT,
            ),
            (
                "Transfer-Encoding: gzip\r\nTransfer-Encoding: Chunked\r\n",
                "0\r\n\r\n",
                Outcome::RIGHT,
            ),
            (
                "Transfer-Encoding: gzip,\r\n chunked\r\n",
                "0\r\n\r\n",
                Outcome::RIGHT,
            ),
            (
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n",
                "0\r\n\r\n",
                LAST,
            ),
            (
                "Transfer-Encoding: chunked, gzip\r\nContent-Length: 1\r\n",
                "0\r\n\r\n",
                LAST,
            ),
        ] {
            let text = head(fields) + body;
            assert_eq!(outcomes(&client(true), &text), [outcome], "{fields}");
        }
        let old = "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx";
        assert_eq!(outcomes(&client(true), old), [Outcome::RIGHT]);
    }

    #[test]
    fn without_keep_alive_an_answer_is_the_last_one() {
        let http = client(false);
        let mut answer = Answer::default();
        let text = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";
        let outcome = http.receive(&mut answer, ASKED, text);
        assert_eq!(outcome, (text.len(), Some(LAST)));
    }

    #[test]
    fn an_answer_to_head_ends_with_its_head() {
        let text = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n\
            HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let expect = Expect {
            bytes: Some(9),
            ..Expect::default()
        };
        let http = expecting("HEAD", expect);
        assert_eq!(outcomes(&http, text), [Outcome::RIGHT, Outcome::RIGHT]);
    }

    #[test]
    fn what_is_expected_makes_an_answer_right() {
        let wrong = |kind| Outcome::Answered {
            wrong: Some(kind),
            last: false,
        };
        let text = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc\
            HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n\
            HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabd\
            HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabcd\
            HTTP/1.1 204 No Content\r\n\r\n\
            HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nabc";
        let abc = Sha256::digest(b"abc").into();
        let (right, mismatch) = (Outcome::RIGHT, wrong(ErrorKind::Mismatch));
        for (sha256, bytes, expected) in [
            (
                Some(abc),
                None,
                [right, right, mismatch, mismatch, mismatch],
            ),
            (None, Some(3), [right, right, right, mismatch, mismatch]),
            (
                Some(abc),
                Some(3),
                [right, right, mismatch, mismatch, mismatch],
            ),
            (None, None, [right; 5]),
        ] {
            let expect = Expect {
                sha256,
                bytes,
                ..Expect::default()
            };
            let mut all = expected.to_vec();
            all.push(wrong(ErrorKind::Status(413)));
            assert_eq!(outcomes(&expecting("GET", expect), text), all);
        }
        let expect = Expect {
            status: "413".parse().unwrap(),
            ..Expect::default()
        };
        let mut all = vec![wrong(ErrorKind::Status(200)); 4];
        all.extend([wrong(ErrorKind::Status(204)), right]);
        assert_eq!(outcomes(&expecting("GET", expect), text), all);
    }
}

//! Answers, read one by one: not a byte of the next.

use std::fmt;

use crate::client::Client;
use crate::outcome::{Outcome, ensure, failed};

/// What a server answered.
pub struct Answer {
    /// The minor version: 0 or 1.
    pub version: u8,
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.version == 0 {
            write!(f, "HTTP/1.0 ")?;
        }
        write!(f, "{}", self.status)?;
        for (name, value) in &self.headers {
            write!(f, ", {name}: {value}")?;
        }
        write!(f, " and a body of {} bytes", self.body.len())
    }
}

impl Answer {
    /// The value of a header field that must not be there twice.
    pub fn header(&self, name: &'static str) -> Option<&str> {
        self.values(name).next()
    }

    pub fn values(&self, name: &'static str) -> impl Iterator<Item = &str> {
        let named = move |(n, _): &&(String, String)| n.eq_ignore_ascii_case(name);
        self.headers.iter().filter(named).map(|(_, v)| v.as_str())
    }

    /// Whether the connection ends after it (RFC 9112, 9.3).
    pub fn says_close(&self) -> bool {
        self.connection_says("close") || self.version == 0 && !self.connection_says("keep-alive")
    }

    pub fn connection_says(&self, option: &str) -> bool {
        self.values("connection")
            .flat_map(|value| value.split(','))
            .any(|said| said.trim().eq_ignore_ascii_case(option))
    }

    /// All readers of the head agree where the body ends.
    pub fn has_one_end(&self) -> bool {
        let mut lengths = self.values("content-length");
        match (lengths.next(), self.header("transfer-encoding")) {
            (Some(first), None) => lengths.all(|length| length == first),
            (first, _) => first.is_none(),
        }
    }
}

/// What an HTTP client does.
pub trait Http1 {
    fn answer(&mut self, to_head: bool) -> Outcome<Answer>;

    /// The next answer has this status.
    fn expect_status(&mut self, status: u16) -> Outcome<Answer> {
        with_status(status, self.answer(false)?)
    }
}

impl Http1 for Client {
    fn answer(&mut self, to_head: bool) -> Outcome<Answer> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            let seen = match self.receive(&mut byte) {
                Ok(1) => {
                    head.push(byte[0]);
                    continue;
                }
                Ok(_) => "the end of the connection".into(),
                Err(e) => self.describe(&e),
            };
            let head = String::from_utf8_lossy(&head);
            return failed("an answer", format!("{seen} after {head:?}"));
        }
        let mut fields = [httparse::EMPTY_HEADER; 32];
        let mut parsed = httparse::Response::new(&mut fields);
        let seen = match parsed.parse(&head) {
            // HTTP needs a space after the status also when no reason follows; the parser does not.
            Ok(_) if head.get(12) == Some(&b' ') => None,
            Ok(_) => Some("no space after the status".into()),
            Err(e) => Some(e.to_string()),
        };
        if let Some(seen) = seen {
            let head = String::from_utf8_lossy(&head);
            return failed("a well-formed answer", format!("{seen}: {head:?}"));
        }
        let headers = parsed.headers.iter().map(|field| {
            (
                field.name.to_owned(),
                String::from_utf8_lossy(field.value).into_owned(),
            )
        });
        let mut answer = Answer {
            version: parsed.version.unwrap_or_default(),
            status: parsed.code.unwrap_or_default(),
            headers: headers.collect(),
            body: Vec::new(),
        };
        ensure(
            answer.has_one_end(),
            "an answer whose body has one end",
            &answer,
        )?;
        if to_head || answer.status < 200 || matches!(answer.status, 204 | 304) {
            return Ok(answer);
        }
        let is_chunked = answer
            .header("transfer-encoding")
            .is_some_and(|value| value.eq_ignore_ascii_case("chunked"));
        answer.body = match answer.header("content-length").map(str::parse) {
            None if is_chunked => chunks(self)?,
            None if answer.says_close() => self.read_to_end()?,
            Some(Ok(length)) => bytes(self, length)?,
            _ => return failed("an answer whose body has one end", &answer),
        };
        Ok(answer)
    }
}

pub fn bytes(client: &Client, length: usize) -> Outcome<Vec<u8>> {
    let mut body = vec![0; length];
    let mut got = 0;
    while got < length {
        let seen = match client.receive(&mut body[got..]) {
            Ok(n @ 1..) => {
                got += n;
                continue;
            }
            Ok(_) => "the end of the connection".into(),
            Err(e) => client.describe(&e),
        };
        let expected = format!("a body of {length} bytes");
        return failed(expected, format!("{seen} after {got}"));
    }
    Ok(body)
}

/// A body in chunks, without trailers.
pub fn chunks(client: &Client) -> Outcome<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            line.extend(bytes(client, 1)?);
        }
        let size = match httparse::parse_chunk_size(&line) {
            Ok(httparse::Status::Complete((_, size))) => size as usize,
            _ => return failed("the size of a chunk", String::from_utf8_lossy(&line)),
        };
        body.extend(bytes(client, size)?);
        if bytes(client, 2)? != b"\r\n" {
            return failed("the end of a chunk", "more bytes than its size says");
        }
        if size == 0 {
            return Ok(body);
        }
    }
}

pub fn with_status(status: u16, answer: Answer) -> Outcome<Answer> {
    ensure(answer.status == status, format!("status {status}"), &answer)?;
    Ok(answer)
}

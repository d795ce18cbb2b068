//! HTTP/1.1 by RFC 9112: what is a request, where it ends, and what happens to what is none.

use std::fmt;
use std::time::{Duration, Instant};

use crate::case::{Case, case, program_case};
use crate::client::{Client, in_parallel, pattern};
use crate::outcome::{Outcome, ensure, failed, skipped};
use crate::server::Server;
use crate::target::Target;
use nix::sys::signal::Signal;
use supervisor::Mode::Http;

pub const CASES: &[Case] = &[
    case(
        Http,
        "http::get",
        "GET: 200 and a text that ends in a newline",
        get,
    ),
    case(
        Http,
        "http::head",
        "HEAD: the head that GET has, and no body",
        head,
    ),
    case(
        Http,
        "http::keep_alive",
        "100 requests on one connection",
        keep_alive,
    ),
    case(
        Http,
        "http::close",
        "Connection: close, in any spelling: answered, said, and done",
        close,
    ),
    case(
        Http,
        "http::field_names_in_any_case",
        "HOST, cONTENT-lENGTH and others mean the same",
        field_names,
    ),
    case(
        Http,
        "http::http_1_0",
        "HTTP/1.0: no Host needed, the connection closes",
        http_1_0,
    ),
    case(
        Http,
        "http::http_1_0_keep_alive",
        "HTTP/1.0 with keep-alive: kept or closed, as the answer says",
        http_1_0_keep_alive,
    ),
    case(
        Http,
        "http::targets",
        "origin, absolute and asterisk form of the target",
        targets,
    ),
    case(
        Http,
        "http::leading_empty_line",
        "an empty line before a request is passed over",
        leading_empty_line,
    ),
    case(
        Http,
        "http::pipelined",
        "100 requests in one write: 100 answers",
        pipelined,
    ),
    case(
        Http,
        "http::pipelined_unread",
        "requests until the server takes no more, then all answers",
        pipelined_unread,
    ),
    case(
        Http,
        "http::pipelined_bodies",
        "requests with bodies of both kinds in one write, each ends where it should",
        pipelined_bodies,
    ),
    case(
        Http,
        "http::nothing_after_close",
        "what follows Connection: close is not answered",
        nothing_after_close,
    ),
    case(
        Http,
        "http::byte_by_byte",
        "requests whose bytes come one by one",
        byte_by_byte,
    ),
    case(
        Http,
        "http::split_everywhere",
        "a request in two parts, cut at every byte",
        split_everywhere,
    ),
    case(
        Http,
        "http::half_close",
        "request and end of input at once: answered, then the end",
        half_close,
    ),
    case(
        Http,
        "http::end_in_mid_head",
        "the end of input in the middle of a head: no hang",
        end_in_mid_head,
    ),
    case(
        Http,
        "http::body_of_known_length",
        "a body with Content-Length is dropped: 405 with Allow, then the next request",
        body_of_known_length,
    ),
    case(
        Http,
        "http::large_body",
        "a body of 1 MiB is dropped",
        large_body,
    ),
    case(
        Http,
        "http::chunked_body",
        "a chunked body with extensions and trailers is dropped",
        chunked_body,
    ),
    case(
        Http,
        "http::chunked_byte_by_byte",
        "a chunked body whose bytes come one by one",
        chunked_byte_by_byte,
    ),
    case(
        Http,
        "http::get_with_body",
        "the body of a GET is not taken for a request",
        get_with_body,
    ),
    case(
        Http,
        "http::expect_continue",
        "Expect: 100-continue: invited before the body, or refused and closed",
        expect_continue,
    ),
    case(
        Http,
        "http::known_methods",
        "POST, PUT, DELETE, PATCH, OPTIONS: 405 with Allow, and the connection stays",
        known_methods,
    ),
    case(
        Http,
        "http::unknown_method",
        "any other method: 501",
        unknown_method,
    ),
    case(
        Http,
        "http::missing_host",
        "HTTP/1.1 without Host: 400",
        |target| refused(target, 400, &["GET / HTTP/1.1\r\n\r\n"]),
    ),
    case(
        Http,
        "http::double_host",
        "two Host fields: 400",
        |target| {
            refused(
                target,
                400,
                &[
                    "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
                    "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
                ],
            )
        },
    ),
    case(
        Http,
        "http::both_framings",
        "Content-Length beside Transfer-Encoding: 400",
        both_framings,
    ),
    case(
        Http,
        "http::differing_lengths",
        "two Content-Lengths that differ: 400",
        differing_lengths,
    ),
    case(
        Http,
        "http::odd_lengths",
        "a Content-Length with a sign, in hexadecimal, too large or empty: 400",
        odd_lengths,
    ),
    case(
        Http,
        "http::chunked_not_last",
        "a transfer coding after chunked: 400",
        chunked_not_last,
    ),
    case(
        Http,
        "http::unknown_coding",
        "a transfer coding that is not known: 501",
        unknown_coding,
    ),
    case(
        Http,
        "http::bad_chunks",
        "chunks that are none: 400",
        bad_chunks,
    ),
    case(
        Http,
        "http::malformed_head",
        "heads that are none: 400",
        malformed_head,
    ),
    case(
        Http,
        "http::lenient_or_not",
        "bare LF and folded lines: one answer, 200 or 400, and no desync",
        lenient_or_not,
    ),
    case(
        Http,
        "http::another_version",
        "HTTP/2.0 and others: 505",
        another_version,
    ),
    case(
        Http,
        "http::large_head",
        "a head of 8,000 bytes is served, one of 9,000 gets 431",
        large_head,
    ),
    case(
        Http,
        "http::many_fields",
        "500 header fields: 431",
        many_fields,
    ),
    case(
        Http,
        "http::endless_head",
        "500,000 bytes of head without an end: 431, and no reset destroys it",
        endless_head,
    ),
    case(
        Http,
        "http::endless_target",
        "a request line without an end: 431 or 414",
        endless_target,
    ),
    case(
        Http,
        "http::endless_trailers",
        "trailers without an end: refused",
        endless_trailers,
    ),
    case(
        Http,
        "http::error_after_good",
        "a good request before a bad one is answered first",
        error_after_good,
    ),
    case(
        Http,
        "http::error_with_unread_input",
        "what follows a bad head does not turn the 400 into a reset",
        error_with_unread_input,
    ),
    case(
        Http,
        "http::binary_rubbish",
        "bytes that are no HTTP at all: 400 or the end",
        binary_rubbish,
    ),
    case(
        Http,
        "http::slowloris",
        "50 unfinished heads beside one client that asks",
        slowloris,
    ),
    case(
        Http,
        "http::many_clients",
        "32 clients, 30 requests each",
        many_clients,
    ),
    program_case(
        Http,
        "http::small_buffer",
        "--buffer-size 1: a head still fits",
        small_buffer,
    ),
    program_case(
        Http,
        "http::term_in_mid_stream",
        "SIGTERM with requests unread: those that had arrived are answered",
        term_in_mid_stream,
    ),
];

const GET: &str = "GET / HTTP/1.1\r\nHost: doorbell\r\n\r\n";
const GET_AND_CLOSE: &str = "GET / HTTP/1.1\r\nHost: doorbell\r\nConnection: close\r\n\r\n";

/// What a server answered.
struct Answer {
    /// Of HTTP/1.0 it is 0, of HTTP/1.1 it is 1.
    version: u8,
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
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
    fn header(&self, name: &'static str) -> Option<&str> {
        self.values(name).next()
    }

    fn values(&self, name: &'static str) -> impl Iterator<Item = &str> {
        let named = move |(n, _): &&(String, String)| n.eq_ignore_ascii_case(name);
        self.headers.iter().filter(named).map(|(_, v)| v.as_str())
    }

    /// Whether the connection ends after it (RFC 9112, 9.3).
    fn says_close(&self) -> bool {
        self.connection_says("close") || self.version == 0 && !self.connection_says("keep-alive")
    }

    fn connection_says(&self, option: &str) -> bool {
        self.values("connection")
            .flat_map(|value| value.split(','))
            .any(|said| said.trim().eq_ignore_ascii_case(option))
    }

    /// The body ends in one place for everybody who reads the head.
    fn has_one_end(&self) -> bool {
        let mut lengths = self.values("content-length");
        match (lengths.next(), self.header("transfer-encoding")) {
            (Some(first), None) => lengths.all(|length| length == first),
            (first, _) => first.is_none(),
        }
    }
}

/// The HTTP side of a client: answers are read one by one, none of the next.
trait Http1 {
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
            // The parser does not need the space before a reason that is left out; HTTP does.
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

fn bytes(client: &Client, length: usize) -> Outcome<Vec<u8>> {
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
fn chunks(client: &Client) -> Outcome<Vec<u8>> {
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

/// Requests and answers one after the other on a connection. A stranger may close it after any answer that says
/// so: what is sent after that goes by a new one.
struct Dialogue<'a> {
    target: &'a Target,
    server: &'a Server,
    client: Client,
    /// On this connection.
    answers: usize,
    said_close: bool,
}

impl<'a> Dialogue<'a> {
    fn new(target: &'a Target, server: &'a Server) -> Outcome<Self> {
        Ok(Self::over(server.connect()?, target, server))
    }

    fn over(client: Client, target: &'a Target, server: &'a Server) -> Self {
        Self {
            target,
            server,
            client,
            answers: 0,
            said_close: false,
        }
    }

    fn is_over(&self) -> bool {
        self.said_close && !self.target.keeps_contract()
    }

    /// The connection to send on.
    fn client(&mut self) -> Outcome<&mut Client> {
        if self.is_over() {
            let new = Self::new(self.target, self.server)?;
            std::mem::replace(self, new).client.expect_gone()?;
        }
        Ok(&mut self.client)
    }

    fn send(&mut self, request: &str) -> Outcome {
        self.client()?.send(request.as_bytes())
    }

    /// The next answer on the same connection.
    fn answer(&mut self, to_head: bool) -> Outcome<Answer> {
        if self.is_over() {
            return skipped(match self.answers {
                1 => "it closes after 1 answer".into(),
                n => format!("it closes after {n} answers"),
            });
        }
        let answer = self.client.answer(to_head)?;
        self.answers += 1;
        self.said_close = answer.says_close();
        Ok(answer)
    }

    fn expect_status(&mut self, status: u16) -> Outcome<Answer> {
        with_status(status, self.answer(false)?)
    }

    /// The server is good for another request.
    fn goes_on(&mut self) -> Outcome {
        self.send(GET)?;
        self.expect_status(200).map(drop)
    }

    /// The connection is good for another request; skips where the last answer said that it is not.
    fn stays(&mut self) -> Outcome {
        if !self.is_over() {
            self.send(GET)?;
        }
        self.expect_status(200).map(drop)
    }

    /// Nothing comes after the last answer but the end.
    fn end(self) -> Outcome {
        if !self.is_over() {
            self.client.half_close()?;
        }
        self.client.expect_end()
    }
}

fn with_status(status: u16, answer: Answer) -> Outcome<Answer> {
    ensure(answer.status == status, format!("status {status}"), &answer)?;
    Ok(answer)
}

/// A request as a failure names it.
fn named(request: &str) -> String {
    let short: String = request.chars().take(100).collect();
    format!("{short:?}")
}

/// `ours` by the server contract; a stranger may also give one of `others`.
fn either(target: &Target, ours: u16, others: &[u16]) -> Vec<u16> {
    let others = if target.keeps_contract() { &[] } else { others };
    [&[ours], others].concat()
}

/// The answer to a request that is neither GET nor HEAD: 405 by the server contract. What a stranger does
/// with it is its own affair, as long as it does not take the request for a wrong one.
fn other_method(target: &Target, dialogue: &mut Dialogue<'_>) -> Outcome<Answer> {
    if target.keeps_contract() {
        return dialogue.expect_status(405);
    }
    let answer = dialogue.answer(false)?;
    ensure(
        !matches!(answer.status, 0..200 | 400 | 408 | 431),
        "an answer to the method",
        &answer,
    )?;
    Ok(answer)
}

/// The answers to requests of which some are GET.
fn answers(target: &Target, dialogue: &mut Dialogue<'_>, are_get: &[bool]) -> Outcome {
    are_get.iter().try_for_each(|&is_get| {
        if is_get {
            dialogue.expect_status(200).map(drop)
        } else {
            other_method(target, dialogue).map(drop)
        }
    })
}

fn get(target: &Target) -> Outcome {
    let server = target.serve(Http)?;
    let mut client = server.connect()?;
    client.send(GET.as_bytes())?;
    let answer = client.expect_status(200)?;
    // What a stranger serves is its own affair, and for how long.
    let text = answer.body.ends_with(b"\n") && answer.body.len() < 1_000;
    ensure(
        text || !target.keeps_contract(),
        "a short text that ends in a newline",
        &answer,
    )?;
    ensure(
        !answer.says_close() || !target.keeps_contract(),
        "a connection that stays",
        &answer,
    )
}

fn head(target: &Target) -> Outcome {
    let server = target.serve(Http)?;
    let mut dialogue = Dialogue::new(target, &server)?;
    dialogue.send("HEAD / HTTP/1.1\r\nHost: doorbell\r\n\r\n")?;
    let head = dialogue.answer(true)?;
    // A body after the first head would be taken for the second.
    if dialogue.is_over() {
        let body = dialogue.client.read_to_end()?;
        ensure(body.is_empty(), "no body after HEAD", body.len())?;
    }
    dialogue.send(GET)?;
    let get = dialogue.expect_status(200)?;
    // It may be left out where it costs an effort to know it (RFC 9110, 9.3.2).
    let length = head.header("content-length");
    let is_left_out = length.is_none() && !target.keeps_contract();
    ensure(
        head.status == 200 && (is_left_out || length == get.header("content-length")),
        "200 with the Content-Length of GET",
        &head,
    )
}

fn keep_alive(target: &Target) -> Outcome {
    let server = target.serve(Http)?;
    let mut dialogue = Dialogue::new(target, &server)?;
    (0..100).try_for_each(|_| dialogue.stays())
}

fn close(target: &Target) -> Outcome {
    let server = target.serve(Http)?;
    for value in ["close", "Close", "keep-alive, close", "close , x"] {
        let fields = format!("connection: {value}");
        closes(
            target,
            &server,
            &format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n"),
        )
        .map_err(|outcome| outcome.about(format_args!("`{fields}`")))?;
    }
    Ok(())
}

/// A request that asks for it is answered, and the connection ends.
fn closes(target: &Target, server: &Server, request: &str) -> Outcome {
    let mut client = server.connect()?;
    client.send(request.as_bytes())?;
    let answer = client.expect_status(200)?;
    ensure(
        // That is a SHOULD (RFC 9112, 9.6); to close is a MUST.
        answer.says_close() || !target.keeps_contract(),
        "Connection: close in the answer",
        &answer,
    )?;
    client.expect_end()
}

fn field_names(target: &Target) -> Outcome {
    let server = target.serve(Http)?;
    let mut dialogue = Dialogue::new(target, &server)?;
    for request in [
        "GET / HTTP/1.1\r\nHOST: a\r\n\r\n",
        "POST / HTTP/1.1\r\nhOsT: a\r\ncONTENT-lENGTH: 5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nhost: a\r\nTRANSFER-ENCODING: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ] {
        dialogue
            .send(request)
            .and_then(|()| answers(target, &mut dialogue, &[request.starts_with("GET")]))
            .and_then(|()| dialogue.goes_on())
            .map_err(|outcome| outcome.about(named(request)))?;
    }
    // A server may have one place.
    drop(dialogue);
    closes(
        target,
        &server,
        "GET / HTTP/1.1\r\nHost: a\r\nCONNECTION: close\r\n\r\n",
    )
}

fn http_1_0(target: &Target) -> Outcome {
    let server = target.serve(Http)?;
    let mut client = server.connect()?;
    client.send(b"GET / HTTP/1.0\r\n\r\n")?;
    client.expect_status(200)?;
    client.expect_end()
}

fn http_1_0_keep_alive(target: &Target) -> Outcome {
    let server = target.serve(Http)?;
    let mut dialogue = Dialogue::new(target, &server)?;
    dialogue.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")?;
    let answer = dialogue.expect_status(200)?;
    // An old client keeps the connection only when it is told so.
    if answer.connection_says("keep-alive") {
        dialogue.goes_on()
    } else if target.keeps_contract() || answer.says_close() {
        dialogue.client.expect_end()
    } else {
        // HTTP/1.1 stays without a word, and may leave at any time.
        let _ = dialogue.client.half_close();
        dialogue.client.expect_gone()
    }
}

fn targets(target: &Target) -> Outcome {
    let server = target.serve(Http)?;
    let mut dialogue = Dialogue::new(target, &server)?;
    for (request, statuses) in [
        // Not every server has something at every path.
        ("GET /a/b?c=d%20e HTTP/1.1", either(target, 200, &[404])),
        ("GET http://doorbell/ HTTP/1.1", vec![200]),
        (
            "OPTIONS * HTTP/1.1",
            either(target, 405, &[200, 204, 400, 404, 501]),
        ),
    ] {
        dialogue.send(&format!("{request}\r\nHost: doorbell\r\n\r\n"))?;
        let answer = dialogue.answer(false)?;
        let right = statuses.contains(&answer.status);
        ensure(right, format!("status {statuses:?} to {request}"), &answer)?;
    }
    Ok(())
}

fn leading_empty_line(target: &Target) -> Outcome {
    if !target.keeps_contract() {
        return skipped("it is only recommended (RFC 9112, 2.2)");
    }
    let server = target.serve(Http)?;
    let mut client = server.connect()?;
    client.send(format!("\r\n{GET}").as_bytes())?;
    client.expect_status(200)?;
    client.send(format!("\r\n{GET}").as_bytes())?;
    client.expect_status(200).map(drop)
}

fn pipelined(target: &Target) -> Outcome {
    let server = target.serve(Http)?;
    let mut dialogue = Dialogue::new(target, &server)?;
    dialogue.send(&GET.repeat(100))?;
    answers(target, &mut dialogue, &[true; 100])?;
    dialogue.goes_on()
}

fn pipelined_unread(target: &Target) -> Outcome {
    target.require_silence()?;
    let server = target.serve(Http)?;
    if !target.keeps_contract() {
        // One that closes after so many would throw away what follows, and with a reset the last answers.
        let start = Instant::now();
        let mut dialogue = Dialogue::new(target, &server)?;
        while dialogue.answers < 1_100 && start.elapsed() < Duration::from_secs(2) {
            dialogue.stays()?;
        }
    }
    for (mut client, sent) in server.stuck_clients(1, GET.as_bytes())? {
        let mut all = Vec::new();
        let ended = client.half_close();
        let ended = match client.read_up_to_the_end(&mut all) {
            Ok(()) => ended,
            Err(e) => failed("all answers and the end", client.describe(&e)),
        };
        let is_start = |part: &[u8]| part.starts_with(b"HTTP/1.") && part.ends_with(b" 200 ");
        let answers = all.windows(13).filter(|part| is_start(part)).count();
        let whole = sent / GET.len();
        let last = all.windows(13).rposition(is_start);
        let last = String::from_utf8_lossy(&all[last.unwrap_or(0)..]).to_lowercase();
        if !target.keeps_contract() && last.contains("connection: close") {
            return skipped(format!("it closes after {answers} answers"));
        }
        ended?;
        // The last request may be cut short, and be answered as such.
        ensure(
            (whole..=whole + 1).contains(&answers),
            format!("{whole} answers"),
            answers,
        )?;
    }
    Ok(())
}

const POST: &str =
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 26\r\n\r\nGET /x HTTP/1.1\r\nHost: a\r\n";
const POST_CHUNKED: &str =
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nGET /\r\n0\r\n\r\n";

fn pipelined_bodies(target: &Target) -> Outcome {
    let server = target.serve(Http)?;
    let mut dialogue = Dialogue::new(target, &server)?;
    dialogue.send(&format!(
        "{POST}{GET}{POST_CHUNKED}{GET}{POST}{POST_CHUNKED}{GET}"
    ))?;
    let are_get = [false, true, false, true, false, false, true];
    answers(target, &mut dialogue, &are_get)?;
    dialogue.goes_on()
}

fn nothing_after_close(target: &Target) -> Outcome {
    let server = target.serve(Http)?;
    let mut dialogue = Dialogue::new(target, &server)?;
    dialogue.send(&format!("{GET}{GET_AND_CLOSE}{GET}{GET}"))?;
    answers(target, &mut dialogue, &[true, true])?;
    dialogue.client.expect_end()
}

fn byte_by_byte(target: &Target) -> Outcome {
    let server = target.serve(Http)?;
    let mut dialogue = Dialogue::new(target, &server)?;
    for request in [GET, POST, GET] {
        send_bytes(target, dialogue.client()?, request)?;
        answers(target, &mut dialogue, &[request == GET])?;
    }
    Ok(())
}

/// Sends the bytes one by one.
fn send_bytes(target: &Target, client: &mut Client, request: &str) -> Outcome {
    for byte in request.as_bytes() {
        taken(target, client.send_alone(&[*byte]))?;
    }
    Ok(())
}

/// A stranger may answer and close before it was sent all of a body.
fn taken(target: &Target, sent: Outcome) -> Outcome {
    match sent {
        Err(_) if !target.keeps_contract() => skipped("it closes before the end of a body"),
        sent => sent,
    }
}

fn split_everywhere(target: &Target) -> Outcome {
    let server = target.serve(Http)?;
    let mut dialogue = Dialogue::new(target, &server)?;
    let request = format!("{POST_CHUNKED}{GET}");
    for at in 1..request.len() {
        if !target.keeps_contract() {
            // It may close after any number of answers, and these two belong together.
            dialogue = Dialogue::new(target, &server)?;
        }
        let (first, second) = request.as_bytes().split_at(at);
        dialogue
            .client
            .send_alone(first)
            .and_then(|()| dialogue.client.send(second))
            .and_then(|()| answers(target, &mut dialogue, &[false, true]))
            .map_err(|outcome| outcome.about(format_args!("a cut after {at} bytes")))?;
    }
    Ok(())
}

fn half_close(target: &Target) -> Outcome {
    let server = target.serve(Http)?;
    for _ in 0..20 {
        let mut client = server.connect()?;
        client.send_and_half_close_at_once(GET.as_bytes())?;
        client.expect_status(200)?;
        client.expect_end()?;
    }
    Ok(())
}

fn end_in_mid_head(target: &Target) -> Outcome {
    let server = target.serve(Http)?;
    for part in [
        "",
        "GET",
        "GET / HTTP/1.1\r\nHo",
        "GET / HTTP/1.1\r\nHost: a\r\n",
    ] {
        let mut client = server.connect()?;
        client.send_and_half_close_at_once(part.as_bytes())?;
        client
            .expect_gone()
            .map_err(|outcome| outcome.about(named(part)))?;
    }
    ask_once(&server)
}

/// A new client is served.
fn ask_once(server: &Server) -> Outcome {
    let mut client = server.connect()?;
    client.send(GET_AND_CLOSE.as_bytes())?;
    client.expect_status(200)?;
    client.expect_end()
}

/// 405 with the methods that are served, and the connection stays.
fn not_allowed(target: &Target, dialogue: &mut Dialogue<'_>) -> Outcome<Answer> {
    let answer = other_method(target, dialogue)?;
    if target.keeps_contract() {
        allows(&["GET", "HEAD"], &answer)?;
    }
    dialogue.goes_on()?;
    Ok(answer)
}

fn allows(methods: &[&str], answer: &Answer) -> Outcome {
    let allow = answer.header("allow").unwrap_or_default();
    let said = |method| allow.split(',').any(|allowed| allowed.trim() == method);
    ensure(
        methods.iter().copied().all(said),
        format!("Allow: {}", methods.join(", ")),
        answer,
    )
}

fn body_of_known_length(target: &Target) -> Outcome {
    let server = target.serve(Http)?;
    let mut dialogue = Dialogue::new(target, &server)?;
    dialogue.send(POST)?;
    not_allowed(target, &mut dialogue)?;
    dialogue.send(&post("Content-Length: 0", ""))?;
    not_allowed(target, &mut dialogue).map(drop)
}

fn large_body(target: &Target) -> Outcome {
    let server = target.serve(Http)?;
    let mut dialogue = Dialogue::new(target, &server)?;
    dialogue.send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1048576\r\n\r\n")?;
    taken(target, dialogue.client.send(&vec![b'x'; 1 << 20]))?;
    not_allowed(target, &mut dialogue).map(drop)
}

const CHUNKED_FULLY: &str = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n\
    00a;name=value;other=\"a;b\"\r\n0123456789\r\n1F\r\nGET / HTTP/1.1\r\nHost: chunked\r\n\r\n\
    0\r\nTrailer: one\r\nAnother: two\r\n\r\n";

fn chunked_body(target: &Target) -> Outcome {
    let server = target.serve(Http)?;
    let mut dialogue = Dialogue::new(target, &server)?;
    dialogue.send(&post("Content-Length: 0", ""))?;
    let plain = not_allowed(target, &mut dialogue)?.status;
    // Each has something that a parser may not know.
    for (coding, body) in [
        ("chunked", "5\r\nhello\r\n0\r\n\r\n"),
        ("Chunked", "5\r\nhello\r\n0\r\n\r\n"),
        ("chunked", "0a\r\n0123456789\r\n0\r\n\r\n"),
        ("chunked", "A\r\n0123456789\r\n00\r\n\r\n"),
        (
            "chunked",
            "5;name=value;other=\"a;b\"\r\nhello\r\n0;last\r\n\r\n",
        ),
        (
            "chunked",
            "5\r\nhello\r\n0\r\nTrailer: one\r\nAnother: two\r\n\r\n",
        ),
    ] {
        let request = post(&format!("Transfer-Encoding: {coding}"), body);
        dialogue
            .send(&request)
            .and_then(|()| dropped(target, &mut dialogue, plain))
            .map_err(|outcome| outcome.about(named(&request)))?;
    }
    dialogue.send(CHUNKED_FULLY)?;
    dropped(target, &mut dialogue, plain)
}

/// A stranger that does not know the method says 501, to a request without a body as well: not for the coding.
fn dropped(target: &Target, dialogue: &mut Dialogue<'_>, plain: u16) -> Outcome {
    let answer = not_allowed(target, dialogue)?;
    let is_known = answer.status != 501 || plain == 501;
    ensure(is_known, "chunked is a known coding", &answer)
}

fn chunked_byte_by_byte(target: &Target) -> Outcome {
    let server = target.serve(Http)?;
    let mut dialogue = Dialogue::new(target, &server)?;
    send_bytes(target, &mut dialogue.client, CHUNKED_FULLY)?;
    not_allowed(target, &mut dialogue).map(drop)
}

fn get_with_body(target: &Target) -> Outcome {
    let server = target.serve(Http)?;
    let mut dialogue = Dialogue::new(target, &server)?;
    let body = "GET /smuggled HTTP/1.1\r\n\r\n";
    let head = "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 26\r\n\r\n";
    dialogue.send(&format!("{head}{body}"))?;
    dialogue.expect_status(200)?;
    dialogue.goes_on()?;
    dialogue.end()
}

fn expect_continue(target: &Target) -> Outcome {
    let server = target.serve(Http)?;
    let mut dialogue = Dialogue::new(target, &server)?;
    dialogue.send(&post("Content-Length: 5\r\nExpect: 100-continue", ""))?;
    let first = dialogue.answer(false)?;
    match first.status {
        100 => {
            dialogue.client.send(b"hello")?;
            not_allowed(target, &mut dialogue).map(drop)
        }
        // The final answer without the body: whether the body comes cannot be known any more.
        405 if first.says_close() => dialogue.client.expect_end(),
        200.. if !target.keeps_contract() && first.says_close() => dialogue.client.expect_end(),
        // It has not waited for the body, which may come all the same: it is to be read.
        200.. if !target.keeps_contract() => {
            dialogue.send("hello")?;
            dialogue.goes_on()
        }
        _ => failed("100, or 405 with Connection: close", &first),
    }
}

fn known_methods(target: &Target) -> Outcome {
    let server = target.serve(Http)?;
    let mut dialogue = Dialogue::new(target, &server)?;
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        dialogue.send(&format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n"))?;
        let answer = not_allowed(target, &mut dialogue)?;
        if answer.status == 405 {
            // HEAD is not said by all that serve it.
            allows(&["GET"], &answer).map_err(|outcome| outcome.about(method))?;
        }
    }
    Ok(())
}

fn unknown_method(target: &Target) -> Outcome {
    if !target.keeps_contract() {
        return skipped("a stranger may know other methods");
    }
    let server = target.serve(Http)?;
    for method in ["BREW", "get", "TRACE", "CONNECT", "X"] {
        let mut client = server.connect()?;
        let target = if method == "CONNECT" { "a:80" } else { "/" };
        client.send(format!("{method} {target} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes())?;
        client.expect_status(501)?;
    }
    Ok(())
}

/// One of `statuses` by the server contract; a stranger may find something else wrong with a request first.
fn is_refusal(target: &Target, statuses: &[u16], answer: &Answer) -> bool {
    statuses.contains(&answer.status) || !target.keeps_contract() && answer.status >= 400
}

/// Each of `requests` gets this status, and then the connection closes.
fn refused(target: &Target, status: u16, requests: &[&str]) -> Outcome {
    let server = target.serve(Http)?;
    for request in requests {
        let tried = || {
            let mut client = server.connect()?;
            client.send(request.as_bytes())?;
            let answer = client.answer(false)?;
            let right = is_refusal(target, &[status], &answer);
            ensure(right, format!("status {status}"), &answer)?;
            client.expect_end()
        };
        tried().map_err(|outcome| outcome.about(named(request)))?;
    }
    ask_once(&server)
}

/// A request with these header fields and what follows its head.
fn post(fields: &str, body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n{body}")
}

/// The same for requests whose fields differ.
fn refused_fields(target: &Target, status: u16, fields: &[&str]) -> Outcome {
    let requests: Vec<String> = fields
        .iter()
        .map(|fields| post(fields, "0\r\n\r\n"))
        .collect();
    let requests: Vec<&str> = requests.iter().map(String::as_str).collect();
    refused(target, status, &requests)
}

fn both_framings(target: &Target) -> Outcome {
    refused_fields(
        target,
        400,
        &[
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nContent-Length: 5",
            "transfer-encoding: chunked\r\ncontent-length: 0",
        ],
    )
}

fn differing_lengths(target: &Target) -> Outcome {
    refused_fields(
        target,
        400,
        &[
            "Content-Length: 5\r\nContent-Length: 6",
            "Content-Length: 5, 6",
            "Content-Length: 0\r\nContent-Length: 5",
        ],
    )
}

fn odd_lengths(target: &Target) -> Outcome {
    refused_fields(
        target,
        400,
        &[
            "Content-Length: +5",
            "Content-Length: -5",
            "Content-Length: 0x5",
            "Content-Length: 5a",
            "Content-Length: 5 5",
            "Content-Length: 99999999999999999999999",
            "Content-Length:",
            "Content-Length: ,",
        ],
    )
}

fn chunked_not_last(target: &Target) -> Outcome {
    refused_fields(
        target,
        400,
        &[
            "Transfer-Encoding: chunked, gzip",
            "Transfer-Encoding: chunked, chunked",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip",
        ],
    )
}

fn unknown_coding(target: &Target) -> Outcome {
    refused_fields(
        target,
        501,
        &[
            "Transfer-Encoding: gzip, chunked",
            "Transfer-Encoding: x-unknown, chunked",
            "Transfer-Encoding: xchunked, chunked",
        ],
    )
}

fn bad_chunks(target: &Target) -> Outcome {
    let bodies = [
        "zz\r\n",
        "-5\r\nhello\r\n",
        "+5\r\nhello\r\n",
        "0x5\r\nhello\r\n",
        " 5\r\nhello\r\n",
        "\r\nhello\r\n",
        "5\r\nhelloworld\r\n",
        "5\r\nhelloXX0\r\n\r\n",
        "ffffffffffffffffff\r\n",
        "5\rhello\r\n",
        "fffffffffffffffff0\r\n",
    ];
    let requests: Vec<String> = bodies
        .iter()
        .map(|body| post("Transfer-Encoding: chunked", body))
        .collect();
    let requests: Vec<&str> = requests.iter().map(String::as_str).collect();
    refused(target, 400, &requests)
}

fn malformed_head(target: &Target) -> Outcome {
    // This one must be refused (RFC 9112, 5.1); the others a stranger may read in its own way.
    refused(target, 400, &["GET / HTTP/1.1\r\nHost : a\r\n\r\n"])?;
    if !target.keeps_contract() {
        return Ok(());
    }
    refused(
        target,
        400,
        &[
            "GET\r\n\r\n",
            "GET /\r\nHost: a\r\n\r\n",
            " GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\n Host: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nNo colon\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n: no name\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nNul: \0\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nBare: b\rc\r\n\r\n",
            "GE(T / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTX/1.1\r\nHost: a\r\n\r\n",
        ],
    )
}

fn lenient_or_not(target: &Target) -> Outcome {
    let server = target.serve(Http)?;
    for request in [
        "GET / HTTP/1.1\nHost: a\n\n",
        "GET / HTTP/1.1\r\nHost: a\r\nFolded: one\r\n two\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    ] {
        let tried = || {
            let mut dialogue = Dialogue::new(target, &server)?;
            dialogue.send(request)?;
            let answer = dialogue.answer(false)?;
            match answer.status {
                200 => dialogue.goes_on(),
                400 => dialogue.client.expect_end(),
                _ => failed("200 or 400", &answer),
            }
        };
        tried().map_err(|outcome| outcome.about(named(request)))?;
    }
    Ok(())
}

fn another_version(target: &Target) -> Outcome {
    refused(
        target,
        505,
        &[
            "GET / HTTP/2.0\r\nHost: a\r\n\r\n",
            "GET / HTTP/3.0\r\nHost: a\r\n\r\n",
            "GET / HTTP/0.9\r\nHost: a\r\n\r\n",
        ],
    )
}

/// A head of exactly `size` bytes.
fn head_of(size: usize) -> String {
    let (start, end) = ("GET / HTTP/1.1\r\nHost: a\r\nFill: ", "\r\n\r\n");
    format!("{start}{}{end}", "x".repeat(size - start.len() - end.len()))
}

/// 431 by the server contract; a stranger may have larger limits, and refuse with any 4xx (RFC 9110, 5.4).
fn too_large(target: &Target, request: &str) -> Outcome {
    if target.keeps_contract() {
        return refused(target, 431, &[request]);
    }
    let server = target.serve(Http)?;
    let mut dialogue = Dialogue::new(target, &server)?;
    dialogue.send(request)?;
    let answer = dialogue.answer(false)?;
    match answer.status {
        200 => dialogue.goes_on(),
        400..500 => dialogue.client.expect_end(),
        _ => failed("200 or a status of 4xx", &answer),
    }
}

fn large_head(target: &Target) -> Outcome {
    let server = target.serve(Http)?;
    let mut dialogue = Dialogue::new(target, &server)?;
    for _ in 0..5 {
        dialogue.send(&head_of(8_000))?;
        dialogue.expect_status(200)?;
    }
    too_large(target, &head_of(9_000))
}

fn many_fields(target: &Target) -> Outcome {
    let fields = "A: b\r\n".repeat(500);
    too_large(
        target,
        &format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"),
    )
}

/// Sends what may be refused before its end, and reads the answer all the same.
fn refused_before_the_end(target: &Target, statuses: &[u16], start: &str, on: &str) -> Outcome {
    let server = target.serve(Http)?;
    let mut client = server.connect()?;
    client.send(start.as_bytes())?;
    // No more than a server throws away after an error, so that there is no reset.
    client.send(on.repeat(500_000 / on.len()).as_bytes())?;
    let answer = client.answer(false)?;
    if !target.keeps_contract() && answer.status < 400 {
        return skipped("it answers before the end of a request");
    }
    ensure(
        is_refusal(target, statuses, &answer),
        format!("status {statuses:?}"),
        &answer,
    )?;
    client.expect_gone()?;
    ask_once(&server)
}

fn endless_head(target: &Target) -> Outcome {
    refused_before_the_end(
        target,
        &[431],
        "GET / HTTP/1.1\r\nHost: a\r\n",
        "Field: value\r\n",
    )
}

fn endless_target(target: &Target) -> Outcome {
    refused_before_the_end(target, &[431, 414], "GET /", "and/so/on/")
}

fn endless_trailers(target: &Target) -> Outcome {
    let start = post("Transfer-Encoding: chunked", "0\r\n");
    refused_before_the_end(target, &[400, 431], &start, "Field: value\r\n")
}

fn error_after_good(target: &Target) -> Outcome {
    let server = target.serve(Http)?;
    let mut dialogue = Dialogue::new(target, &server)?;
    dialogue.send(&format!("{GET}{GET}nonsense\r\n\r\n{GET}"))?;
    answers(target, &mut dialogue, &[true, true])?;
    dialogue.expect_status(400)?;
    dialogue.client.expect_end()
}

fn error_with_unread_input(target: &Target) -> Outcome {
    let server = target.serve(Http)?;
    for _ in 0..5 {
        let mut client = server.connect()?;
        client.send(format!("nonsense\r\n\r\n{}", "x".repeat(300_000)).as_bytes())?;
        client.expect_status(400)?;
        client.expect_end()?;
    }
    Ok(())
}

fn binary_rubbish(target: &Target) -> Outcome {
    let server = target.serve(Http)?;
    for seed in 0..20 {
        let mut client = server.connect()?;
        // The server may have closed before all is sent.
        let _ = client.send(&pattern(seed, 3_000));
        let _ = client.half_close();
        client.expect_gone()?;
    }
    ask_once(&server)
}

fn slowloris(target: &Target) -> Outcome {
    target.require_silence()?;
    let server = target.serve_many(Http, 51)?;
    let mut slow = server.connect_many(50)?;
    slow.iter_mut()
        .try_for_each(|client| client.send(b"GET / HTTP/1.1\r\nHost: "))?;
    for _ in 0..10 {
        ask_once(&server)?;
        slow.iter_mut().try_for_each(|client| client.send(b"a"))?;
    }
    slow.iter_mut().try_for_each(|client| {
        client.send(b"\r\n\r\n")?;
        client.expect_status(200).map(drop)
    })
}

fn many_clients(target: &Target) -> Outcome {
    let server = target.serve_many(Http, 32)?;
    in_parallel(server.connect_many(32)?, |_, client| {
        let mut dialogue = Dialogue::over(client, target, &server);
        (0..30).try_for_each(|_| dialogue.goes_on())
    })
}

fn small_buffer(target: &Target) -> Outcome {
    let server = target.start(Http).flags(&["--buffer-size", "1"])?.ready()?;
    let mut dialogue = Dialogue::new(target, &server)?;
    dialogue.send(&head_of(8_000))?;
    dialogue.expect_status(200)?;
    dialogue.goes_on()
}

fn term_in_mid_stream(target: &Target) -> Outcome {
    target.require_silence()?;
    let server = target.serve(Http)?;
    let mut client = server.connect()?;
    client.send(GET.as_bytes())?;
    client.expect_status(200)?;
    let group = server.group()?;
    group.signal(Signal::SIGSTOP);
    client.send(GET.repeat(10).as_bytes())?;
    client.wait_until_arrived()?;
    group.signal_leader(Signal::SIGTERM);
    group.signal(Signal::SIGCONT);
    (0..10).try_for_each(|_| client.expect_status(200).map(drop))?;
    client.expect_end()?;
    server.ended_cleanly("SIGTERM").map(drop)
}

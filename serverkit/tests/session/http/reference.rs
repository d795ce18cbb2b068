//! A second reading of RFC 9112, as plain as can be: the whole stream is there, it is cut at its
//! line ends, and no parser is used.

use std::fmt::Write;

use proptest::prelude::*;

/// What a stream of requests is answered with.
#[derive(Debug)]
pub struct Reading {
    pub answers: String,
    pub end: End,
}

#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// All requests were answered; more may come.
    Open,
    /// The last answer closes the connection.
    Closed,
    /// The last request is not whole.
    CutShort,
}

/// Why a request has no answer of its own.
enum Fault {
    Status(u16),
    CutShort,
}

use Fault::{CutShort, Status};

pub fn read(stream: &[u8]) -> Reading {
    // One char for each byte.
    let mut stream: String = stream.iter().copied().map(char::from).collect();
    let mut reading = Reading {
        answers: String::new(),
        end: End::Open,
    };
    loop {
        stream = stream.trim_start_matches("\r\n").to_owned();
        if stream.is_empty() {
            return reading;
        }
        let head_only = stream.starts_with("HEAD ");
        let (status, connection, rest) = match request(&stream) {
            Ok(answer) => answer,
            Err(Status(status)) => (status, "Connection: close\r\n", ""),
            Err(CutShort) => {
                reading.end = End::CutShort;
                return reading;
            }
        };
        let (reason, allow) = match status {
            200 => ("OK", ""),
            400 => ("Bad Request", ""),
            405 => ("Method Not Allowed", "Allow: GET, HEAD\r\n"),
            501 => ("Not Implemented", ""),
            505 => ("HTTP Version Not Supported", ""),
            _ => unreachable!("{status} is none of ours"),
        };
        let text = match status {
            200 => "Hello from server!\n".to_owned(),
            _ => format!("{reason}\n"),
        };
        let _ = write!(
            reading.answers,
            "HTTP/1.1 {status} {reason}\r\nContent-Type: text/plain\r\n{allow}\
             Content-Length: {}\r\n{connection}\r\n{}",
            text.len(),
            if head_only { "" } else { &text }
        );
        if connection.contains("close") {
            reading.end = End::Closed;
            return reading;
        }
        stream = rest.to_owned();
    }
}

/// Status, what is said of the connection, and what follows the request.
fn request(stream: &str) -> Result<(u16, &'static str, &str), Fault> {
    let (head, rest) = stream.split_once("\r\n\r\n").ok_or(CutShort)?;
    let mut lines = head.split("\r\n");
    let line = lines.next().unwrap_or_default();
    let words: Vec<&str> = line.split(' ').collect();
    let [method, target, version] = words[..] else {
        return Err(Status(400));
    };
    let visible = |c: char| c > ' ' && c != '\x7f';
    if method.is_empty() || !method.chars().all(is_token_char) {
        return Err(Status(400));
    }
    if target.is_empty() || !target.chars().all(visible) {
        return Err(Status(400));
    }
    let minor = match version {
        "HTTP/1.1" => 1,
        "HTTP/1.0" => 0,
        _ => {
            let digits: Vec<&str> = version
                .strip_prefix("HTTP/")
                .map_or(vec![], |v| v.split('.').collect());
            let known = digits.len() == 2
                && digits
                    .iter()
                    .all(|d| d.len() == 1 && d.chars().all(|c| c.is_ascii_digit()));
            return Err(Status(if known { 505 } else { 400 }));
        }
    };
    let mut fields = Vec::new();
    for line in lines {
        let (name, value) = line.split_once(':').ok_or(Status(400))?;
        if name.is_empty() || !name.chars().all(is_token_char) {
            return Err(Status(400));
        }
        if value.chars().any(|c| c.is_ascii_control() && c != '\t') {
            return Err(Status(400));
        }
        fields.push((name.to_lowercase(), value.trim_matches([' ', '\t'])));
    }
    let all = |wanted: &str| -> Vec<&str> {
        let named = fields.iter().filter(|(name, _)| name == wanted);
        named.map(|(_, value)| *value).collect()
    };
    let elements = |wanted: &str| -> Vec<String> {
        let all = all(wanted).join(",").to_lowercase();
        all.split(',')
            .map(|e| e.trim().to_owned())
            .filter(|e| !e.is_empty())
            .collect()
    };
    let hosts = all("host");
    if hosts.len() > 1 || hosts.is_empty() && minor == 1 {
        return Err(Status(400));
    }
    if hosts.iter().any(|host| host.contains([' ', '/', '@'])) {
        return Err(Status(400));
    }
    let good_target = match method {
        "OPTIONS" if target == "*" => true,
        _ => target.starts_with('/') || target.starts_with("http://a"),
    };
    if !good_target {
        return Err(Status(400));
    }
    let lengths = all("content-length").join(",");
    let lengths = match all("content-length").len() {
        0 => vec![],
        _ => lengths.split(',').map(str::trim).collect(),
    };
    let all_digits = |s: &&str| !s.is_empty() && s.chars().all(|c| c.is_ascii_digit());
    if !lengths.iter().all(all_digits) {
        return Err(Status(400));
    }
    let lengths: Vec<u64> = lengths
        .iter()
        .map(|s| s.parse())
        .collect::<Result<_, _>>()
        .map_err(|_| Status(400))?;
    if lengths.windows(2).any(|pair| pair[0] != pair[1]) {
        return Err(Status(400));
    }
    let rest = if all("transfer-encoding").is_empty() {
        let length = lengths.first().copied().unwrap_or(0) as usize;
        rest.get(length_in_chars(rest, length)?..).ok_or(CutShort)?
    } else {
        let codings = elements("transfer-encoding");
        let last = codings.len().wrapping_sub(1);
        if minor == 0 || !lengths.is_empty() || codings.is_empty() {
            return Err(Status(400));
        }
        if codings
            .iter()
            .position(|c| c == "chunked")
            .is_some_and(|at| at != last)
        {
            return Err(Status(400));
        }
        if codings.iter().any(|c| c != "chunked") {
            return Err(Status(501));
        }
        after_chunks(rest)?
    };
    let options = elements("connection");
    let has = |option: &str| options.iter().any(|o| o == option);
    let connection = match minor {
        _ if has("close") => "Connection: close\r\n",
        1 => "",
        _ if has("keep-alive") => "Connection: keep-alive\r\n",
        _ => "Connection: close\r\n",
    };
    let status = match method {
        "GET" | "HEAD" => 200,
        "POST" | "PUT" | "DELETE" | "PATCH" | "OPTIONS" => 405,
        _ => 501,
    };
    Ok((status, connection, rest))
}

fn is_token_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

/// Where the `n`th char of a text begins; a char of the text is a byte of the stream.
fn length_in_chars(text: &str, n: usize) -> Result<usize, Fault> {
    let mut starts = text.char_indices().map(|(at, _)| at).chain([text.len()]);
    starts.nth(n).ok_or(CutShort)
}

fn after_chunks(mut body: &str) -> Result<&str, Fault> {
    loop {
        let (line, rest) = body.split_once('\n').ok_or(CutShort)?;
        let line = line.strip_suffix('\r').ok_or(Status(400))?;
        if line.contains(|c: char| c.is_ascii_control()) {
            return Err(Status(400));
        }
        let size = match line.split_once(';') {
            Some((size, _)) => size.trim_end_matches(' '),
            None => line,
        };
        if size.is_empty() || !size.chars().all(|c| c.is_ascii_hexdigit()) {
            return Err(Status(400));
        }
        let size = usize::from_str_radix(size, 16).map_err(|_| Status(400))?;
        if size == 0 {
            body = rest;
            break;
        }
        let (_, after) = rest.split_at(length_in_chars(rest, size)?);
        body = after.strip_prefix("\r\n").ok_or(if after.len() < 2 {
            CutShort
        } else {
            Status(400)
        })?;
    }
    loop {
        let (line, rest) = body.split_once("\r\n").ok_or(CutShort)?;
        if line.is_empty() {
            return Ok(rest);
        }
        let (name, value) = line.split_once(':').ok_or(Status(400))?;
        if !name.chars().all(is_token_char) || value.contains(|c: char| c.is_ascii_control()) {
            return Err(Status(400));
        }
        body = rest;
    }
}

/// Streams of requests: most in order, some with one or more things wrong.
pub fn streams() -> impl Strategy<Value = Vec<u8>> {
    let stream = prop::collection::vec(requests(), 1..5).prop_map(|all| all.concat());
    (
        stream,
        prop::option::weighted(0.2, any::<prop::sample::Index>()),
    )
        .prop_map(|(stream, cut)| {
            let mut stream = stream.into_bytes();
            if let Some(cut) = cut {
                stream.truncate(cut.index(stream.len() + 1));
            }
            stream
        })
}

fn mostly(
    usual: &'static [&'static str],
    odd: &'static [&'static str],
) -> impl Strategy<Value = &'static str> {
    prop_oneof![
        12 => prop::sample::select(usual),
        1 => prop::sample::select(odd),
    ]
}

fn requests() -> impl Strategy<Value = String> {
    let line = (
        mostly(
            &["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"],
            &["TRACE", "BREW", "get", "", "A(B"],
        ),
        mostly(&["/", "/a?b", "http://a/"], &["*", "a", "", "/ /", "http:"]),
        mostly(
            &["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0"],
            &["HTTP/1.2", "HTTP/2.0", "http/1.1", "HTTP/1.10", ""],
        ),
    );
    let host = mostly(
        &["Host: a\r\n"],
        &["", "Host: a\r\nHost: a\r\n", "Host: a b\r\n", "host:\r\n"],
    );
    let fields = prop::collection::vec(
        mostly(
            &[
                "X: y\r\n",
                "A:\t b \t\r\n",
                "Empty:\r\n",
                "Connection: keep-alive\r\n",
                "Accept: */*\r\n",
                "Expect: 100-continue\r\n",
                "X-Latin: \u{fc}\r\n",
            ],
            &[
                "Connection: x, CLOSE\r\n",
                "Connection: close\r\n",
                " folded\r\n",
                "no colon\r\n",
                "A : b\r\n",
                "A: b\nC: d\r\n",
                "A: \u{1}\r\n",
                ": b\r\n",
                "A: b\rc\r\n",
            ],
        ),
        0..4,
    );
    let body = mostly_body();
    (line, host, fields, body).prop_map(
        |((method, target, version), host, fields, (framing, body))| {
            format!(
                "{method} {target} {version}\r\n{host}{framing}{}\r\n{body}",
                fields.concat()
            )
        },
    )
}

/// Framing fields with a body that fits them, or does not.
fn mostly_body() -> impl Strategy<Value = (String, String)> {
    let text = "[a-z\r\n:0-9]{0,40}";
    let chunks = prop::collection::vec(
        (
            "[a-z\r\n]{1,20}",
            mostly(&["", ";a", " ;a=\"b\""], &[" ", "\n", ";\n", "g"]),
            mostly(&["\r\n"], &["", "\n", "x\r\n"]),
        ),
        0..4,
    );
    let chunked = (
        chunks,
        mostly(&["0", "000"], &["", "-0", "0x0", "fffffffffffffffff"]),
        mostly(
            &["\r\n", "T: u\r\n\r\n"],
            &["t\r\n\r\n", " T: u\r\n\r\n", "T: u\n\r\n"],
        ),
    )
        .prop_map(|(chunks, last, trailers)| {
            let mut body = String::new();
            for (data, extension, end) in chunks {
                let _ = write!(body, "{:x}{extension}\r\n{data}{end}", data.len());
            }
            format!("{body}{last}\r\n{trailers}")
        });
    let lengths = mostly(
        &[
            "Content-Length: N\r\n",
            "content-length:N\r\n",
            "Content-Length: 0N\r\n",
        ],
        &[
            "Content-Length: +N\r\n",
            "Content-Length: -N\r\n",
            "Content-Length: N, N\r\n",
            "Content-Length: N\r\nContent-Length: N\r\n",
            "Content-Length: N, 7\r\n",
            "Content-Length: N\r\nTransfer-Encoding: chunked\r\n",
            "Content-Length: N,\r\n",
            "Content-Length: 99999999999999999999\r\n",
            "Content-Length: Nx\r\n",
            "",
        ],
    );
    let codings = mostly(
        &[
            "Transfer-Encoding: chunked\r\n",
            "transfer-encoding:CHUNKED\r\n",
        ],
        &[
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: chunked, gzip\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: gzip\r\n",
            "Transfer-Encoding:\r\n",
            "Transfer-Encoding : chunked\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
            "",
        ],
    );
    prop_oneof![
        Just((String::new(), String::new())),
        (lengths, text)
            .prop_map(|(fields, body)| (fields.replace('N', &body.len().to_string()), body)),
        (codings, chunked).prop_map(|(fields, body)| (fields.to_owned(), body)),
    ]
}

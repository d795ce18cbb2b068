//! The requests of the mode `http`, and which answers are right.

use std::ops::RangeInclusive;
use std::str::FromStr;

use anyhow::{Context, anyhow, bail, ensure};
use serde::Deserialize;

use super::address::request_target;
use super::target::Target;

/// What is asked of an HTTP server.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpLoad {
    /// At least one; the seed draws among them.
    pub requests: Vec<HttpRequest>,
    /// Keep the connection for the next request; otherwise one connection for each.
    pub keep_alive: bool,
    /// Which answers are right.
    pub expect: Expect,
}

impl Default for HttpLoad {
    /// `GET /`
    fn default() -> Self {
        Self {
            requests: vec![HttpRequest::default()],
            keep_alive: true,
            expect: Expect::default(),
        }
    }
}

/// A request.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpRequest {
    /// Such as `GET`.
    pub method: String,
    /// The request target, such as `/index.html?a=b`.
    pub path: String,
    /// Further header fields, `Name: value`.
    pub headers: Vec<String>,
    /// The content.
    pub body: Vec<u8>,
    /// How often it is sent for each time that a request of weight 1 is sent.
    pub weight: u32,
}

impl Default for HttpRequest {
    /// `GET /`
    fn default() -> Self {
        Self {
            method: "GET".to_owned(),
            path: "/".to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
            weight: 1,
        }
    }
}

impl HttpRequest {
    /// Whether it has a header field of this name.
    pub fn has(&self, name: &str) -> bool {
        self.headers.iter().any(|header| {
            header
                .split_once(':')
                .is_some_and(|(own, _)| own.trim().eq_ignore_ascii_case(name))
        })
    }
}

/// Which answers are right.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Expect {
    /// The status codes.
    pub status: Statuses,
    /// The SHA-256 of the body.
    pub sha256: Option<[u8; 32]>,
    /// The bytes of the body.
    pub bytes: Option<u64>,
}

/// Status codes, such as `200-299,304`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statuses(Vec<RangeInclusive<u16>>);

impl Default for Statuses {
    /// 200 to 399
    fn default() -> Self {
        Self(vec![200..=399])
    }
}

impl Statuses {
    /// Whether this one is among them.
    pub fn contain(&self, status: u16) -> bool {
        self.0.iter().any(|range| range.contains(&status))
    }
}

impl FromStr for Statuses {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let code = |text: &str| match text.trim().parse() {
            // Interim answers are never the last.
            Ok(code @ 200..=999) => Ok(code),
            _ => Err(format!("{text:?} is no status code from 200 to 999")),
        };
        let range = |part: &str| match part.split_once('-') {
            None => code(part).map(|code| code..=code),
            Some((first, last)) => {
                let range = code(first)?..=code(last)?;
                if range.is_empty() {
                    return Err(format!("{part:?} ends before it begins"));
                }
                Ok(range)
            }
        };
        text.split(',')
            .map(range)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

/// A method's name (RFC 9110, 5.6.2 and 9.1).
///
/// # Errors
/// A line that says what is wrong with it.
pub fn parse_method(text: &str) -> Result<String, String> {
    match text {
        "CONNECT" => Err("CONNECT opens a tunnel, in which no HTTP is spoken".to_owned()),
        _ if !text.is_empty() && text.bytes().all(is_token) => Ok(text.to_owned()),
        _ => Err("is no name of a method, such as GET".to_owned()),
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// A header field, `Name: value`.
///
/// # Errors
/// A line that says what is wrong with it.
pub fn parse_header(text: &str) -> Result<String, String> {
    match text.split_once(':') {
        Some((name, value))
            if !name.is_empty()
                && name.bytes().all(is_token)
                && !value.bytes().any(|b| b.is_ascii_control() && b != b'\t') =>
        {
            Ok(text.into())
        }
        _ => Err("must be `Name: value`".into()),
    }
}

/// A request in a file, as a JSON object.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    method: Option<String>,
    url: String,
    #[serde(default)]
    headers: serde_json::Map<String, serde_json::Value>,
    #[serde(default)]
    body: String,
    #[serde(default = "one")]
    weight: u32,
}

fn one() -> u32 {
    1
}

/// Reads requests, one a line: `METHOD URL`, with a weight behind it if need be, or a JSON object with `url` and, if
/// need be, `method`, `headers`, `body` and `weight`. Empty lines and those that begin with `#` are skipped.
///
/// # Errors
/// The first line that is wrong, by its number.
pub fn parse_requests(text: &str, server: &Target) -> anyhow::Result<Vec<HttpRequest>> {
    let mut requests = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let request = if line.starts_with('{') {
            from_json(line, server)
        } else {
            from_words(line, server)
        };
        requests.push(request.with_context(|| format!("line {}", number + 1))?);
    }
    ensure!(!requests.is_empty(), "there is no request in it");
    Ok(requests)
}

fn from_words(line: &str, server: &Target) -> anyhow::Result<HttpRequest> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let (method, url, weight) = match words.as_slice() {
        [method, url] => (*method, *url, "1"),
        [method, url, weight] => (*method, *url, *weight),
        _ => bail!("expected METHOD URL, METHOD URL WEIGHT or a JSON object"),
    };
    Ok(HttpRequest {
        method: parse_method(method).map_err(|error| anyhow!("{method:?} {error}"))?,
        path: request_target(url, server).map_err(|error| anyhow!("{url:?}: {error}"))?,
        weight: some_weight(weight.parse().ok())?,
        ..HttpRequest::default()
    })
}

fn from_json(line: &str, server: &Target) -> anyhow::Result<HttpRequest> {
    let line: Line = serde_json::from_str(line).map_err(|error| {
        // Each object is one line of the file, whose number is in the message already.
        let text = error.to_string();
        anyhow!("{}", text.replace(" at line 1 column ", " at column "))
    })?;
    let method = match (line.method, line.body.as_str()) {
        (Some(method), _) => {
            parse_method(&method).map_err(|error| anyhow!("{method:?} {error}"))?
        }
        (None, "") => "GET".to_owned(),
        (None, _) => "POST".to_owned(),
    };
    let mut headers = Vec::new();
    for (name, value) in &line.headers {
        let value = value
            .as_str()
            .with_context(|| format!("the value of {name:?} must be a text"))?;
        let header = parse_header(&format!("{name}: {value}"));
        headers.push(header.map_err(|error| anyhow!("header {name:?} {error}"))?);
    }
    Ok(HttpRequest {
        method,
        path: request_target(&line.url, server)
            .map_err(|error| anyhow!("{:?}: {error}", line.url))?,
        headers,
        body: line.body.into_bytes(),
        weight: some_weight(Some(line.weight))?,
    })
}

fn some_weight(weight: Option<u32>) -> anyhow::Result<u32> {
    weight
        .filter(|weight| *weight > 0)
        .context("a weight is a whole number from 1 to 4294967295")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::address::parse_address;

    fn server() -> Target {
        parse_address("http://127.0.0.1:8080").unwrap().target
    }

    #[test]
    fn statuses_are_read() {
        let statuses: Statuses = "200-299, 304".parse().unwrap();
        for (status, right) in [
            (199, false),
            (200, true),
            (299, true),
            (300, false),
            (304, true),
        ] {
            assert_eq!(statuses.contain(status), right, "{status}");
        }
        for wrong in ["", "200-", "ok", "100", "299-200", "1000", "200,,304"] {
            assert!(wrong.parse::<Statuses>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn requests_are_read_from_lines() {
        let text = r#"
            # two forms
            GET /a
            DELETE http://127.0.0.1:8080/b?c#d 3
            {"url": "/e", "headers": {"X-A": "b"}, "body": "f", "weight": 2}
            {"method": "HEAD", "url": "/g"}
        "#;
        let get = |path: &str| HttpRequest {
            path: path.to_owned(),
            ..HttpRequest::default()
        };
        assert_eq!(
            parse_requests(text, &server()).unwrap(),
            [
                get("/a"),
                HttpRequest {
                    method: "DELETE".to_owned(),
                    weight: 3,
                    ..get("/b?c")
                },
                HttpRequest {
                    method: "POST".to_owned(),
                    headers: vec!["X-A: b".to_owned()],
                    body: b"f".to_vec(),
                    weight: 2,
                    ..get("/e")
                },
                HttpRequest {
                    method: "HEAD".to_owned(),
                    ..get("/g")
                },
            ]
        );
    }

    #[test]
    fn a_broken_line_is_named() {
        for (text, told) in [
            ("", "no request"),
            ("# nothing", "no request"),
            ("GET /\nGET", "line 2: expected METHOD URL"),
            ("GET / 0", "line 1: a weight"),
            ("GET / 1 2", "line 1: expected METHOD URL"),
            ("GET a", "line 1: \"a\": "),
            ("G(T /", "line 1: \"G(T\" is no name of a method"),
            ("CONNECT /", "line 1: \"CONNECT\" CONNECT opens a tunnel"),
            ("GET http://127.0.0.1:8081/", "another server"),
            ("GET https://127.0.0.1:8080/", "another server"),
            ("GET http:///a", "no host"),
            ("{\"url\": \"/\"", "line 1: EOF"),
            ("{}", "missing field `url`"),
            ("{\"url\": \"/\", \"header\": {}}", "unknown field `header`"),
            (
                "{\"url\": \"/\", \"headers\": {\"A\": 1}}",
                "\"A\" must be a text",
            ),
            (
                "{\"url\": \"/\", \"headers\": {\"A\": \"b\\nC: d\"}}",
                "must be `Name: value`",
            ),
            ("{\"url\": \"/\", \"weight\": 0}", "a weight"),
        ] {
            let error = format!("{:#}", parse_requests(text, &server()).unwrap_err());
            assert!(
                error.contains(told) && !error.contains('\n'),
                "{text}: {error}"
            );
        }
    }
}

//! A second reading of RFC 9112, as plain as can be: the whole stream is there, it is cut at its
//! line ends, and no parser is used.

use std::fmt::Write;

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

/// Optional whitespace; other characters that Unicode calls so are not.
const BLANKS: [char; 2] = [' ', '\t'];
/// The most fields of a head, and of a trailer section.
const MOST_FIELDS: usize = 64;
/// The most empty lines before a request.
const MOST_EMPTY_LINES: usize = 16;
/// The longest line before a chunk, with its end.
const LONGEST_LINE: usize = 1024;

pub fn read(stream: &[u8]) -> Reading {
    // One char for each byte.
    let mut stream: String = stream.iter().copied().map(char::from).collect();
    let mut reading = Reading {
        answers: String::new(),
        end: End::Open,
    };
    loop {
        let whole = stream.len();
        stream = stream.trim_start_matches("\r\n").to_owned();
        if (whole - stream.len()) / 2 > MOST_EMPTY_LINES {
            "rubbish\r\n\r\n".clone_into(&mut stream);
        }
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
            431 => ("Request Header Fields Too Large", ""),
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
    if method.is_empty() || !method.chars().all(is_token_char) {
        return Err(Status(400));
    }
    let bytes: Vec<u8> = target.chars().map(|c| c as u8).collect();
    let is_text = std::str::from_utf8(&bytes).is_ok();
    if target.is_empty() || !is_text || target.chars().any(|c| c.is_ascii_control()) {
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
            if known && digits[0] == "1" {
                1
            } else {
                return Err(Status(if known { 505 } else { 400 }));
            }
        }
    };
    if !target.is_ascii() || target.contains('#') {
        return Err(Status(400));
    }
    let mut fields = Vec::new();
    for line in lines {
        let (name, value) = field(line, fields.len())?;
        fields.push((name.to_lowercase(), value.trim_matches(BLANKS)));
    }
    let all = |wanted: &str| -> Vec<&str> {
        let named = fields.iter().filter(|(name, _)| name == wanted);
        named.map(|(_, value)| *value).collect()
    };
    let elements = |wanted: &str| -> Vec<String> {
        let all = all(wanted).join(",").to_lowercase();
        all.split(',')
            .map(|e| e.trim_matches(BLANKS).to_owned())
            .filter(|e| !e.is_empty())
            .collect()
    };
    let hosts = all("host");
    if hosts.len() > 1 || hosts.is_empty() && minor == 1 {
        return Err(Status(400));
    }
    if !hosts.iter().all(|host| is_authority(host)) {
        return Err(Status(400));
    }
    let good_target = match method {
        "OPTIONS" if target == "*" => true,
        "CONNECT" => is_authority(target),
        _ => target.starts_with('/') || is_absolute(target),
    };
    if !good_target {
        return Err(Status(400));
    }
    let lengths = all("content-length").join(",");
    let lengths = match all("content-length").len() {
        0 => vec![],
        _ => lengths.split(',').map(|s| s.trim_matches(BLANKS)).collect(),
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

/// Name and value of a field line after this many others.
fn field(line: &str, before: usize) -> Result<(&str, &str), Fault> {
    let (name, value) = line.split_once(':').ok_or(Status(400))?;
    if name.is_empty() || !name.chars().all(is_token_char) {
        return Err(Status(400));
    }
    if value.chars().any(|c| c.is_ascii_control() && c != '\t') {
        return Err(Status(400));
    }
    if before == MOST_FIELDS {
        return Err(Status(431));
    }
    Ok((name, value))
}

/// Host and port (RFC 3986, 3.2), or nothing; no user.
fn is_authority(text: &str) -> bool {
    let in_name = |c: char| c.is_ascii_alphanumeric() || "-._~%!$&'()*+,;=".contains(c);
    let port = match text.strip_prefix('[') {
        Some(text) => match text.split_once(']') {
            Some((address, port)) if !address.is_empty() => address
                .chars()
                .all(|c| in_name(c) || c == ':')
                .then_some(port),
            _ => None,
        },
        None => Some(text.trim_start_matches(in_name)),
    };
    port.is_some_and(|port| {
        port.is_empty()
            || port
                .strip_prefix(':')
                .is_some_and(|port| port.chars().all(|c| c.is_ascii_digit()))
    })
}

/// A URI with a scheme and a host (RFC 3986, 3).
fn is_absolute(target: &str) -> bool {
    let Some((scheme, rest)) = target.split_once("://") else {
        return false;
    };
    let authority = match rest.find(['/', '?']) {
        Some(end) => &rest[..end],
        None => rest,
    };
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
        && !authority.is_empty()
        && !authority.starts_with(':')
        && is_authority(authority)
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
        let (line, rest) = match body.split_once('\n') {
            Some((line, _)) if line.chars().count() >= LONGEST_LINE => return Err(Status(400)),
            None if body.chars().count() >= LONGEST_LINE => return Err(Status(400)),
            split => split.ok_or(CutShort)?,
        };
        let line = line.strip_suffix('\r').ok_or(Status(400))?;
        if line.contains(|c: char| c.is_ascii_control() && c != '\t') {
            return Err(Status(400));
        }
        let size = match line.split_once(';') {
            Some((size, _)) => size.trim_end_matches(BLANKS),
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
    if let Some(rest) = body.strip_prefix("\r\n") {
        return Ok(rest);
    }
    let (trailers, rest) = body.split_once("\r\n\r\n").ok_or(CutShort)?;
    for (before, line) in trailers.split("\r\n").enumerate() {
        field(line, before)?;
    }
    Ok(rest)
}

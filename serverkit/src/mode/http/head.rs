//! The head of a request: what it asks, how long its body is, and whether the connection stays.

use std::mem::MaybeUninit;

use httparse::{Error, Request};

use super::answer::{Answer, Persistence, Status};
use super::body::Body;
use crate::buffer::Buffer;

/// The longest head, in bytes, and the longest trailer section.
pub const HEAD_LIMIT: usize = 8 * 1024;

/// The most fields of a head, and of a trailer section.
pub const FIELD_LIMIT: usize = 64;

/// What stands at the start of the input.
#[derive(Debug, PartialEq, Eq)]
pub enum Head {
    /// The first part of a head.
    Partial,
    Whole {
        /// In bytes.
        length: usize,
        body: Body,
        /// The client waits for [`super::answer::CONTINUE`] before it sends the body.
        expects_continue: bool,
        /// The answer when the body has come.
        answer: Answer,
    },
    /// No head that can be served; nothing after it can be understood.
    Refused(Answer),
}

/// Passes over empty lines before a request line (RFC 9112, 2.2).
pub fn skip_empty_lines(input: &mut Buffer) {
    while input.data().starts_with(b"\r\n") {
        input.consumed(2);
    }
}

/// Reads a head, as soon as enough of it has come for a verdict.
///
/// The verdict does not depend on how much more has come.
pub fn read(input: &[u8]) -> Head {
    let input = &input[..input.len().min(HEAD_LIMIT)];
    let mut fields = [const { MaybeUninit::uninit() }; FIELD_LIMIT];
    let mut request = Request::new(&mut []);
    let parsed = match input {
        // httparse would pass over it, as over an empty line, and wait for a request.
        [b'\n', ..] => Err(Error::NewLine),
        _ => request.parse_with_uninit_headers(input, &mut fields),
    };
    let verdict = match parsed {
        Ok(httparse::Status::Complete(length)) if has_bare_newline(&input[..length]) => {
            Err(Status::BadRequest)
        }
        Ok(httparse::Status::Complete(length)) => understand(&request, length),
        Ok(httparse::Status::Partial) => Ok(Head::Partial),
        Err(Error::TooManyHeaders) => Err(Status::FieldsTooLarge),
        Err(Error::Version) => {
            is_other_version(&request, input).map_or(Ok(Head::Partial), |other| {
                Err(if other {
                    Status::VersionNotSupported
                } else {
                    Status::BadRequest
                })
            })
        }
        Err(_) => Err(Status::BadRequest),
    };
    match verdict {
        Ok(Head::Partial) if input.len() == HEAD_LIMIT => Err(Status::FieldsTooLarge),
        verdict => verdict,
    }
    .unwrap_or_else(|status| {
        Head::Refused(Answer {
            status,
            persistence: Persistence::Closes,
            head_only: request.method == Some("HEAD"),
        })
    })
}

/// A line ends without CR. httparse lets it pass; a proxy in front may see one line where it
/// sees two.
pub fn has_bare_newline(lines: &[u8]) -> bool {
    let is_bare = |(before, byte): (&u8, &u8)| *before != b'\r' && *byte == b'\n';
    // `fold` goes to the end in any case, so that the compiler takes many bytes at a time.
    lines.first() == Some(&b'\n')
        || lines
            .iter()
            .zip(lines.iter().skip(1))
            .fold(false, |found, pair| found | is_bare(pair))
}

/// Whether a request line that httparse refused for its version has a well-formed one; `None`
/// while that is open. Only 1.0 and 1.1 are served.
fn is_other_version(request: &Request, input: &[u8]) -> Option<bool> {
    let before = request.method?.len() + 1 + request.path?.len() + 1;
    let version = input.get(before..)?;
    for (i, expected) in b"HTTP/0.0\r\n".iter().enumerate() {
        let byte = version.get(i)?;
        if byte != expected && !(*expected == b'0' && byte.is_ascii_digit()) {
            return Some(false);
        }
    }
    Some(true)
}

fn understand(request: &Request, length: usize) -> Result<Head, Status> {
    let (Some(method), Some(target), Some(version)) =
        (request.method, request.path, request.version)
    else {
        return Err(Status::BadRequest);
    };
    if !is_target(method, target) {
        return Err(Status::BadRequest);
    }
    let mut hosts = 0;
    let mut content_length = None;
    let mut codings: Option<Codings> = None;
    let mut close = false;
    let mut keep_alive = false;
    let mut expects_continue = false;
    for field in request.headers.iter() {
        let is = |name| field.name.eq_ignore_ascii_case(name);
        if is("host") {
            hosts += 1;
            if hosts > 1 || !is_host(field.value) {
                return Err(Status::BadRequest);
            }
        } else if is("content-length") {
            for part in field.value.split(|&byte| byte == b',') {
                let bytes = decimal(part.trim_ascii()).ok_or(Status::BadRequest)?;
                // Repeated and the same is as good as once (RFC 9110, 8.6).
                if content_length.is_some_and(|before| before != bytes) {
                    return Err(Status::BadRequest);
                }
                content_length = Some(bytes);
            }
        } else if is("transfer-encoding") {
            codings.get_or_insert_default().add(field.value);
        } else if is("connection") {
            for option in list(field.value) {
                close |= option.eq_ignore_ascii_case(b"close");
                keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
            }
        } else if is("expect") {
            // Other expectations may be ignored (RFC 9110, 10.1.1).
            expects_continue |= list(field.value).any(|e| e.eq_ignore_ascii_case(b"100-continue"));
        }
    }
    let is_1_0 = version == 0;
    if hosts == 0 && !is_1_0 {
        return Err(Status::BadRequest);
    }
    let body = match codings {
        // HTTP/1.0 has no transfer codings, and two framings are one too many.
        Some(_) if is_1_0 || content_length.is_some() => return Err(Status::BadRequest),
        Some(codings) => codings.body()?,
        None => Body::of_length(content_length.unwrap_or(0)),
    };
    Ok(Head::Whole {
        length,
        body,
        expects_continue: expects_continue && !is_1_0,
        answer: Answer {
            status: match method {
                "GET" | "HEAD" => Status::Ok,
                "POST" | "PUT" | "DELETE" | "PATCH" | "OPTIONS" => Status::MethodNotAllowed,
                _ => Status::NotImplemented,
            },
            persistence: match (close, is_1_0, keep_alive) {
                (false, false, _) => Persistence::KeepsOpen,
                (false, true, true) => Persistence::KeepsAlive,
                _ => Persistence::Closes,
            },
            head_only: method == "HEAD",
        },
    })
}

/// The transfer codings of a request, from one or more fields.
#[derive(Debug, Default)]
struct Codings {
    chunked: bool,
    chunked_is_not_last: bool,
    unknown: bool,
}

impl Codings {
    fn add(&mut self, value: &[u8]) {
        for coding in list(value) {
            self.chunked_is_not_last |= self.chunked;
            if coding.eq_ignore_ascii_case(b"chunked") {
                self.chunked = true;
            } else {
                self.unknown = true;
            }
        }
    }

    fn body(&self) -> Result<Body, Status> {
        if self.chunked_is_not_last {
            Err(Status::BadRequest)
        } else if self.unknown {
            Err(Status::NotImplemented)
        } else if self.chunked {
            Ok(Body::chunked())
        } else {
            Err(Status::BadRequest)
        }
    }
}

/// The elements of a comma-separated list; empty ones do not count (RFC 9110, 5.6.1).
fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|&byte| byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|element| !element.is_empty())
}

/// A number of digits and nothing else; `str::parse` would take a sign.
fn decimal(digits: &[u8]) -> Option<u64> {
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// One of the four forms of a request target (RFC 9112, 3.2), where the method allows it.
fn is_target(method: &str, target: &str) -> bool {
    if method == "CONNECT" {
        return is_host(target.as_bytes());
    }
    target.starts_with('/') || target == "*" && method == "OPTIONS" || is_absolute(target)
}

/// A URI with a scheme and a host, such as a proxy is asked for.
fn is_absolute(target: &str) -> bool {
    let Some((scheme, rest)) = target.split_once("://") else {
        return false;
    };
    let authority = rest.split(['/', '?']).next().unwrap_or(rest).as_bytes();
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
        && !matches!(authority.first(), None | Some(b':'))
        && is_host(authority)
}

/// A host with or without a port, or nothing (RFC 9112, 3.2 and RFC 3986, 3.2.2).
fn is_host(value: &[u8]) -> bool {
    let in_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(byte);
    let end = match value {
        [b'[', address @ ..] => address
            .iter()
            .position(|byte| !in_name(byte) && *byte != b':')
            .filter(|&end| end > 0 && address[end] == b']')
            .map(|end| end + 2),
        name => Some(
            name.iter()
                .position(|byte| !in_name(byte))
                .unwrap_or(name.len()),
        ),
    };
    match end.map(|end| &value[end..]) {
        None => false,
        Some([]) => true,
        Some([colon, port @ ..]) => *colon == b':' && port.iter().all(u8::is_ascii_digit),
    }
}

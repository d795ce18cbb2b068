//! The head of a request: what it asks, how long its body is, and whether the connection stays.

use std::mem::MaybeUninit;

use httparse::{Error, Request};

use super::answer::{Answer, Persistence, Status};
use super::body::Body;
use super::lines::{FIELD_LIMIT, HEAD_LIMIT, has_bare_newline};
use crate::buffer::Buffer;

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

/// The most empty lines before a request line.
pub const EMPTY_LINE_LIMIT: u32 = 16;

/// Passes over empty lines before a request line (RFC 9112, 2.2); returns how many.
pub fn skip_empty_lines(input: &mut Buffer) -> u32 {
    let mut lines = 0;
    while input.data().starts_with(b"\r\n") {
        input.consumed(2);
        lines += 1;
    }
    lines
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
        Err(Error::Version) => match version(&request, input) {
            Version::Partial => Ok(Head::Partial),
            Version::Malformed => Err(Status::BadRequest),
            Version::Other => Err(Status::VersionNotSupported),
            Version::Later { minor_at } => {
                let mut as_1_1 = input.to_vec();
                as_1_1[minor_at] = b'1';
                return read(&as_1_1);
            }
        },
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

/// The version in a request line that httparse refused for it: httparse knows 1.0 and 1.1.
enum Version {
    Partial,
    Malformed,
    /// 1.2 or later. A recipient takes it for the highest that it knows (RFC 9110, 2.5).
    Later {
        minor_at: usize,
    },
    Other,
}

fn version(request: &Request, input: &[u8]) -> Version {
    let (Some(method), Some(target)) = (request.method, request.path) else {
        return Version::Partial;
    };
    let start = method.len() + 1 + target.len() + 1;
    let version = input.get(start..).unwrap_or_default();
    for (i, expected) in b"HTTP/0.0\r\n".iter().enumerate() {
        let Some(byte) = version.get(i) else {
            return Version::Partial;
        };
        if byte != expected && !(*expected == b'0' && byte.is_ascii_digit()) {
            return Version::Malformed;
        }
    }
    if version[5] == b'1' {
        Version::Later {
            minor_at: start + 7,
        }
    } else {
        Version::Other
    }
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
                // Repeated equal values count as one (RFC 9110, 8.6).
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
        // HTTP/1.0 has no transfer codings, and a request may have only one framing.
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

/// One of the four forms of a request target (RFC 9112, 3.2), where the method allows it. None has
/// a fragment, and a URI is ASCII (RFC 3986).
fn is_target(method: &str, target: &str) -> bool {
    if !target.is_ascii() || target.contains('#') {
        return false;
    }
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

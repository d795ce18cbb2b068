//! The body of a request: its end is found, and nothing of it is kept.

use httparse::{EMPTY_HEADER, Error};

use super::answer::Status;
use super::lines::{FIELD_LIMIT, HEAD_LIMIT, has_bare_newline};
use crate::buffer::Buffer;

/// The longest line before a chunk, in bytes.
const LINE_LIMIT: usize = 1024;

/// The most bytes of chunk extensions in one body. Nobody needs any, and each chunk may have some.
const EXTENSION_LIMIT: usize = 8 * 1024;

/// What is still to come of a body.
#[derive(Debug, PartialEq, Eq)]
pub enum Body {
    /// This many bytes.
    Length(u64),
    Chunked {
        expected: Expected,
        /// Bytes of chunk extensions so far.
        extensions: usize,
    },
}

/// What comes next in a chunked body.
#[derive(Debug, PartialEq, Eq)]
pub enum Expected {
    SizeLine,
    /// This many bytes of the chunk.
    Data(u64),
    /// The end of the line after the chunk.
    DataEnd,
    Trailers,
}

impl Body {
    /// A body of `length` bytes, which may be none.
    pub fn of_length(length: u64) -> Self {
        Self::Length(length)
    }

    /// A body in chunks.
    pub fn chunked() -> Self {
        Self::Chunked {
            expected: Expected::SizeLine,
            extensions: 0,
        }
    }

    /// Not one byte is to come.
    pub fn is_empty(&self) -> bool {
        *self == Self::Length(0)
    }

    /// Throws away what has come of it; true at its end.
    pub fn discard(&mut self, input: &mut Buffer) -> Result<bool, Status> {
        let (expected, extensions) = match self {
            Self::Length(left) => return Ok(discard(left, input)),
            Self::Chunked {
                expected,
                extensions,
            } => (expected, extensions),
        };
        loop {
            match expected {
                Expected::SizeLine => {
                    let Some((size, length, extension)) = size_line(input.data())? else {
                        return Ok(false);
                    };
                    *extensions += extension;
                    if *extensions > EXTENSION_LIMIT {
                        return Err(Status::BadRequest);
                    }
                    input.consumed(length);
                    *expected = match size {
                        0 => Expected::Trailers,
                        size => Expected::Data(size),
                    };
                }
                Expected::Data(left) => {
                    if !discard(left, input) {
                        return Ok(false);
                    }
                    *expected = Expected::DataEnd;
                }
                Expected::DataEnd => match input.data() {
                    [] | [b'\r'] => return Ok(false),
                    [b'\r', b'\n', ..] => {
                        input.consumed(2);
                        *expected = Expected::SizeLine;
                    }
                    _ => return Err(Status::BadRequest),
                },
                Expected::Trailers => {
                    let Some(length) = trailers(input.data())? else {
                        return Ok(false);
                    };
                    input.consumed(length);
                    return Ok(true);
                }
            }
        }
    }
}

/// Throws away what has come of `left` bytes; true when that is all.
fn discard(left: &mut u64, input: &mut Buffer) -> bool {
    let n = usize::try_from(*left).map_or(input.len(), |left| left.min(input.len()));
    input.consumed(n);
    *left -= n as u64;
    *left == 0
}

/// The size of the next chunk, the length of its line and how much of that is extension; `None`
/// while the line is not whole.
///
/// `httparse::parse_chunk_size` lets pass a line without a digit and a bare LF in an extension.
fn size_line(input: &[u8]) -> Result<Option<(u64, usize, usize)>, Status> {
    let input = &input[..input.len().min(LINE_LIMIT)];
    let Some(end) = input.iter().position(|&byte| byte == b'\n') else {
        return match input.len() {
            LINE_LIMIT => Err(Status::BadRequest),
            _ => Ok(None),
        };
    };
    let line = input[..end].strip_suffix(b"\r").ok_or(Status::BadRequest)?;
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit());
    let (digits, extension) = line.split_at(digits.count());
    let size = std::str::from_utf8(digits)
        .ok()
        .and_then(|digits| u64::from_str_radix(digits, 16).ok())
        .ok_or(Status::BadRequest)?;
    let is_text = |byte: &u8| *byte == b'\t' || !byte.is_ascii_control();
    match extension.trim_ascii_start() {
        [] if extension.is_empty() => {}
        [b';', ..] if extension.iter().all(is_text) => {}
        _ => return Err(Status::BadRequest),
    }
    Ok(Some((size, end + 1, extension.len())))
}

/// The length of the trailer section with the empty line that ends it; `None` while it is not
/// whole.
fn trailers(input: &[u8]) -> Result<Option<usize>, Status> {
    let input = &input[..input.len().min(HEAD_LIMIT)];
    match httparse::parse_headers(input, &mut [EMPTY_HEADER; FIELD_LIMIT]) {
        Ok(httparse::Status::Complete((length, _))) if has_bare_newline(&input[..length]) => {
            Err(Status::BadRequest)
        }
        Ok(httparse::Status::Complete((length, _))) => Ok(Some(length)),
        Ok(httparse::Status::Partial) if input.len() < HEAD_LIMIT => Ok(None),
        Ok(httparse::Status::Partial) | Err(Error::TooManyHeaders) => Err(Status::FieldsTooLarge),
        Err(_) => Err(Status::BadRequest),
    }
}

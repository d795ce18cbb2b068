//! The head of an answer: what it says of the body and of the connection.

use std::mem::MaybeUninit;

use crate::protocol::error::ErrorKind;

/// A head is at most this long, bytes.
pub const MAX_HEAD: usize = 256 * 1024;
/// A head has at most this many fields.
pub const MAX_FIELDS: usize = 500;

/// What is needed of a head.
#[derive(Debug)]
pub struct Head {
    /// Its bytes, with the empty line.
    pub length: usize,
    /// The status code.
    pub status: u16,
    /// Where the body ends, if the request and the status allow a body.
    pub framing: Framing,
    /// The server closes the connection after this answer.
    pub closing: bool,
}

/// Where a body ends (RFC 9112, 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// After this many bytes.
    Length(u64),
    /// With the chunk of no bytes.
    Chunked,
    /// With the connection.
    UntilClose,
}

/// Reads a head; `None`: it goes on.
///
/// # Errors
/// When it is not HTTP, or above a limit.
pub fn parse(data: &[u8]) -> Result<Option<Head>, ErrorKind> {
    let data = &data[..data.len().min(MAX_HEAD)];
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut head = httparse::Response::new(&mut []);
    let mut parser = httparse::ParserConfig::default();
    parser.allow_obsolete_multiline_headers_in_responses(true);
    let length = match parser.parse_response_with_uninit_headers(&mut head, data, &mut fields) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if data.len() == MAX_HEAD => {
            return Err(ErrorKind::HeadTooLong);
        }
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(ErrorKind::TooManyFields),
        Err(_) => return Err(ErrorKind::Malformed),
    };
    let status = head.code.ok_or(ErrorKind::Malformed)?;
    let values = |name: &'static str| {
        let named = head.headers.iter();
        let named = named.filter(move |field| field.name.eq_ignore_ascii_case(name));
        named.flat_map(|field| list(field.value))
    };
    let says =
        |name, word: &str| values(name).any(|part| part.eq_ignore_ascii_case(word.as_bytes()));
    let framing = match values("transfer-encoding").last() {
        Some(coding) if coding.eq_ignore_ascii_case(b"chunked") => Framing::Chunked,
        Some(_) => Framing::UntilClose,
        None => content_length(values("content-length"))?,
    };
    let persists = head.version == Some(1) || says("connection", "keep-alive");
    Ok(Some(Head {
        length,
        status,
        framing,
        closing: !persists || says("connection", "close"),
    }))
}

/// The parts of a list, without the blanks and the line ends of folded lines around them.
fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let parts = value.split(|&b| b == b',').map(<[u8]>::trim_ascii);
    parts.filter(|part| !part.is_empty())
}

/// The length, if all fields say the same.
fn content_length<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> Result<Framing, ErrorKind> {
    let Some(first) = values.next() else {
        return Ok(Framing::UntilClose);
    };
    let length = number(first)?;
    if values.any(|other| number(other) != Ok(length)) {
        return Err(ErrorKind::Malformed);
    }
    Ok(Framing::Length(length))
}

fn number(text: &[u8]) -> Result<u64, ErrorKind> {
    // The parser of the library would take a sign.
    let digits = text.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(text).ok().filter(|_| digits);
    text.and_then(|text| text.parse().ok())
        .ok_or(ErrorKind::Malformed)
}

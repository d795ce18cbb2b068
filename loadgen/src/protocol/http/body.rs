//! The body of an answer, which is counted and not kept.

use super::head::Framing;

/// A chunk's size line or a trailer may be this long, bytes.
const MAX_LINE: usize = 8 * 1024;

/// Where in a body the reader is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// It is whole.
    Ended,
    /// This many bytes are missing.
    Length(u64),
    /// At the size of a chunk.
    ChunkSize,
    /// This many bytes of a chunk are missing.
    Chunk(u64),
    /// At the line end behind a chunk.
    ChunkEnd,
    /// Behind the last chunk.
    Trailer,
    /// It ends when the connection does.
    UntilClose,
}

/// Bytes that were read, and how many of them were content.
pub struct Taken {
    /// All of them.
    pub bytes: usize,
    /// Whether they were content and no framing.
    pub content: bool,
}

impl Body {
    /// At its beginning.
    pub fn new(framing: Framing) -> Self {
        match framing {
            Framing::Length(0) => Self::Ended,
            Framing::Length(bytes) => Self::Length(bytes),
            Framing::Chunked => Self::ChunkSize,
            Framing::UntilClose => Self::UntilClose,
        }
    }

    /// Reads on; `line` keeps the beginning of a line. `None`: it is malformed.
    pub fn read(&mut self, data: &[u8], line: &mut Vec<u8>) -> Option<Taken> {
        let content = |bytes| {
            Some(Taken {
                bytes,
                content: true,
            })
        };
        match *self {
            Self::Ended => content(0),
            Self::UntilClose => content(data.len()),
            Self::Length(left) => {
                let (taken, left) = take(left, data);
                *self = Self::new(Framing::Length(left));
                content(taken)
            }
            Self::Chunk(left) => {
                let (taken, left) = take(left, data);
                *self = match left {
                    0 => Self::ChunkEnd,
                    left => Self::Chunk(left),
                };
                content(taken)
            }
            Self::ChunkSize | Self::ChunkEnd | Self::Trailer => {
                let end = data.iter().position(|&b| b == b'\n');
                let taken = end.map_or(data.len(), |end| end + 1);
                line.extend_from_slice(&data[..taken]);
                if line.len() > MAX_LINE {
                    return None;
                }
                if end.is_some() {
                    *self = self.after(line)?;
                    line.clear();
                }
                Some(Taken {
                    bytes: taken,
                    content: false,
                })
            }
        }
    }

    /// What follows a line of the framing.
    fn after(self, line: &[u8]) -> Option<Self> {
        match self {
            Self::ChunkSize => match httparse::parse_chunk_size(line) {
                Ok(httparse::Status::Complete((_, 0))) => Some(Self::Trailer),
                Ok(httparse::Status::Complete((_, size))) => Some(Self::Chunk(size)),
                _ => None,
            },
            Self::ChunkEnd => (line == b"\r\n").then_some(Self::ChunkSize),
            _ if line == b"\r\n" => Some(Self::Ended),
            other => Some(other),
        }
    }
}

/// Takes at most `left` bytes of `data`; what is left then.
fn take(left: u64, data: &[u8]) -> (usize, u64) {
    let taken = left.min(data.len() as u64);
    (taken as usize, left - taken)
}

//! What is said on a connection, without a socket and without a clock: the engine moves the bytes and
//! takes the times.

pub mod echo;
pub mod http;
pub mod once;

use std::fmt;

use nix::errno::Errno;

/// A client protocol. Requests of one connection are answered in their order.
pub trait Protocol: Sync {
    /// What is known of an answer that has not arrived whole.
    type Answer: Default + Send;

    /// Bytes of a request; all have the same length, at least 1.
    fn request_len(&self) -> usize;

    /// Writes the bytes of a request from `offset` on; `out` ends with the request or before.
    fn fill(&self, request: Request, offset: usize, out: &mut [u8]);

    /// Takes bytes that arrived while `request` was the oldest one without an answer. It ends
    /// with that answer: returns how many bytes it took and what they made of it.
    fn receive(
        &self,
        answer: &mut Self::Answer,
        request: Request,
        data: &[u8],
    ) -> (usize, Option<Outcome>);

    /// The server ended its side while a request had no answer.
    fn end(&self, answer: &mut Self::Answer) -> Outcome;
}

/// A request's name, unique in a trial.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    /// Of the connection, over all threads.
    pub connection: u64,
    /// On this connection, from 0; counts on when the connection is opened anew.
    pub number: u64,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Its answer is whole.
    Answered {
        /// Why it is not what was asked for.
        wrong: Option<ErrorKind>,
        /// The server said that it closes the connection.
        last: bool,
    },
    /// Nothing that follows on this connection can be understood.
    Broken(ErrorKind),
}

impl Outcome {
    /// Rightly answered, and the connection goes on.
    pub const RIGHT: Self = Self::Answered {
        wrong: None,
        last: false,
    };
}

/// Why a request failed or a connection broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ErrorKind {
    /// The connection was refused.
    Refused,
    /// The backlog of a Unix socket has no room; TCP tries again by itself.
    BacklogFull,
    /// The server reset the connection.
    Reset,
    /// The server closed it before the answer was whole.
    ClosedEarly,
    /// The kernel gave up on the peer.
    TimedOut,
    /// The generator had no port or descriptor left for a connection.
    NoResources,
    /// Bytes differ from those expected.
    Mismatch,
    /// Bytes came that nobody had asked for.
    Unasked,
    /// Not HTTP.
    Malformed,
    /// An HTTP status outside of 200 to 299.
    Status(u16),
    /// Another error of the operating system, by its number.
    Os(i32),
}

impl ErrorKind {
    /// Sorts an error of a socket.
    pub fn of(error: &std::io::Error) -> Self {
        match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ECONNREFUSED | Errno::ENOENT) => Self::Refused,
            Some(Errno::EAGAIN) => Self::BacklogFull,
            Some(Errno::ECONNRESET | Errno::EPIPE | Errno::ECONNABORTED) => Self::Reset,
            Some(Errno::ETIMEDOUT) => Self::TimedOut,
            Some(
                Errno::EMFILE
                | Errno::ENFILE
                | Errno::ENOBUFS
                | Errno::ENOMEM
                | Errno::EADDRNOTAVAIL,
            ) => Self::NoResources,
            other => Self::Os(other.map_or(0, |errno| errno as i32)),
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("refused"),
            Self::BacklogFull => f.write_str("backlog-full"),
            Self::Reset => f.write_str("reset"),
            Self::ClosedEarly => f.write_str("closed-early"),
            Self::TimedOut => f.write_str("timed-out"),
            Self::NoResources => f.write_str("no-resources"),
            Self::Mismatch => f.write_str("mismatch"),
            Self::Unasked => f.write_str("unasked-bytes"),
            Self::Malformed => f.write_str("malformed"),
            Self::Status(code) => write!(f, "status-{code}"),
            Self::Os(number) => write!(f, "{:?}", Errno::from_raw(*number)),
        }
    }
}

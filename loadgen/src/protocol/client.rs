//! What the engine asks of a protocol.

use super::error::ErrorKind;

/// A client protocol. Requests of one connection are answered in their order.
pub trait Protocol: Sync {
    /// What is known of an answer of which a part has arrived.
    type Answer: Default + Send;

    /// Bytes of a request. It has at least one, except where each request is a connection of its own.
    fn request_len(&self, request: Request) -> usize;

    /// Writes the bytes of a request from `offset` on; `out` ends with the request or before.
    fn fill(&self, request: Request, offset: usize, out: &mut [u8]);

    /// Reads bytes that arrived while `request` was the oldest request without an answer, up to the end of that
    /// answer. Returns how many bytes it read, and how the request ended if it did.
    fn receive(
        &self,
        answer: &mut Self::Answer,
        request: Request,
        data: &[u8],
    ) -> (usize, Option<Outcome>);

    /// The server ended its side while a request had no answer.
    fn end(&self, answer: &mut Self::Answer) -> Outcome;
}

/// Whether the bytes begin an HTTP answer.
pub(super) fn is_http(data: &[u8]) -> bool {
    data.starts_with(b"HTTP/1.")
}

/// A request's name, which is unique in a trial.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    /// The connection's number, over all threads.
    pub connection: u64,
    /// Its number on this connection, from 0; opening the connection again does not reset it.
    pub number: u64,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The whole answer has arrived.
    Answered {
        /// The answer is wrong, for this reason.
        wrong: Option<ErrorKind>,
        /// The server said that it closes the connection.
        last: bool,
    },
    /// What follows on this connection cannot be understood.
    Broken(ErrorKind),
}

impl Outcome {
    /// The right answer; the connection stays open.
    pub const RIGHT: Self = Self::Answered {
        wrong: None,
        last: false,
    };
}

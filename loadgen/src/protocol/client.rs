//! What the engine asks of a protocol.

use super::error::ErrorKind;

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

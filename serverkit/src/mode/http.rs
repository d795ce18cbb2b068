//! HTTP/1.1 by RFC 9112: heads and bodies in, static answers out, in the order of the requests.
//!
//! What is malformed, or could be read in two ways, is refused and the connection closed: a
//! reader that guesses is how one request is smuggled inside another (RFC 9112, 11.2).

mod answer;
mod body;
mod head;
mod lines;

use answer::{Answer, CONTINUE, LARGEST_ANSWER, Persistence, Status};
use body::Body;
use head::Head;

use crate::buffer::{Buffer, FIRST};

/// The input buffer must hold a whole head: this many bytes.
pub const LEAST_BUFFER: usize = lines::HEAD_LIMIT;

/// Bytes of answers that may wait to be written. When they are too many, the requests that
/// follow stay in the input buffer.
const OUTPUT: usize = 4096;

/// One connection's requests and answers.
#[derive(Debug)]
pub struct Http {
    expected: Expected,
    /// Empty lines since the last request: without a limit they would be a way to stay for ever.
    empty_lines: u32,
    output: Buffer,
}

/// What comes next from the client.
#[derive(Debug)]
enum Expected {
    Head,
    /// The rest of a request that has this answer.
    Body(Body, Answer),
}

/// What became of the input.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// How many requests were answered.
    pub requests: u32,
    /// The last answer is the last of the connection.
    pub closes: bool,
    /// There may be another request in the input: the limit or the room for answers ended this.
    pub more: bool,
}

impl Http {
    /// A connection at its beginning.
    pub fn new() -> Self {
        Self {
            expected: Expected::Head,
            empty_lines: 0,
            output: Buffer::new(OUTPUT),
        }
    }

    /// Answers what has come: at most `most` requests, as far as there is room for answers.
    pub fn answer(&mut self, input: &mut Buffer, most: u32) -> Progress {
        let mut progress = Progress::default();
        while !progress.closes {
            if progress.requests == most || self.output.room() < LARGEST_ANSWER {
                progress.more = true;
                break;
            }
            if self.output.space().is_empty() {
                // There is no memory for the answer.
                progress.closes = true;
                break;
            }
            let Some(answer) = self.next(input) else {
                break;
            };
            answer.write(&mut self.output);
            progress.requests += 1;
            progress.closes = answer.closes();
        }
        progress
    }

    /// The answer to the next request, when all of that has come.
    fn next(&mut self, input: &mut Buffer) -> Option<Answer> {
        if let Expected::Head = self.expected {
            self.empty_lines += head::skip_empty_lines(input);
            if self.empty_lines > head::EMPTY_LINE_LIMIT {
                return Some(Answer {
                    status: Status::BadRequest,
                    persistence: Persistence::Closes,
                    head_only: false,
                });
            }
            match head::read(input.data()) {
                Head::Partial => return None,
                Head::Refused(answer) => return Some(answer),
                Head::Whole {
                    length,
                    body,
                    expects_continue,
                    answer,
                } => {
                    input.consumed(length);
                    self.empty_lines = 0;
                    // A client that has begun with the body does not wait for 100 Continue.
                    if expects_continue && !body.is_empty() && input.is_empty() {
                        self.output.push(CONTINUE);
                    }
                    self.expected = Expected::Body(body, answer);
                }
            }
        }
        let Expected::Body(body, answer) = &mut self.expected else {
            return None;
        };
        let answer = match body.discard(input) {
            Ok(false) => return None,
            Ok(true) => *answer,
            Err(status) => answer.refused(status),
        };
        self.expected = Expected::Head;
        Some(answer)
    }

    /// Nothing is answered for a while.
    pub fn rest(&mut self) {
        self.output.rest(FIRST);
    }

    /// The answers that wait to be written.
    pub fn pending(&self) -> &[u8] {
        self.output.data()
    }

    /// The first `n` bytes of [`Http::pending`] were written.
    pub fn did_write(&mut self, n: usize) {
        self.output.consumed(n);
    }
}

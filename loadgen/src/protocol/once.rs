//! The protocol of a simple server: connect, send a line, read the greeting, see the server close.

use super::client::{Outcome, Protocol, Request, is_http};
use super::error::ErrorKind;

const REQUEST: &[u8] = b"Hello from client!\n";
const ANSWER: &[u8] = b"Hello from server!\n";

/// The answer is whole when the server has closed.
#[derive(Debug)]
pub struct Once;

/// How much of the greeting has arrived.
#[derive(Debug, Default)]
pub struct Greeted(usize);

impl Protocol for Once {
    type Answer = Greeted;

    fn request_len(&self, _request: Request) -> usize {
        REQUEST.len()
    }

    fn fill(&self, _request: Request, offset: usize, out: &mut [u8]) {
        out.copy_from_slice(&REQUEST[offset..offset + out.len()]);
    }

    fn receive(
        &self,
        answer: &mut Greeted,
        _request: Request,
        data: &[u8],
    ) -> (usize, Option<Outcome>) {
        if !ANSWER[answer.0..].starts_with(data) {
            let kind = if answer.0 == 0 && is_http(data) {
                ErrorKind::SpeaksHttp
            } else {
                ErrorKind::Mismatch
            };
            return (data.len(), Some(Outcome::Broken(kind)));
        }
        answer.0 += data.len();
        (data.len(), None)
    }

    fn end(&self, answer: &mut Greeted) -> Outcome {
        if answer.0 == ANSWER.len() {
            Outcome::Answered {
                wrong: None,
                last: true,
            }
        } else {
            Outcome::Broken(ErrorKind::ClosedEarly)
        }
    }
}

//! Any protocol of requests and answers: the same bytes each time, and a rule for where an answer ends.

use super::client::{Outcome, Protocol, Request};
use super::error::ErrorKind;
use crate::workload::raw::{RawAnswer, RawRequest};

/// Requests of the same bytes.
#[derive(Debug)]
pub struct Raw<'a> {
    request: &'a RawRequest,
    /// For [`RawAnswer::Until`]: how many bytes of the end are matched again when the next one differs after this many
    /// (the failure function of Knuth, Morris and Pratt, 1977).
    fallback: Vec<usize>,
}

/// How much of an answer has arrived: its bytes, or those of the end that match.
#[derive(Debug, Default)]
pub struct Progress(usize);

impl<'a> Raw<'a> {
    /// Requests as the user described them.
    pub fn new(request: &'a RawRequest) -> Self {
        let fallback = match &request.answer {
            RawAnswer::Until(end) => fallback(end),
            RawAnswer::Exactly(_) | RawAnswer::Bytes(_) => Vec::new(),
        };
        Self { request, fallback }
    }

    fn ended(&self, wrong: Option<ErrorKind>) -> Outcome {
        Outcome::Answered {
            wrong,
            // After a wrong answer nobody knows where the next one begins: the connection is replaced.
            last: wrong.is_some() || !self.request.keep_alive,
        }
    }

    /// Looks for the end in `data`. Returns how many bytes there are up to it, if it is there.
    fn find(&self, end: &[u8], matched: &mut usize, data: &[u8]) -> Option<usize> {
        for (at, byte) in data.iter().enumerate() {
            while *matched > 0 && end[*matched] != *byte {
                *matched = self.fallback[*matched - 1];
            }
            if end[*matched] == *byte {
                *matched += 1;
            }
            if *matched == end.len() {
                return Some(at + 1);
            }
        }
        None
    }
}

/// For each length of a beginning of `end`: its longest proper suffix that `end` begins with, too.
fn fallback(end: &[u8]) -> Vec<usize> {
    let mut table = vec![0; end.len()];
    let mut matched = 0;
    for at in 1..end.len() {
        while matched > 0 && end[matched] != end[at] {
            matched = table[matched - 1];
        }
        if end[matched] == end[at] {
            matched += 1;
        }
        table[at] = matched;
    }
    table
}

impl Protocol for Raw<'_> {
    type Answer = Progress;

    fn request_len(&self, _request: Request) -> usize {
        self.request.send.len()
    }

    fn fill(&self, _request: Request, offset: usize, out: &mut [u8]) {
        out.copy_from_slice(&self.request.send[offset..offset + out.len()]);
    }

    fn receive(
        &self,
        answer: &mut Progress,
        _request: Request,
        data: &[u8],
    ) -> (usize, Option<Outcome>) {
        let so_far = answer.0;
        let (taken, is_whole) = match &self.request.answer {
            RawAnswer::Exactly(expected) => {
                let rest = &expected[so_far..];
                let taken = data.len().min(rest.len());
                if data[..taken] != rest[..taken] {
                    *answer = Progress::default();
                    return (data.len(), Some(self.ended(Some(ErrorKind::Mismatch))));
                }
                (taken, taken == rest.len())
            }
            RawAnswer::Until(end) => match self.find(end, &mut answer.0, data) {
                Some(taken) => (taken, true),
                None => return (data.len(), None),
            },
            RawAnswer::Bytes(count) => {
                let taken = data.len().min(count - so_far);
                (taken, so_far + taken == *count)
            }
        };
        if is_whole {
            *answer = Progress::default();
            return (taken, Some(self.ended(None)));
        }
        answer.0 += taken;
        (taken, None)
    }

    fn end(&self, _answer: &mut Progress) -> Outcome {
        Outcome::Broken(ErrorKind::ClosedEarly)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: Request = Request {
        connection: 0,
        number: 0,
    };

    /// The lengths of the answers that are found in `data`, which arrives in pieces of this many bytes.
    fn answers(answer: RawAnswer, data: &[u8], piece: usize) -> Vec<(usize, Outcome)> {
        let request = RawRequest {
            send: b"?".to_vec(),
            answer,
            keep_alive: true,
        };
        let raw = Raw::new(&request);
        let mut progress = Progress::default();
        let mut found = Vec::new();
        let mut length = 0;
        for mut piece in data.chunks(piece) {
            while !piece.is_empty() {
                let (taken, outcome) = raw.receive(&mut progress, REQUEST, piece);
                length += taken;
                piece = &piece[taken..];
                if let Some(outcome) = outcome {
                    found.push((length, outcome));
                    length = 0;
                }
            }
        }
        found
    }

    #[test]
    fn answers_end_where_they_are_said_to_end() {
        let right = |lengths: &[usize]| -> Vec<(usize, Outcome)> {
            lengths
                .iter()
                .map(|&length| (length, Outcome::RIGHT))
                .collect()
        };
        for piece in 1..9 {
            let until = |end: &[u8]| RawAnswer::Until(end.to_vec());
            assert_eq!(
                answers(until(b"\r\n"), b"+OK\r\n+\r\r\n", piece),
                right(&[5, 4])
            );
            // The end of which a part occurs in itself.
            assert_eq!(answers(until(b"aab"), b"aaabaaaab", piece), right(&[4, 5]));
            let exactly = RawAnswer::Exactly(b"+PONG\r\n".to_vec());
            assert_eq!(
                answers(exactly, b"+PONG\r\n+PONG\r\n", piece),
                right(&[7, 7])
            );
            assert_eq!(
                answers(RawAnswer::Bytes(3), b"abcdefg", piece),
                right(&[3, 3])
            );
        }
    }

    #[test]
    fn a_wrong_byte_ends_the_connection() {
        let wrong = Outcome::Answered {
            wrong: Some(ErrorKind::Mismatch),
            last: true,
        };
        let exactly = RawAnswer::Exactly(b"+PONG\r\n".to_vec());
        assert_eq!(answers(exactly, b"-ERR\r\n", 64), [(6, wrong)]);
    }
}

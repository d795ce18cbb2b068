//! Every byte comes back. The bytes of a message are computed from the seed, the connection and the request's number:
//! they need not be stored, and the bytes of another client are noticed.

use super::client::{Outcome, Protocol, Request, is_http};
use super::draw::{WEYL, draw, mix};
use super::error::ErrorKind;

const WORD: usize = 8;

/// Messages of one size.
#[derive(Debug)]
pub struct Echo {
    size: usize,
    seed: u64,
}

/// How much of a message has come back.
#[derive(Debug, Default)]
pub struct Returned {
    bytes: usize,
    wrong: bool,
}

impl Echo {
    /// Messages of `size` bytes, at least 1.
    pub fn new(size: usize, seed: u64) -> Self {
        Self {
            size,
            seed: mix(seed),
        }
    }

    fn key(&self, request: Request) -> u64 {
        draw(self.seed, request)
    }
}

/// The words of a message: a Weyl sequence from its key, so that no word occurs twice.
fn word(key: u64, index: usize) -> [u8; WORD] {
    key.wrapping_add((index as u64).wrapping_mul(WEYL))
        .to_le_bytes()
}

/// The bytes of `offset..` up to the next word boundary or `length`, for the unaligned edges.
fn byte(key: u64, offset: usize) -> u8 {
    word(key, offset / WORD)[offset % WORD]
}

/// Splits `length` bytes at `offset` into those before the first word boundary and the rest.
fn lead(offset: usize, length: usize) -> usize {
    (offset.wrapping_neg() % WORD).min(length)
}

fn fill(key: u64, offset: usize, out: &mut [u8]) {
    let (head, body) = out.split_at_mut(lead(offset, out.len()));
    for (i, out) in head.iter_mut().enumerate() {
        *out = byte(key, offset + i);
    }
    let first = (offset + head.len()) / WORD;
    let mut words = body.chunks_exact_mut(WORD);
    let mut index = first;
    for out in &mut words {
        out.copy_from_slice(&word(key, index));
        index += 1;
    }
    let tail = words.into_remainder();
    for (out, byte) in tail.iter_mut().zip(word(key, index)) {
        *out = byte;
    }
}

fn is_right(key: u64, offset: usize, data: &[u8]) -> bool {
    let (head, body) = data.split_at(lead(offset, data.len()));
    let first = (offset + head.len()) / WORD;
    let (words, tail) = body.as_chunks::<WORD>();
    // Without a branch for each word the compiler makes it a vector loop.
    let mut difference = 0;
    for (i, data) in words.iter().enumerate() {
        difference |= u64::from_le_bytes(*data) ^ u64::from_le_bytes(word(key, first + i));
    }
    difference == 0
        && tail
            .iter()
            .zip(word(key, first + words.len()))
            .all(|(&data, byte)| data == byte)
        && head
            .iter()
            .enumerate()
            .all(|(i, &data)| data == byte(key, offset + i))
}

impl Protocol for Echo {
    type Answer = Returned;

    fn request_len(&self, _request: Request) -> usize {
        self.size
    }

    fn fill(&self, request: Request, offset: usize, out: &mut [u8]) {
        fill(self.key(request), offset, out);
    }

    fn receive(
        &self,
        answer: &mut Returned,
        request: Request,
        data: &[u8],
    ) -> (usize, Option<Outcome>) {
        let taken = data.len().min(self.size - answer.bytes);
        if !is_right(self.key(request), answer.bytes, &data[..taken]) {
            if answer.bytes == 0 && is_http(data) {
                return (taken, Some(Outcome::Broken(ErrorKind::SpeaksHttp)));
            }
            answer.wrong = true;
        }
        answer.bytes += taken;
        if answer.bytes < self.size {
            return (taken, None);
        }
        let outcome = Outcome::Answered {
            wrong: answer.wrong.then_some(ErrorKind::Mismatch),
            last: false,
        };
        *answer = Returned::default();
        (taken, Some(outcome))
    }

    fn end(&self, _answer: &mut Returned) -> Outcome {
        Outcome::Broken(ErrorKind::ClosedEarly)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const REQUEST: Request = Request {
        connection: 3,
        number: 5,
    };

    const MISMATCH: Outcome = Outcome::Answered {
        wrong: Some(ErrorKind::Mismatch),
        last: false,
    };

    fn message(echo: &Echo, request: Request) -> Vec<u8> {
        let mut bytes = vec![0; echo.size];
        echo.fill(request, 0, &mut bytes);
        bytes
    }

    proptest! {
        #[test]
        fn pieces_make_the_message_and_are_accepted_in_any_pieces(
            size in 1usize..200,
            cuts in prop::collection::vec(1usize..40, 1..40),
        ) {
            let echo = Echo::new(size, 9);
            let whole = message(&echo, REQUEST);
            let mut built = vec![0; size];
            let mut answer = Returned::default();
            let mut at = 0;
            for cut in cuts.iter().cycle() {
                let end = size.min(at + cut);
                echo.fill(REQUEST, at, &mut built[at..end]);
                let (taken, outcome) = echo.receive(&mut answer, REQUEST, &whole[at..end]);
                prop_assert_eq!(taken, end - at);
                at = end;
                if at == size {
                    prop_assert_eq!(outcome, Some(Outcome::RIGHT));
                    break;
                }
                prop_assert_eq!(outcome, None);
            }
            prop_assert_eq!(built, whole);
        }

        #[test]
        fn one_wrong_bit_is_noticed(size in 1usize..200, at in any::<prop::sample::Index>(), bit in 0u8..8) {
            let echo = Echo::new(size, 9);
            let mut bytes = message(&echo, REQUEST);
            bytes[at.index(size)] ^= 1 << bit;
            let (_, outcome) = echo.receive(&mut Returned::default(), REQUEST, &bytes);
            prop_assert_eq!(outcome, Some(MISMATCH));
        }
    }

    #[test]
    fn an_answer_ends_where_the_message_does() {
        let echo = Echo::new(10, 9);
        let mut bytes = message(&echo, REQUEST);
        bytes.push(0);
        let (taken, outcome) = echo.receive(&mut Returned::default(), REQUEST, &bytes);
        assert_eq!((taken, outcome), (10, Some(Outcome::RIGHT)));
    }

    #[test]
    fn messages_of_other_requests_and_connections_differ() {
        let echo = Echo::new(8, 9);
        let mut seen = std::collections::HashSet::new();
        for connection in 0..100 {
            for number in 0..100 {
                assert!(seen.insert(message(&echo, Request { connection, number })));
            }
        }
    }
}

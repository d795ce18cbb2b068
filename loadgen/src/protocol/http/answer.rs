//! An answer of which a part has arrived.

use super::body::Body;
use super::head;
use crate::protocol::client::Outcome;
use crate::protocol::error::ErrorKind;

/// What is known of an answer.
#[derive(Debug, Default)]
pub struct Answer {
    /// `None`: the head is not whole.
    body: Option<Body>,
    /// A head or a line of which only the beginning has arrived. The buffer is kept for the next one.
    partial: Vec<u8>,
    status: u16,
    closing: bool,
}

impl Answer {
    /// Reads bytes up to the end of the answer. Returns how many it read, and how the request ended if it did.
    pub fn read(&mut self, data: &[u8]) -> (usize, Option<Outcome>) {
        let mut at = 0;
        while at < data.len() {
            match self.step(&data[at..]) {
                Ok(taken) => at += taken,
                Err(kind) => return (at, Some(Outcome::Broken(kind))),
            }
            if self.body == Some(Body::Ended) {
                return (at, Some(self.finish()));
            }
        }
        (at, None)
    }

    /// The server closed the connection.
    pub fn end(&mut self) -> Outcome {
        match self.body {
            Some(Body::UntilClose) => {
                self.closing = true;
                self.finish()
            }
            _ => Outcome::Broken(ErrorKind::ClosedEarly),
        }
    }

    /// Whether nothing of it has arrived.
    #[cfg(test)]
    pub fn is_fresh(&self) -> bool {
        self.body.is_none() && self.partial.is_empty()
    }

    fn step(&mut self, data: &[u8]) -> Result<usize, ErrorKind> {
        match &mut self.body {
            None => self.head(data),
            Some(body) => match body.read(data, &mut self.partial) {
                Some(taken) => Ok(taken.bytes),
                None => Err(ErrorKind::Malformed),
            },
        }
    }

    fn head(&mut self, data: &[u8]) -> Result<usize, ErrorKind> {
        // In the common case the whole head comes in one piece, and nothing is copied.
        let before = self.partial.len();
        let head = if before == 0 {
            head::parse(data)?
        } else {
            self.partial.extend_from_slice(data);
            head::parse(&self.partial)?
        };
        let Some(head) = head else {
            if before == 0 {
                self.partial.extend_from_slice(data);
            }
            return Ok(data.len());
        };
        self.partial.clear();
        self.status = head.status;
        self.closing = head.closing;
        self.body = match head.status {
            // After it the server speaks what an Upgrade field asked for.
            101 => return Err(ErrorKind::SwitchedProtocols),
            // An interim answer: the real one follows.
            100..200 => None,
            204 | 304 => Some(Body::Ended),
            _ => Some(Body::new(head.framing)),
        };
        Ok(head.length - before)
    }

    /// The answer is whole; ready for the next one.
    fn finish(&mut self) -> Outcome {
        self.body = None;
        let right = (200..400).contains(&self.status);
        Outcome::Answered {
            wrong: (!right).then_some(ErrorKind::Status(self.status)),
            last: self.closing,
        }
    }
}

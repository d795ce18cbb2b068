//! An answer of which a part has arrived.

use sha2::{Digest, Sha256};

use super::body::Body;
use super::head;
use crate::protocol::client::Outcome;
use crate::protocol::error::ErrorKind;
use crate::workload::requests::Expect;

/// What is known of an answer.
#[derive(Debug, Default)]
pub struct Answer {
    /// `None`: the head is not whole.
    body: Option<Body>,
    /// A head or a line of which only the beginning has arrived. The buffer is kept for the next one.
    partial: Vec<u8>,
    status: u16,
    closing: bool,
    /// Bytes of the body so far.
    bytes: u64,
    /// Their hash, if one is expected.
    hash: Option<Sha256>,
}

impl Answer {
    /// Reads bytes up to the end of the answer. Returns how many it read, and how the request ended if it did.
    /// Without a body, `is_head`, the answer ends with its head.
    pub fn read(
        &mut self,
        data: &[u8],
        is_head: bool,
        expect: &Expect,
    ) -> (usize, Option<Outcome>) {
        let mut at = 0;
        while at < data.len() {
            match self.step(&data[at..], is_head, expect) {
                Ok(taken) => at += taken,
                Err(kind) => return (at, Some(Outcome::Broken(kind))),
            }
            if self.body == Some(Body::Ended) {
                return (at, Some(self.finish(is_head, expect)));
            }
        }
        (at, None)
    }

    /// The server closed the connection.
    pub fn end(&mut self, expect: &Expect) -> Outcome {
        match self.body {
            Some(Body::UntilClose) => {
                self.closing = true;
                self.finish(false, expect)
            }
            _ => Outcome::Broken(ErrorKind::ClosedEarly),
        }
    }

    /// What has arrived of a head that cannot be read; `None`: it was not the head.
    pub fn unreadable_head(&self) -> Option<&[u8]> {
        self.body.is_none().then_some(&self.partial[..])
    }

    /// Whether nothing of it has arrived.
    #[cfg(test)]
    pub fn is_fresh(&self) -> bool {
        self.body.is_none() && self.partial.is_empty()
    }

    fn step(&mut self, data: &[u8], is_head: bool, expect: &Expect) -> Result<usize, ErrorKind> {
        let Some(body) = &mut self.body else {
            return self.head(data, is_head);
        };
        let taken = body
            .read(data, &mut self.partial)
            .ok_or(ErrorKind::Malformed)?;
        if taken.content {
            self.bytes += taken.bytes as u64;
            if expect.sha256.is_some() {
                let hash = self.hash.get_or_insert_default();
                hash.update(&data[..taken.bytes]);
            }
        }
        Ok(taken.bytes)
    }

    fn head(&mut self, data: &[u8], is_head: bool) -> Result<usize, ErrorKind> {
        // In the common case the whole head comes in one piece, and nothing is copied.
        let before = self.partial.len();
        let head = if before == 0 {
            head::parse(data)
        } else {
            self.partial.extend_from_slice(data);
            head::parse(&self.partial)
        };
        let head = match head {
            Ok(Some(head)) => head,
            unfinished => {
                if before == 0 {
                    self.partial.extend_from_slice(data);
                }
                return unfinished.map(|_| data.len());
            }
        };
        self.partial.clear();
        self.status = head.status;
        self.closing = head.closing;
        self.body = match head.status {
            // After it the server speaks what an Upgrade field asked for.
            101 => return Err(ErrorKind::SwitchedProtocols),
            // An interim answer: the real one follows.
            100..200 => None,
            _ if is_head => Some(Body::Ended),
            204 | 304 => Some(Body::Ended),
            _ => Some(Body::new(head.framing)),
        };
        Ok(head.length - before)
    }

    /// The answer is whole; ready for the next one.
    fn finish(&mut self, is_head: bool, expect: &Expect) -> Outcome {
        self.body = None;
        let bytes = std::mem::take(&mut self.bytes);
        let hash = self.hash.as_mut().map(Digest::finalize_reset);
        let wrong = if !expect.status.contain(self.status) {
            Some(ErrorKind::Status(self.status))
        } else if !is_head && !is_expected(bytes, hash.as_deref(), expect) {
            Some(ErrorKind::Mismatch)
        } else {
            None
        };
        Outcome::Answered {
            wrong,
            last: self.closing,
        }
    }
}

/// Whether a body of this many bytes is the right one; without a hash it had none.
fn is_expected(bytes: u64, hash: Option<&[u8]>, expect: &Expect) -> bool {
    let length = expect.bytes.is_none_or(|expected| expected == bytes);
    let content = expect.sha256.is_none_or(|expected| match hash {
        Some(hash) => hash == expected.as_slice(),
        None => Sha256::digest(b"").as_slice() == expected.as_slice(),
    });
    length && content
}

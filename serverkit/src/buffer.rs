//! A byte queue of bounded size that takes no memory before it is used.

use crate::memory;

/// How much memory is taken at first, in bytes.
const FIRST: usize = 16 * 1024;

/// Bytes that were produced and not yet consumed, in order.
///
/// The space is made by the first call of [`Buffer::space`]. It doubles when it was filled, up to
/// the capacity.
#[derive(Debug)]
pub struct Buffer {
    bytes: Vec<u8>,
    /// The first byte not yet consumed.
    start: usize,
    /// One past the last byte produced; `start <= end <= bytes.len() <= capacity`.
    end: usize,
    capacity: usize,
    /// All of the space was used since it was last made larger.
    was_filled: bool,
}

impl Buffer {
    /// An empty queue for at most `capacity` bytes.
    pub fn new(capacity: usize) -> Self {
        Self {
            bytes: Vec::new(),
            start: 0,
            end: 0,
            capacity,
            was_filled: true,
        }
    }

    /// Room for more bytes; empty when the queue is full, or when there is no memory for it.
    pub fn space(&mut self) -> &mut [u8] {
        if self.was_filled && self.bytes.len() < self.capacity {
            self.grow();
        }
        // Moving the bytes to the front costs a copy: it is done when there is no room behind
        // them, or so little that a reader would be slowed to small pieces.
        if self.bytes.len() - self.end < self.start {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        &mut self.bytes[self.end..]
    }

    /// Without memory for more it stays as it is.
    fn grow(&mut self) {
        let size = (2 * self.bytes.len()).max(FIRST).min(self.capacity);
        let more = size - self.bytes.len();
        if self.bytes.try_reserve_exact(more).is_err() {
            return;
        }
        if memory::is_left() {
            self.bytes.resize(size, 0);
            self.was_filled = false;
        } else {
            self.bytes.shrink_to_fit();
        }
    }

    /// The first `n` bytes of [`Buffer::space`] were filled.
    pub fn produced(&mut self, n: usize) {
        assert!(n <= self.bytes.len() - self.end, "there was less space");
        self.end += n;
        self.was_filled |= self.end == self.bytes.len();
    }

    /// Adds bytes, for which there must be [`Buffer::room`] and memory ([`Buffer::space`]).
    pub fn push(&mut self, mut bytes: &[u8]) {
        assert!(bytes.len() <= self.room(), "there is less room");
        while !bytes.is_empty() {
            // The space may be less than the room: some of that may be before the first byte.
            let space = self.space();
            let n = bytes.len().min(space.len());
            space[..n].copy_from_slice(&bytes[..n]);
            self.produced(n);
            bytes = &bytes[n..];
        }
    }

    /// The bytes that wait.
    pub fn data(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// The first `n` bytes of [`Buffer::data`] are used up.
    pub fn consumed(&mut self, n: usize) {
        assert!(n <= self.len(), "more bytes than there were");
        self.start += n;
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
    }

    /// How many bytes wait.
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// How many more bytes it can hold.
    pub fn room(&self) -> usize {
        self.capacity - self.len()
    }

    /// No byte waits.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// There is no room for another byte.
    pub fn is_full(&self) -> bool {
        self.room() == 0
    }

    /// Throws away what waits.
    pub fn clear(&mut self) {
        self.start = 0;
        self.end = 0;
    }
}

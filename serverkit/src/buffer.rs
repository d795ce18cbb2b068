//! A byte queue of bounded size that takes no memory before it is used.

/// Bytes that were produced and not yet consumed, in order.
///
/// The space is one allocation, made by the first call of [`Buffer::space`] and never grown.
#[derive(Debug)]
pub struct Buffer {
    bytes: Vec<u8>,
    /// The first byte not yet consumed.
    start: usize,
    /// One past the last byte produced; `start <= end <= capacity`.
    end: usize,
    capacity: usize,
}

impl Buffer {
    /// An empty queue for at most `capacity` bytes.
    pub fn new(capacity: usize) -> Self {
        Self {
            bytes: Vec::new(),
            start: 0,
            end: 0,
            capacity,
        }
    }

    /// Room for more bytes; empty only when the queue is full.
    pub fn space(&mut self) -> &mut [u8] {
        if self.bytes.is_empty() {
            self.bytes = vec![0; self.capacity];
        }
        // Moving the bytes to the front costs a copy: it is done when there is no room behind
        // them, or so little that a reader would be slowed to small pieces.
        if self.capacity - self.end < self.start {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        &mut self.bytes[self.end..]
    }

    /// The first `n` bytes of [`Buffer::space`] were filled.
    pub fn produced(&mut self, n: usize) {
        assert!(
            n <= self.capacity - self.end,
            "more bytes than there was room for"
        );
        self.end += n;
    }

    /// Adds bytes, for which there must be [`Buffer::room`].
    pub fn push(&mut self, mut bytes: &[u8]) {
        assert!(
            bytes.len() <= self.room(),
            "more bytes than there was room for"
        );
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

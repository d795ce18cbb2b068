//! A byte queue of bounded size. It takes memory when that is used, and gives it back after.
//!
//! A loop moves the bytes of one client after another. So each thread keeps a little memory in
//! spare: the next client reads into what the last one has given back. That memory is in the
//! processor's cache, and has the size of a message, though silent clients hold none.

use std::cell::RefCell;
use std::mem;

use crate::memory;

/// How much memory is taken at first, in bytes.
pub const FIRST: usize = 1024;

/// What it is multiplied by when it was filled.
const GROWTH: usize = 8;

/// The most that is held where a read waits, in bytes: so much after a long message, or else [`FIRST`].
pub const WAITING: usize = GROWTH * FIRST;

/// How many pieces of memory a thread keeps in spare. `io_uring` has many sends in flight at once.
const SPARES: usize = 16;

/// No larger piece is kept, in bytes.
const LARGEST_SPARE: usize = 1 << 20;

thread_local! {
    static SPARE: RefCell<[Vec<u8>; SPARES]> = const { RefCell::new([const { Vec::new() }; SPARES]) };
}

/// Bytes that were produced and not yet consumed, in order.
///
/// The space is made by the first call of [`Buffer::space`]. It grows when it was filled, up to the
/// capacity.
#[derive(Debug)]
pub struct Buffer {
    bytes: Vec<u8>,
    /// The first byte not yet consumed.
    start: usize,
    /// One past the last byte produced; `start <= end <= bytes.len() <= capacity`.
    end: usize,
    capacity: usize,
    /// What was produced last has filled the memory, or there is none yet.
    was_filled: bool,
    /// What waits, or what waited last if nothing does, was more than [`FIRST`] bytes at some time.
    was_long: bool,
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
            was_long: false,
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

    /// As [`Buffer::space`], but no more than [`WAITING`] bytes in an empty queue.
    pub fn little_space(&mut self) -> &mut [u8] {
        if self.is_empty() {
            let size = if self.was_long { WAITING } else { FIRST }.min(self.capacity);
            if self.bytes.len() != size {
                self.bytes = Vec::new();
                self.resize(size);
            }
            self.was_filled = self.bytes.is_empty();
        }
        self.space()
    }

    /// Without memory for more it stays as it is.
    fn grow(&mut self) {
        let had = self.bytes.len();
        if let Some(spare) = take_spare(had, self.capacity) {
            self.move_to(spare);
        } else {
            self.resize((GROWTH * had).max(FIRST).min(self.capacity));
        }
    }

    fn resize(&mut self, size: usize) {
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

    /// Moves what waits to another memory, which has room for it. Gives the old one.
    fn move_to(&mut self, mut memory: Vec<u8>) -> Vec<u8> {
        let length = self.len();
        memory[..length].copy_from_slice(self.data());
        self.start = 0;
        self.end = length;
        self.was_filled = length == memory.len();
        mem::replace(&mut self.bytes, memory)
    }

    /// The queue is not used for a while: memory that it does not need goes to the thread's other
    /// queues. An empty one keeps at most `most` bytes.
    pub fn rest(&mut self, most: usize) {
        if self.is_empty() && most == 0 && self.can_grow() {
            // The last read filled the memory, so the next one would fill it, too.
            self.grow();
        }
        let needed = if self.is_empty() {
            most
        } else {
            // A copy pays only if it frees much memory.
            self.len().max(FIRST) * GROWTH
        };
        if self.bytes.len() <= needed {
            return;
        }
        let mut memory = Vec::new();
        if !self.is_empty() {
            let size = self.len().max(FIRST);
            if memory.try_reserve_exact(size).is_err() {
                return;
            }
            memory.resize(size, 0);
        }
        keep_spare(self.move_to(memory));
    }

    /// The first `n` bytes of [`Buffer::space`] were filled.
    pub fn produced(&mut self, n: usize) {
        assert!(n <= self.bytes.len() - self.end, "there was less space");
        if self.is_empty() {
            self.was_long = false;
        }
        self.end += n;
        self.was_filled = self.end == self.bytes.len();
        self.was_long |= self.len() > FIRST;
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

    /// There is more room than the memory that was taken for it: all of that is filled.
    pub fn can_grow(&self) -> bool {
        self.was_filled && self.bytes.len() < self.capacity
    }

    /// What was produced last has filled the memory: there may be more.
    pub fn was_filled(&self) -> bool {
        self.was_filled && !self.bytes.is_empty()
    }

    /// Throws away what waits.
    pub fn clear(&mut self) {
        self.start = 0;
        self.end = 0;
    }
}

/// Memory of this thread that no queue uses, of more than `above` bytes and at most `most`.
fn take_spare(above: usize, most: usize) -> Option<Vec<u8>> {
    SPARE.with_borrow_mut(|spares| {
        let fits = |spare: &&mut Vec<u8>| spare.len() > above && spare.len() <= most;
        spares.iter_mut().find(fits).map(mem::take)
    })
}

fn keep_spare(memory: Vec<u8>) {
    if memory.len() <= LARGEST_SPARE {
        SPARE.with_borrow_mut(|spares| {
            if let Some(free) = spares.iter_mut().find(|spare| spare.is_empty()) {
                *free = memory;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(buffer: &mut Buffer) -> usize {
        let n = buffer.space().len();
        buffer.produced(n);
        n
    }

    #[test]
    fn it_starts_small_and_grows_when_it_is_filled() {
        let mut buffer = Buffer::new(100_000);
        assert_eq!(fill(&mut buffer), FIRST);
        assert!(buffer.can_grow());
        assert_eq!(buffer.space().len(), 7 * FIRST);
        assert!(!buffer.can_grow());
        while fill(&mut buffer) > 0 {}
        assert_eq!(buffer.len(), 100_000);
        assert!(!buffer.can_grow());
    }

    #[test]
    fn whether_it_was_filled_is_told_of_the_last_bytes() {
        let mut buffer = Buffer::new(FIRST);
        assert!(!buffer.was_filled());
        for (length, filled) in [(FIRST, true), (10, false), (FIRST, true)] {
            buffer.space();
            buffer.produced(length);
            assert_eq!(buffer.was_filled(), filled);
            buffer.consumed(length);
            assert_eq!(buffer.was_filled(), filled);
        }
    }

    #[test]
    fn a_thread_uses_memory_again() {
        let mut bulk = Buffer::new(100_000);
        while fill(&mut bulk) > 0 {}
        bulk.consumed(100_000);
        bulk.rest(0);
        assert_eq!(bulk.bytes.capacity(), 0);
        let mut next = Buffer::new(100_000);
        assert_eq!(next.space().len(), 100_000);
        next.rest(0);
        let mut smaller = Buffer::new(99_999);
        assert_eq!(smaller.space().len(), FIRST);
    }

    #[test]
    fn what_was_too_small_is_not_kept_in_spare() {
        for size in [FIRST, 8 * FIRST, 64 * FIRST, 100_000, 100_000] {
            let mut buffer = Buffer::new(100_000);
            assert_eq!(fill(&mut buffer), size);
            buffer.consumed(size);
            buffer.rest(0);
        }
    }

    #[test]
    fn what_waits_is_moved_to_as_little_memory_as_it_needs() {
        let mut buffer = Buffer::new(100_000);
        while fill(&mut buffer) > 0 {}
        buffer.consumed(50_000);
        buffer.rest(0);
        assert_eq!(buffer.bytes.len(), 100_000, "not worth it");
        buffer.consumed(48_000);
        let end = buffer.len();
        buffer.bytes[99_999] = 7;
        buffer.rest(0);
        assert_eq!(buffer.bytes.len(), 2_000);
        assert_eq!(buffer.data()[end - 1], 7);
        assert_eq!(buffer.space().len(), 98_000, "of the memory in spare");
    }

    #[test]
    fn a_read_that_waits_has_little_space() {
        let mut buffer = Buffer::new(100_000);
        assert_eq!(buffer.little_space().len(), FIRST);
        while fill(&mut buffer) > 0 {}
        assert_eq!(buffer.little_space().len(), 0, "it is full");
        buffer.consumed(100_000);
        for time in 0..2 {
            assert_eq!(buffer.little_space().len(), WAITING, "{time}");
            assert_eq!(buffer.bytes.capacity(), WAITING, "{time}");
        }
        buffer.produced(10);
        assert_eq!(buffer.little_space().len(), WAITING - 10);
        buffer.consumed(10);
        assert_eq!(buffer.little_space().len(), FIRST, "the last one was short");
        buffer.produced(10);
        assert_eq!(buffer.little_space().len(), FIRST - 10);
        assert_eq!(Buffer::new(10).little_space().len(), 10);
    }
}

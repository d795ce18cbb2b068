//! The buffer ring: memory that the kernel chooses from when bytes have come.
//!
//! A receive that waits would otherwise hold a buffer for as long as its client is silent. The
//! kernel takes buffers from the head of the ring, and they are given back at its tail. So a buffer
//! is in the ring, where the kernel may write to it, or in a completion, as a [`Filled`].

use std::io;
use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::Context as _;
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};
use uring::IoUring;
use uring::types::BufRingEntry;

/// The number by which receives name this ring.
pub const GROUP: u16 = 0;

/// Reads a number of buffers.
pub fn power_of_two(text: &str) -> Result<u16, String> {
    match text.parse::<u16>() {
        Ok(n) if n.is_power_of_two() => Ok(n),
        _ => Err("expected a power of two from 1 to 32768".to_owned()),
    }
}

/// A buffer that the kernel has taken from the ring and written to. [`BufferRing::consume`] takes
/// it: a buffer is given back once, and not read any more.
#[derive(Debug)]
pub struct Filled {
    id: u16,
    length: usize,
}

impl Filled {
    /// The buffer with the number `id`, and this many bytes in it.
    ///
    /// # Safety
    ///
    /// A completion has named the buffer, and this is called once for it.
    #[allow(
        unsafe_code,
        reason = "the kernel may write to a buffer that no completion names"
    )]
    pub unsafe fn new(id: u16, length: usize) -> Self {
        Self { id, length }
    }
}

/// Buffers of one size. They are never freed: the kernel may write to them as long as the
/// process lives.
pub struct BufferRing {
    /// `count` entries, shared with the kernel: the buffers that it may take.
    entries: NonNull<BufRingEntry>,
    /// `count * size` bytes; buffer number `id` begins at `id * size`.
    bytes: NonNull<u8>,
    /// A power of two.
    count: u16,
    size: usize,
    /// Where the next buffer is given back, counted on without end.
    tail: u16,
}

impl BufferRing {
    /// `count` buffers, a power of two, of `size` bytes. An error means that there is no memory.
    pub fn new(count: u16, size: usize) -> anyhow::Result<Self> {
        let map = |bytes: usize| {
            map(bytes).with_context(|| {
                format!("no memory for {count} buffers of {size} bytes (--ring-buffers)")
            })
        };
        Ok(Self {
            entries: map(usize::from(count) * size_of::<BufRingEntry>())?.cast(),
            bytes: map(usize::from(count) * size)?,
            count,
            size,
            tail: 0,
        })
    }

    /// Hands all buffers to the kernel, as the one buffer ring of `uring`. To be called once.
    #[allow(unsafe_code, reason = "the kernel is handed the memory for good")]
    pub fn register(&mut self, uring: &IoUring) -> io::Result<()> {
        let address = self.entries.as_ptr() as u64;
        // SAFETY: a mapping of `count` entries, page-aligned and never unmapped.
        unsafe {
            uring
                .submitter()
                .register_buf_ring_with_flags(address, self.count, GROUP, 0)
        }?;
        (0..self.count).for_each(|id| self.give_back(id));
        Ok(())
    }

    /// Shows the bytes of a buffer, and gives it back to the kernel.
    #[allow(clippy::needless_pass_by_value, reason = "it is not to be used again")]
    #[allow(unsafe_code, reason = "the kernel has written to the memory")]
    pub fn consume(&mut self, filled: Filled, consumer: impl FnOnce(&[u8])) {
        let Filled { id, length } = filled;
        assert!(
            id < self.count && length <= self.size,
            "the kernel named buffer {id} with {length} bytes"
        );
        // SAFETY: within the mapping. The kernel does not write to the buffer before the line after
        // this, as it is not in the ring: it is in `filled`.
        consumer(unsafe {
            let start = self.bytes.add(usize::from(id) * self.size);
            std::slice::from_raw_parts(start.as_ptr(), length)
        });
        self.give_back(id);
    }

    /// Puts a buffer that is not in the ring at the tail of the ring.
    #[allow(unsafe_code, reason = "the entries are shared with the kernel")]
    fn give_back(&mut self, id: u16) {
        let slot = self.tail & (self.count - 1);
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: both places are within the mappings. The kernel reads no entry from the tail
        // on, and it reads the tail, which is a field of the first entry, atomically.
        unsafe {
            let buffer = self.bytes.add(usize::from(id) * self.size);
            let entry = self.entries.add(usize::from(slot)).as_mut();
            entry.set_addr(buffer.as_ptr() as u64);
            entry.set_len(self.size as u32);
            entry.set_bid(id);
            let tail = BufRingEntry::tail(self.entries.as_ptr()).cast_mut();
            AtomicU16::from_ptr(tail).store(self.tail, Ordering::Release);
        }
    }
}

#[allow(unsafe_code, reason = "memory in whole pages is had from mmap")]
fn map(bytes: usize) -> nix::Result<NonNull<u8>> {
    let bytes = NonZeroUsize::new(bytes).expect("a ring has buffers and they have bytes");
    // SAFETY: a new anonymous mapping aliases nothing.
    let memory = unsafe {
        mmap_anonymous(
            None,
            bytes,
            ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
            // With its pages: all of it is used soon, as the kernel takes the buffers in turn.
            MapFlags::MAP_PRIVATE | MapFlags::MAP_POPULATE,
        )
    }?;
    Ok(memory.cast())
}

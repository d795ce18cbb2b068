//! How many threads, or stacks without a thread, the address space has room for.
//!
//! If there is no memory for a thread's stack, spawn returns an error, and the server can try
//! again. But the new thread then asks for a second stack, for its signal handlers. If there is no
//! memory for that one, the standard library aborts the whole process. So the number of threads is
//! limited beforehand.

use crate::context::Context;
use nix::libc;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};

/// The stack of a thread in bytes: the session's buffers are on the heap.
pub const STACK: usize = 128 * 1024;

/// Mappings of one client: two stacks, each with its guard page, and a large buffer.
const MAPS_PER_CLIENT: usize = 5;
/// Mappings that the program itself has, and the heap.
const OTHER_MAPS: usize = 1024;
/// Bytes of one client beside the stack and the buffer: signal stack, guard pages, the heap's own.
const OTHER_BYTES_PER_CLIENT: usize = 64 * 1024;
/// Bytes that the program itself needs.
const OTHER_BYTES: usize = 16 * 1024 * 1024;

/// How many threads there may be at once, one for each client.
pub fn threads(context: &Context) -> usize {
    let bytes = STACK + OTHER_BYTES_PER_CLIENT + context.options.buffer_size;
    room_for(MAPS_PER_CLIENT, bytes)
}

/// How many stacks of this many bytes may be parked at once, one for each client.
pub fn parked_stacks(context: &Context, bytes: usize) -> usize {
    /// Mappings of one client: a stack with its guard page, and a large buffer.
    const MAPS: usize = 3;
    /// Bytes of one client beside the stack and the buffer: guard page, the heap's own.
    const OTHER_BYTES: usize = 16 * 1024;
    room_for(MAPS, bytes + OTHER_BYTES + context.options.buffer_size)
}

/// Clients that need this many mappings and bytes of addresses each.
fn room_for(maps_per_client: usize, bytes_per_client: usize) -> usize {
    let maps = std::fs::read_to_string("/proc/sys/vm/max_map_count")
        .ok()
        .and_then(|maps| maps.trim().parse().ok())
        .unwrap_or(usize::MAX);
    let bytes = match getrlimit(Resource::RLIMIT_AS) {
        Ok((limit, _)) if limit != RLIM_INFINITY => limit as usize,
        _ => usize::MAX,
    };
    let by_maps = maps.saturating_sub(OTHER_MAPS) / maps_per_client;
    let by_bytes = bytes.saturating_sub(OTHER_BYTES) / bytes_per_client;
    by_maps.min(by_bytes).max(1)
}

/// Lets all threads share one heap. By default glibc reserves 64 MiB of addresses for each of eight
/// heaps a core, which leaves a limited address space without room for stacks. A blocking thread
/// allocates at the beginning of a client only, so the threads hardly ever wait for each other.
///
/// To be called before there is a second thread.
#[allow(unsafe_code, reason = "only C can tell glibc")]
pub fn share_one_heap() {
    // SAFETY: it sets a parameter of the allocator, before there is a second thread.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
}

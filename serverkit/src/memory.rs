//! Memory that must stay free. If there is none for a buffer, one client is lost. But if a list
//! cannot grow, or there is none for a small object, a Rust program aborts.

use std::hint::black_box;

/// What buffers leave to everything else, in bytes.
const RESERVE: usize = 64 * 1024;

/// What a client needs at once: its first buffer, and what belongs to it.
const FIRST: usize = 64 * 1024;

/// For lists that grow with the number of clients: they are copied to twice their size.
const FOR_EACH_CLIENT: usize = 1024;

/// There is memory beside the buffers.
pub fn is_left() -> bool {
    can_be_had(RESERVE)
}

/// Whether there is memory for one more client beside `clients` others.
pub fn suffices_beside(clients: usize) -> bool {
    can_be_had(RESERVE + FIRST + clients * FOR_EACH_CLIENT)
}

fn can_be_had(bytes: usize) -> bool {
    // The memory is given back at once. Pages that are not touched cost nothing.
    let mut trial = Vec::<u8>::new();
    let success = trial.try_reserve_exact(bytes).is_ok();
    black_box(trial);
    success
}

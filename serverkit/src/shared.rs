//! Memory that a process shares with the children it forks. All else is copied by a fork.

#![allow(unsafe_code, reason = "shared memory is had from mmap")]

use std::num::NonZeroUsize;

use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};

/// Processes may change it at the same time, and it may begin as zeroes.
///
/// # Safety
///
/// It consists of atomics for which zero is a value.
pub unsafe trait Atomics: Sync {}

/// All zero, in memory that is shared with every process forked from now on. It is never given back.
pub fn zeroed<T: Atomics>() -> nix::Result<&'static T> {
    let size = NonZeroUsize::new(size_of::<T>()).expect("it has fields");
    let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: a new anonymous mapping aliases nothing. It is page-aligned, as large as T, never
    // unmapped, and its zeroes are a T.
    unsafe {
        let memory = mmap_anonymous(None, size, access, MapFlags::MAP_SHARED)?;
        Ok(memory.cast::<T>().as_ref())
    }
}

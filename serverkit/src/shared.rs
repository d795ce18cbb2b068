//! Memory that the processes of a server share: with the children that it forks, and with the programs
//! that it starts. All else is copied by a fork, and gone in another program.

#![allow(unsafe_code, reason = "shared memory is had from mmap")]

use std::fs::{File, OpenOptions};
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};

use anyhow::{Context as _, ensure};
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, mmap_anonymous};
use nix::unistd::{Pid, getpid};

use crate::pace;
use crate::stats::Stats;
use crate::trace;

const SIZE: NonZeroUsize = NonZeroUsize::new(size_of::<Shared>()).expect("it has fields");
const ACCESS: ProtFlags = ProtFlags::PROT_READ.union(ProtFlags::PROT_WRITE);

/// What the processes of a server share. Each may change it at any time, and it begins as zeroes: so
/// it consists of atomics for which zero is a value.
#[derive(Debug)]
#[repr(C)]
pub struct Shared {
    pub(crate) stats: Stats,
    pub(crate) trace: trace::Shared,
    pub(crate) pace: pace::Shared,
    /// The process that starts programs; 0: there is none.
    parent: AtomicI32,
}

impl Shared {
    /// For a process, its threads and those that it forks. It is never given back.
    pub fn new() -> nix::Result<&'static Self> {
        // SAFETY: a new anonymous mapping aliases nothing. It is page-aligned, as large as Shared,
        // never unmapped, and its zeroes are one.
        unsafe {
            let memory = mmap_anonymous(None, SIZE, ACCESS, MapFlags::MAP_SHARED)?;
            Ok(memory.cast::<Self>().as_ref())
        }
    }

    /// For a process and the programs that it starts. They find it at the descriptor of this number.
    pub fn for_programs() -> anyhow::Result<(&'static Self, OwnedFd)> {
        let create = || -> nix::Result<OwnedFd> {
            let flags = MFdFlags::MFD_ALLOW_SEALING;
            let memory = File::from(memfd_create(
                c"shared by the server and its programs",
                flags,
            )?);
            nix::unistd::ftruncate(&memory, SIZE.get() as i64)?;
            fcntl(&memory, FcntlArg::F_ADD_SEALS(SEALS))?;
            Ok(memory.into())
        };
        let memory = create().context("memfd_create")?;
        let shared = map(&memory)?;
        shared.parent.store(getpid().as_raw(), Relaxed);
        Ok((shared, memory))
    }

    /// In a program: what the process that has started it shares with it.
    pub fn inherited(number: RawFd) -> anyhow::Result<&'static Self> {
        let path = format!("/proc/self/fd/{number}");
        let memory = OpenOptions::new().read(true).write(true).open(path);
        memory
            .map_err(anyhow::Error::from)
            .and_then(|memory| map(&memory))
            .with_context(|| format!("--shared {number}"))
    }

    /// The parent of this program; `None`: this process was not started as a program of a server.
    pub(crate) fn parent(&self) -> Option<Pid> {
        let parent = Pid::from_raw(self.parent.load(Relaxed));
        (parent.as_raw() != 0 && parent != getpid()).then_some(parent)
    }
}

/// Then it keeps its size, and whoever maps it can use all of it.
const SEALS: SealFlag = SealFlag::F_SEAL_SHRINK.union(SealFlag::F_SEAL_GROW);

fn map(memory: &(impl AsFd + AsRawFd)) -> anyhow::Result<&'static Shared> {
    let seals = fcntl(memory, FcntlArg::F_GET_SEALS).unwrap_or(0);
    let size = nix::sys::stat::fstat(memory)?.st_size;
    ensure!(
        seals & SEALS.bits() == SEALS.bits() && size == SIZE.get() as i64,
        "it is not the memory of a server of this version"
    );
    // SAFETY: it is page-aligned, as large as Shared and stays so, and never unmapped. All who map it
    // use it as one, and its first zeroes are one.
    unsafe {
        let memory = mmap(None, SIZE, ACCESS, MapFlags::MAP_SHARED, memory, 0)?;
        Ok(memory.cast::<Shared>().as_ref())
    }
}

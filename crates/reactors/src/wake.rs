//! Which loops wake for a new client.
//!
//! With a listener for each loop the kernel picks one by a hash, busy or not. With one listener
//! that is in the epolls of all loops, it wakes all that wait, the "thundering herd": one gets the
//! client, and the others have woken for nothing. `EPOLLEXCLUSIVE` (Linux 4.5) wakes one of those that
//! wait. That is never a busy loop, but mostly the same one: the queue of the
//! listener keeps its order, and the first loop that waits is woken.

use std::net::TcpListener;

use nix::sys::epoll::{EpollEvent, EpollFlags};
use serverkit::{Options, listener};

/// Which loops wake for a new client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Wake {
    /// The one that the kernel picks by a hash: each has a listener
    Reuseport,
    /// One of those that wait: there is one listener, with EPOLLEXCLUSIVE
    Exclusive,
    /// All that wait: there is one listener
    Herd,
}

impl Wake {
    /// A listener for each loop, of its own or a copy of the only one.
    pub fn listeners(self, options: &Options, loops: usize) -> anyhow::Result<Vec<TcpListener>> {
        if self == Self::Reuseport {
            return listener::bind_shared(options, loops);
        }
        let listener = listener::bind(options)?;
        let copies = (0..loops).map(|_| Ok(listener.try_clone()?));
        copies.collect()
    }

    /// The listener's entry in the interest set. One that is exclusive cannot be modified, only added
    /// and deleted.
    pub fn event(self, token: usize) -> EpollEvent {
        let mut flags = EpollFlags::EPOLLIN;
        flags.set(EpollFlags::EPOLLEXCLUSIVE, self == Self::Exclusive);
        EpollEvent::new(flags, token as u64)
    }
}

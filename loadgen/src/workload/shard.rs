//! One of several generators that share a load.

use std::fmt;

/// One of several generators that share a load: of everything that can be counted, such as the requests of the common
/// schedule, it takes every `of`-th, beginning with number `index`.
///
/// So nothing is lost by rounding: what the shards take is the whole, whatever the rate and the number of shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shard {
    /// Counted from 0.
    pub index: usize,
    /// Generators that share the load.
    pub of: usize,
}

impl Default for Shard {
    fn default() -> Self {
        Self { index: 0, of: 1 }
    }
}

impl Shard {
    /// The most generators that can share a load.
    pub const MOST: usize = 1 << 20;

    /// Its part of `count` things.
    pub fn share(self, count: usize) -> usize {
        count.saturating_sub(self.index).div_ceil(self.of)
    }

    /// Which part of the common schedule one of its threads takes, and of how many parts.
    ///
    /// The threads divide what their shard has, so that generators with different numbers of threads fit together.
    pub fn part(self, thread: usize, threads: usize) -> (usize, usize) {
        (self.index + self.of * thread, self.of * threads)
    }

    /// The name of its directory.
    pub fn directory(self) -> String {
        format!("shard-{}-of-{}", self.index + 1, self.of)
    }
}

/// Such as `2/3`, counted from 1.
impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index + 1, self.of)
    }
}

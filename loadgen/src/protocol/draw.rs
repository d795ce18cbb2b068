//! Numbers that a seed draws for each request, so that they need not be stored.

use super::client::Request;

/// The increment of a Weyl sequence: 2^64 divided by the golden ratio.
pub const WEYL: u64 = 0x9e37_79b9_7f4a_7c15;

/// The finalizer of `SplitMix64` (Steele, Lea and Flood 2014).
pub fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A number for this request; `seed` is mixed already.
pub fn draw(seed: u64, request: Request) -> u64 {
    mix(seed ^ mix(request.connection).wrapping_add(request.number.wrapping_mul(WEYL)))
}

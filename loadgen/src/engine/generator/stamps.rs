//! When an answer arrived in the kernel, so that the time until the generator reads it is known.
//!
//! Linux stamps each TCP segment when it arrives (`SO_TIMESTAMPING`) and hands the stamp of the last segment out with
//! the bytes that are read. Its clock is `CLOCK_REALTIME`, while a trial is timed with `CLOCK_MONOTONIC`.

use std::io::{self, IoSliceMut};
use std::os::fd::AsRawFd;

use nix::cmsg_space;
use nix::sys::socket::{
    self, ControlMessageOwned, MsgFlags, TimestampingFlag, recvmsg, setsockopt, sockopt,
};
use rand_distr::{Distribution, Uniform};
use rand_pcg::Pcg32;
use rand_pcg::rand_core::SeedableRng;
use socket2::Socket;

use crate::engine::clock;
use crate::engine::socket::receive;
use crate::workload::load::Timestamps;

/// One of this many reads of a socket is stamped, on average.
const ONE_IN: u32 = 32;
/// A difference between two readings of the clocks that is no step of the wall clock, ns.
const TOLERANCE: i64 = 1_000;
/// No answer lies longer than this in a socket when the wall clock is set, ns.
const LONGEST_DELAY: u64 = 1_000_000_000;

/// Reads sockets, and finds out when the last of the bytes arrived.
pub struct Stamps {
    timestamps: Timestamps,
    /// Readings until the next one that is stamped.
    left: u32,
    gaps: Uniform<u32>,
    random: Pcg32,
    control: Vec<u8>,
    wall: WallClock,
}

impl Stamps {
    /// Stamps as it is asked; which readings are stamped depends on the seed.
    pub fn new(timestamps: Timestamps, seed: u64) -> Self {
        Self {
            timestamps,
            left: 0,
            // Not every 32nd: if clients take turns, it would always be the same ones.
            gaps: Uniform::new(0, 2 * ONE_IN - 1).expect("a range of constants"),
            random: Pcg32::seed_from_u64(seed),
            control: cmsg_space!(socket::Timestamps),
            wall: WallClock::new(clock::now(), clock::wall()),
        }
    }

    /// Reads what has arrived. The second value is the kernel's stamp of the last byte, nanoseconds of the wall
    /// clock, if it was asked for and the kernel has it.
    pub fn read(&mut self, socket: &Socket, buffer: &mut [u8]) -> io::Result<(usize, Option<i64>)> {
        let stamped = match self.timestamps {
            Timestamps::User => false,
            Timestamps::Kernel => true,
            Timestamps::Sampled => {
                let now = self.left == 0;
                self.left = if now {
                    self.gaps.sample(&mut self.random)
                } else {
                    self.left - 1
                };
                now
            }
        };
        if !stamped {
            return Ok((receive(socket, buffer)?, None));
        }
        // Stamps make each read of a socket slower, so a sampled socket asks for them for this one read.
        let sampled = self.timestamps == Timestamps::Sampled;
        if sampled {
            let hand_out = TimestampingFlag::SOF_TIMESTAMPING_SOFTWARE;
            setsockopt(socket, sockopt::Timestamping, &hand_out)?;
        }
        let mut parts = [IoSliceMut::new(buffer)];
        let message = recvmsg::<()>(
            socket.as_raw_fd(),
            &mut parts,
            Some(&mut self.control),
            MsgFlags::empty(),
        );
        if sampled {
            setsockopt(socket, sockopt::Timestamping, &TimestampingFlag::empty())?;
        }
        let message = message?;
        let stamp = message.cmsgs()?.find_map(|control| match control {
            ControlMessageOwned::ScmTimestampsns(stamps) => Some(stamps.system),
            _ => None,
        });
        Ok((message.bytes, stamp.map(clock::stamp)))
    }

    /// A stamp of bytes that have been read by `now`, in nanoseconds of the monotonic clock; `None` if the wall clock
    /// was set in between.
    pub fn arrival(&mut self, stamp: i64, now: u64) -> Option<u64> {
        self.wall.arrival(stamp, now, clock::wall(), clock::now)
    }
}

/// Converts times of the wall clock, which may be set at any time.
///
/// The difference between the wall clock and the monotonic clock changes only when somebody sets the wall clock.
/// If NTP makes it run faster or slower, the monotonic clock does the same.
struct WallClock {
    /// How far the wall clock is ahead of the monotonic clock, ns.
    ahead: i64,
    /// Times before this may be of a clock that was set since then.
    steady_since: u64,
}

impl WallClock {
    /// The monotonic clock and then the wall clock were read.
    fn new(before: u64, wall: i64) -> Self {
        Self {
            ahead: wall - before as i64,
            steady_since: 0,
        }
    }

    /// A time of the wall clock as one of the monotonic clock; `None`: the wall clock was set between the call before
    /// this one and `wall`. After the stamped bytes were read the monotonic clock was read, then the wall clock, and if
    /// need be it is asked what time it is `after` that.
    fn arrival(
        &mut self,
        stamp: i64,
        before: u64,
        wall: i64,
        after: impl FnOnce() -> u64,
    ) -> Option<u64> {
        let ahead = wall - before as i64;
        let change = ahead - self.ahead;
        if change.abs() <= TOLERANCE {
            // The less time passed between the two readings, the closer they are to the truth.
            self.ahead = self.ahead.min(ahead);
        } else {
            let after = after();
            let interrupted = change > 0 && wall - after as i64 <= self.ahead + TOLERANCE;
            if !interrupted {
                // After a step back, stamps of before it seem to be of a later time, by as much as the step.
                let step = change.unsigned_abs().min(LONGEST_DELAY);
                *self = Self {
                    ahead,
                    steady_since: after + step,
                };
                return None;
            }
        }
        let arrived = stamp - self.ahead;
        let known = arrived >= self.steady_since as i64 && arrived <= before as i64 + TOLERANCE;
        known.then(|| (arrived as u64).min(before))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    /// Converts a stamp at `now`, where the wall clock is ahead by `ahead` and reading a clock takes 20 ns.
    fn convert(wall: &mut WallClock, stamp: i64, now: i64, ahead: i64) -> Option<u64> {
        wall.arrival(stamp, now as u64 - 20, now + ahead, || now as u64 + 20)
    }

    /// Answers that arrive every 100 us and are read 30 us later, from `start` on.
    fn read_delays(wall: &mut WallClock, start: i64, ahead: i64) -> Vec<Option<i64>> {
        (0..20_000)
            .map(|number| {
                let arrived = start + number * 100_000;
                let read = arrived + 30_000;
                let arrival = convert(wall, arrived + ahead, read, ahead)?;
                Some(read - arrival as i64)
            })
            .collect()
    }

    #[test]
    fn a_step_of_the_wall_clock_costs_samples_and_spoils_none() {
        let ahead = 1_700_000_000 * SECOND;
        for step in [5_000, 29_000, 31_000, 70_000, SECOND / 2, 3600 * SECOND]
            .into_iter()
            .flat_map(|step| [step, -step])
        {
            let mut wall = WallClock::new(5_000_000_000, 5 * SECOND + ahead);
            let before = read_delays(&mut wall, 6 * SECOND, ahead);
            assert!(before.iter().all(Option::is_some));
            // The clock is set between an arrival and its reading, and several more lie in their sockets by then.
            for waited in [30_000, 20_000, 10_000, 500] {
                let read = 9 * SECOND;
                let arrival = convert(&mut wall, read - waited + ahead, read, ahead + step);
                assert_eq!(arrival, None, "{step} {waited}");
            }
            let after = read_delays(&mut wall, 10 * SECOND, ahead + step);
            for delay in before.iter().chain(&after).flatten() {
                assert!((29_900..30_100).contains(delay), "{step}: {delay}");
            }
            // A step back by half a second costs the samples of that time, one by an hour those of a second.
            let counted = after.iter().flatten().count();
            assert!(counted >= 9_990, "{step}: {counted}");
        }
    }

    #[test]
    fn an_interrupted_reading_of_the_clocks_is_no_step() {
        let ahead = 1_700_000_000 * SECOND;
        // Already the first reading is interrupted, for 3 ms.
        let mut wall = WallClock::new(5_000_000_000, 5 * SECOND + 3_000_000 + ahead);
        assert_eq!(
            convert(&mut wall, 6 * SECOND + ahead, 6 * SECOND, ahead),
            None
        );
        let stamp = 6_998_000_000 + ahead;
        let arrived = wall.arrival(stamp, 6_999_000_000, 7 * SECOND + ahead, || 7_008_000_000);
        assert!(
            arrived.unwrap().abs_diff(6_998_000_000) < 100,
            "{arrived:?}"
        );
    }
}

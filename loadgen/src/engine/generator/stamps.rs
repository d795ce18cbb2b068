//! When an answer arrived in the kernel, so that the time until the generator reads it is known.
//!
//! Linux stamps each TCP segment when it arrives (`SO_TIMESTAMPING`) and hands the stamp of the last segment out with
//! the bytes that are read. Its clock is `CLOCK_REALTIME`, while a trial is timed with `CLOCK_MONOTONIC`.

use std::io;
use std::ops::Range;

use nix::sys::socket::{TimestampingFlag, setsockopt, sockopt};
use rand_distr::{Distribution, Uniform};
use rand_pcg::Pcg32;
use rand_pcg::rand_core::SeedableRng;
use socket2::Socket;

use crate::engine::clock;
use crate::engine::socket::{receive, receive_stamped};
use crate::workload::load::{Timestamps, Workload};

/// One of this many reads of a socket is stamped, on average.
const ONE_IN: u32 = 32;
/// A difference between two readings of the clocks that is no step of the wall clock, ns.
const TOLERANCE: i64 = 1_000;
/// No answer lies longer than this in a socket when the wall clock is set, ns.
const LONGEST_DELAY: u64 = 1_000_000_000;

/// Reads sockets, and finds out when the last of the bytes arrived.
pub struct Stamps {
    timestamps: Timestamps,
    sample: Sample,
    wall: WallClock,
}

impl Stamps {
    /// Stamps as it is asked, if the kernel can; which reads are sampled depends on the seed.
    pub fn new(workload: &Workload, can_stamp: bool) -> Self {
        Self {
            timestamps: if can_stamp {
                workload.timestamps
            } else {
                Timestamps::User
            },
            sample: Sample::new(workload.seed),
            wall: WallClock::new(clock::now(), clock::wall()),
        }
    }

    /// A turn of the event loop begins. In it, a stamp of an answer that has arrived by `now` needs no reading of the wall
    /// clock.
    pub fn begin_turn(&mut self, now: u64) {
        if self.timestamps == Timestamps::Kernel {
            self.wall.begin_turn(now, clock::wall(), clock::now);
        }
    }

    /// Reads what has arrived. The second value is the kernel's stamp of the last byte, nanoseconds of the wall
    /// clock, if it was asked for and the kernel has it.
    pub fn read(&mut self, socket: &Socket, buffer: &mut [u8]) -> io::Result<(usize, Option<i64>)> {
        let (count, stamp) = match self.timestamps {
            Timestamps::Kernel => receive_stamped(socket, buffer)?,
            Timestamps::Sampled if self.sample.is_next() => {
                // Stamps make each read of a socket slower, so the socket hands them out for this one read.
                let hand_out = TimestampingFlag::SOF_TIMESTAMPING_SOFTWARE;
                setsockopt(socket, sockopt::Timestamping, &hand_out)?;
                let result = receive_stamped(socket, buffer);
                setsockopt(socket, sockopt::Timestamping, &TimestampingFlag::empty())?;
                result?
            }
            Timestamps::Sampled | Timestamps::User => (receive(socket, buffer)?, None),
        };
        Ok((count, stamp.map(|stamp| clock::stamp(stamp.into()))))
    }

    /// A stamp of bytes that have been read by `now`, in nanoseconds of the monotonic clock; `None` if the wall clock
    /// was set in between.
    pub fn arrival(&mut self, stamp: i64, now: u64) -> Option<u64> {
        self.wall.arrival(stamp, now, clock::wall, clock::now)
    }
}

/// A random sample of the reads. Not every 32nd one: if clients take turns, it would always be the same ones.
struct Sample {
    /// Reads until the next one of the sample.
    left: u32,
    gaps: Uniform<u32>,
    random: Pcg32,
}

impl Sample {
    fn new(seed: u64) -> Self {
        Self {
            left: 0,
            gaps: Uniform::new(0, 2 * ONE_IN - 1).expect("a range of constants"),
            random: Pcg32::seed_from_u64(seed),
        }
    }

    fn is_next(&mut self) -> bool {
        let is_next = self.left == 0;
        self.left = if is_next {
            self.gaps.sample(&mut self.random)
        } else {
            self.left - 1
        };
        is_next
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
    /// When the last turn began, on the monotonic clock.
    turn: u64,
    /// From the turn before to the last one; the wall clock was not set in this time.
    steady: Range<i64>,
}

impl WallClock {
    /// The monotonic clock and then the wall clock were read.
    fn new(before: u64, wall: i64) -> Self {
        Self {
            ahead: wall - before as i64,
            steady_since: 0,
            turn: before,
            steady: 0..0,
        }
    }

    /// A turn of the event loop begins. The arguments are those of [`WallClock::check`].
    fn begin_turn(&mut self, before: u64, wall: i64, after: impl FnOnce() -> u64) {
        self.check(before, wall, after);
        let since = self.turn.max(self.steady_since);
        self.steady = since as i64..before as i64;
        self.turn = before;
    }

    /// Returns whether the wall clock was not set since the last check. The monotonic clock was read, then the wall
    /// clock, and if need be it is asked what time it is `after` that.
    fn check(&mut self, before: u64, wall: i64, after: impl FnOnce() -> u64) -> bool {
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
                self.ahead = ahead;
                self.steady_since = after + step;
                self.steady = 0..0;
                return false;
            }
        }
        true
    }

    /// A time of the wall clock as one of the monotonic clock; `None`: the wall clock was set between the last check
    /// and now. The stamped bytes were read before `now`.
    ///
    /// Most answers arrived in the turn before the one in which they are read, and need no check. Only an answer that
    /// arrives in the same turn, after the wall clock was set back by less than two turns, is taken for one of them.
    /// The error is as small as the step.
    fn arrival(
        &mut self,
        stamp: i64,
        now: u64,
        wall: impl FnOnce() -> i64,
        after: impl FnOnce() -> u64,
    ) -> Option<u64> {
        let arrived = stamp - self.ahead;
        if self.steady.contains(&arrived) {
            return Some(arrived as u64);
        }
        if !self.check(now, wall(), after) {
            return None;
        }
        let arrived = stamp - self.ahead;
        let known = arrived >= self.steady_since as i64 && arrived <= now as i64 + TOLERANCE;
        known.then(|| (arrived as u64).min(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    /// Converts a stamp at `now`, where the wall clock is ahead by `ahead` and reading a clock takes 20 ns.
    fn convert(wall: &mut WallClock, stamp: i64, now: i64, ahead: i64) -> Option<u64> {
        wall.arrival(stamp, now as u64 - 20, || now + ahead, || now as u64 + 20)
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
        let wall_now = || 7 * SECOND + ahead;
        let arrived = wall.arrival(stamp, 6_999_000_000, wall_now, || 7_008_000_000);
        assert!(
            arrived.unwrap().abs_diff(6_998_000_000) < 100,
            "{arrived:?}"
        );
    }

    #[test]
    fn in_a_steady_turn_the_wall_clock_is_read_once() {
        let ahead = 1_700_000_000 * SECOND;
        let turn = 200_000;
        for step in [
            -3600 * SECOND,
            -SECOND,
            -2 * turn,
            2_000,
            turn,
            SECOND,
            3600 * SECOND,
        ] {
            let begin = |wall: &mut WallClock, number: i64, ahead: i64| {
                let now = 6 * SECOND + number * turn;
                wall.begin_turn(now as u64, now + ahead, || now as u64 + 20);
                now
            };
            let mut wall = WallClock::new(5_000_000_000, 5 * SECOND + ahead);
            begin(&mut wall, 0, ahead);
            let now = begin(&mut wall, 1, ahead);
            for waited in [10, 30_000, turn] {
                let stamp = now - waited + ahead;
                let arrived = wall.arrival(stamp, now as u64, || unreachable!(), || unreachable!());
                assert_eq!(arrived, Some((now - waited) as u64));
            }
            // One arrives after the beginning of the turn, is read at once, and in between the clock is set.
            let read = now + 40_000;
            let stamp = read - 10_000 + ahead + step;
            let arrived = convert(&mut wall, stamp, read, ahead + step);
            assert_eq!(arrived, None, "{step}");
            // Those of before the step are not known any more, and not converted wrongly.
            let arrived = convert(&mut wall, now - 10_000 + ahead, read, ahead + step);
            assert_eq!(arrived, None, "{step}");
            // Later ones are, once so much time has passed that they cannot be of before a step back.
            let later = (step.abs().min(SECOND) / turn) + 3;
            begin(&mut wall, later, ahead + step);
            let now = begin(&mut wall, later + 1, ahead + step);
            let stamp = now - 30_000 + ahead + step;
            let arrived = wall.arrival(stamp, now as u64, || unreachable!(), || unreachable!());
            assert!(
                arrived.is_some_and(|at| at.abs_diff(now as u64 - 30_000) < 100),
                "{step}"
            );
        }
    }
}

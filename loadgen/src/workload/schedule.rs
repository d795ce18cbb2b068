//! When requests are due: an absolute, seeded sequence of instants.
//!
//! A schedule is a pure function of its seed and never moves: a request that could not be sent in time keeps the
//! instant at which it was due. While no connection is free the cursor stands still: the requests that are due
//! behind it are the queue.
//!
//! Several threads or generators share one schedule: each takes every n-th request. Together they send exactly the
//! common schedule, even if there are more of them than requests a second.
//!
//! A rate that changes is a change of the clock: the arrivals of a process with one request a second are moved to the
//! instants at which the area under the curve of the rate reaches theirs (the inverse of the cumulative rate; Çinlar,
//! *Introduction to Stochastic Processes*, 1975, chapter 4.7). So a Poisson process stays one while its rate changes.

use std::sync::Arc;

use rand::SeedableRng;
use rand_distr::{Distribution, Exp1};
use rand_pcg::Pcg64;

use crate::workload::course::{Course, Stage};
use crate::workload::load::{Arrivals, Load, Workload};

const NANOS: f64 = 1e9;

/// Where the instants come from.
#[derive(Debug, Clone)]
enum Curve {
    /// One rate; the mean gap in nanoseconds.
    Steady(f64),
    /// Rates that change.
    Stages { ramps: Vec<Ramp>, current: usize },
    /// Instants that somebody recorded, nanoseconds from `start`.
    Recorded { instants: Arc<[u64]>, start: u64 },
}

/// A [`Stage`] and its place in the curve.
#[derive(Debug, Clone, Copy)]
struct Ramp {
    /// When it begins, nanoseconds from the start.
    start: f64,
    length: f64,
    /// Requests a nanosecond at its beginning and its end.
    from: f64,
    to: f64,
    /// Requests in all stages before it.
    before: f64,
}

impl Ramp {
    /// The requests in it.
    fn requests(&self) -> f64 {
        f64::midpoint(self.from, self.to) * self.length
    }

    /// The instant of the request at this position, nanoseconds from the start.
    fn instant(&self, position: f64) -> f64 {
        let area = position - self.before;
        if area <= 0.0 {
            return self.start;
        }
        // The root of `from t + (to - from) t^2 / (2 length) = area`, in the form that does not subtract.
        let slope = (self.to - self.from) / self.length;
        let root = (self.from * self.from + 2.0 * slope * area).max(0.0).sqrt();
        self.start + 2.0 * area / (self.from + root)
    }
}

impl Curve {
    /// The instant of the request at `position`, which is never less than that of the call before. `None`: the curve
    /// ends before it.
    fn instant(&mut self, position: f64) -> Option<f64> {
        match self {
            Self::Steady(gap) => Some(position * *gap),
            Self::Stages { ramps, current } => loop {
                let ramp = ramps.get(*current)?;
                if position < ramp.before + ramp.requests() {
                    return Some(ramp.instant(position));
                }
                *current += 1;
            },
            Self::Recorded { instants, start } => {
                let at = instants.get(position as usize)?;
                Some((at + *start) as f64)
            }
        }
    }
}

/// The instants of one part of a schedule in ascending order, nanoseconds from its start.
#[derive(Debug, Clone)]
pub struct Schedule {
    arrivals: Arrivals,
    curve: Curve,
    horizon: u64,
    step: u64,
    /// The same sequence on every platform, so that generators on different hosts share one schedule.
    random: Pcg64,
    /// The number of the last request in the common schedule.
    index: u64,
    /// The requests due by then at a rate that is always 1: a sum of gaps. Up to 2^53 it is exact enough for whole
    /// nanoseconds.
    position: f64,
    next: Option<u64>,
}

impl Schedule {
    /// The instants of one thread of this generator, from the beginning of the warm-up; `None` in a closed loop.
    /// Stages begin after a warm-up at their first rate, a recording after one without load.
    pub fn of(workload: &Workload, thread: usize, threads: usize) -> Option<Self> {
        let Load::Open { rate, arrivals } = workload.load else {
            return None;
        };
        let (part, parts) = workload.shard.part(thread, threads);
        let warmup = workload.warmup.as_nanos() as u64;
        let horizon = warmup + workload.duration.as_nanos() as u64;
        Some(match &workload.course {
            Course::Steady => Self::new(rate, arrivals, workload.seed, horizon, part, parts),
            Course::Stages(stages) => {
                let first = stages.first().map_or(0.0, |stage| stage.from);
                let warmup = (warmup > 0).then_some(Stage {
                    from: first,
                    to: first,
                    length: workload.warmup,
                });
                let all: Vec<Stage> = warmup.into_iter().chain(stages.iter().copied()).collect();
                Self::of_stages(&all, arrivals, workload.seed, part, parts)
            }
            Course::Recorded(instants) => {
                Self::recorded(Arc::clone(instants), warmup, horizon, part, parts)
            }
        })
    }

    /// Part `share`, counted from 0, of a schedule that is divided into `of` parts. The whole has `rate` requests a
    /// second and ends before `horizon` nanoseconds.
    pub fn new(
        rate: f64,
        arrivals: Arrivals,
        seed: u64,
        horizon: u64,
        share: usize,
        of: usize,
    ) -> Self {
        let curve = Curve::Steady(NANOS / rate);
        Self::along(curve, arrivals, seed, horizon, share, of)
    }

    /// The same for a rate that changes; the whole ends with the last stage. At a jump between two stages the rate is
    /// that of the second.
    pub fn of_stages(
        stages: &[Stage],
        arrivals: Arrivals,
        seed: u64,
        share: usize,
        of: usize,
    ) -> Self {
        let (mut start, mut before) = (0.0, 0.0);
        let ramps: Vec<Ramp> = stages
            .iter()
            .map(|stage| {
                let ramp = Ramp {
                    start,
                    length: stage.length.as_nanos() as f64,
                    from: stage.from / NANOS,
                    to: stage.to / NANOS,
                    before,
                };
                start += ramp.length;
                before += ramp.requests();
                ramp
            })
            .collect();
        let curve = Curve::Stages { ramps, current: 0 };
        Self::along(curve, arrivals, seed, start as u64, share, of)
    }

    /// The same for instants in ascending order, nanoseconds from `start`.
    pub fn recorded(
        instants: Arc<[u64]>,
        start: u64,
        horizon: u64,
        share: usize,
        of: usize,
    ) -> Self {
        // A recording has its own gaps: the position is the number of the request.
        let curve = Curve::Recorded { instants, start };
        Self::along(curve, Arrivals::Constant, 0, horizon, share, of)
    }

    fn along(
        curve: Curve,
        arrivals: Arrivals,
        seed: u64,
        horizon: u64,
        share: usize,
        of: usize,
    ) -> Self {
        let mut schedule = Self {
            arrivals,
            curve,
            horizon,
            step: of as u64,
            random: Pcg64::seed_from_u64(seed),
            index: 0,
            position: 0.0,
            next: None,
        };
        // A Poisson process has no arrival at its start; equal gaps begin with one.
        let first = match arrivals {
            Arrivals::Poisson => share + 1,
            Arrivals::Constant => share,
        };
        schedule.forward(first as u64);
        schedule
    }

    /// The next instant, or `None` at the end.
    pub fn peek(&self) -> Option<u64> {
        self.next
    }

    /// Steps over the next instant.
    pub fn advance(&mut self) {
        if self.next.is_some() {
            self.forward(self.step);
        }
    }

    fn forward(&mut self, steps: u64) {
        self.index += steps;
        match self.arrivals {
            Arrivals::Constant => self.position = self.index as f64,
            Arrivals::Poisson => {
                for _ in 0..steps {
                    let gap: f64 = Exp1.sample(&mut self.random);
                    self.position += gap;
                }
            }
        }
        let at = self.curve.instant(self.position).map(|at| at as u64);
        self.next = at.filter(|at| *at < self.horizon);
    }
}

impl Iterator for Schedule {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let next = self.peek()?;
        self.advance();
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn all(rate: f64, arrivals: Arrivals, seconds: u64) -> Vec<u64> {
        Schedule::new(rate, arrivals, 7, seconds * SECOND, 0, 1).collect()
    }

    /// Kolmogorov-Smirnov against the exponential distribution: with n = 100,000 gaps the distance
    /// stays below 1.95 / sqrt(n) in 999 of 1,000 seeds; the seed is fixed, so this never flickers.
    #[test]
    fn poisson_gaps_are_exponential() {
        let rate = 10_000.0;
        let instants = all(rate, Arrivals::Poisson, 10);
        let mut gaps: Vec<f64> = std::iter::once(0)
            .chain(instants.iter().copied())
            .zip(&instants)
            .map(|(before, &after)| (after - before) as f64 / NANOS * rate)
            .collect();
        gaps.sort_by(f64::total_cmp);
        let n = gaps.len() as f64;
        let distance = gaps
            .iter()
            .enumerate()
            .map(|(i, gap)| {
                let expected = 1.0 - (-gap).exp();
                (expected - i as f64 / n)
                    .abs()
                    .max((expected - (i + 1) as f64 / n).abs())
            })
            .fold(0.0, f64::max);
        assert!((n - 100_000.0).abs() < 4.0 * 100_000f64.sqrt(), "n = {n}");
        assert!(distance < 1.95 / n.sqrt(), "distance {distance}");
    }

    /// Independent gaps: the lag-1 autocorrelation of n samples is within 4 / sqrt(n).
    #[test]
    fn poisson_gaps_are_independent() {
        let instants = all(10_000.0, Arrivals::Poisson, 10);
        let gaps: Vec<f64> = instants.windows(2).map(|w| (w[1] - w[0]) as f64).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance: f64 = gaps.iter().map(|g| (g - mean).powi(2)).sum();
        let covariance: f64 = gaps.windows(2).map(|w| (w[0] - mean) * (w[1] - mean)).sum();
        assert!((covariance / variance).abs() < 4.0 / (gaps.len() as f64).sqrt());
    }

    #[test]
    fn constant_gaps_are_equal_and_do_not_drift() {
        let instants = all(3.0, Arrivals::Constant, 3000);
        assert_eq!(instants.len(), 9000);
        assert_eq!(instants[8997], 2999 * SECOND);
    }

    /// Up, steady, down to nothing, a pause, and a jump.
    fn stages() -> Vec<Stage> {
        [
            (0.0, 2000.0, 3),
            (2000.0, 2000.0, 2),
            (2000.0, 0.0, 4),
            (0.0, 0.0, 1),
            (500.0, 700.0, 5),
        ]
        .map(|(from, to, seconds)| Stage {
            from,
            to,
            length: Duration::from_secs(seconds),
        })
        .to_vec()
    }

    /// The area under the rates of `stages()` until `t` seconds.
    fn area(t: f64) -> f64 {
        let mut begin = 0.0;
        let mut sum = 0.0;
        for stage in stages() {
            let length = stage.length.as_secs_f64();
            let into = (t - begin).clamp(0.0, length);
            sum += stage.from * into + (stage.to - stage.from) * into * into / (2.0 * length);
            begin += length;
        }
        sum
    }

    #[test]
    fn requests_at_a_changing_rate_are_due_where_its_area_reaches_their_number() {
        let due: Vec<u64> = Schedule::of_stages(&stages(), Arrivals::Constant, 7, 0, 1).collect();
        // 3000 + 4000 + 4000 + 0 + 3000.
        assert_eq!(due.len(), 14_000);
        assert!(due.is_sorted());
        for (number, due) in due.iter().enumerate() {
            let reached = area(*due as f64 / NANOS);
            // Instants are whole nanoseconds, and 2000 requests a second are 2e-6 in each.
            assert!(
                (reached - number as f64).abs() < 1e-5,
                "{number}: {reached}"
            );
        }
        let pause = due
            .iter()
            .filter(|due| (9 * SECOND + 1..10 * SECOND).contains(due));
        assert_eq!(pause.count(), 0);
    }

    /// With time replaced by the area under the rate, it is a Poisson process of rate 1: the counts of the stages
    /// are within four standard deviations, and its gaps are exponential.
    #[test]
    fn a_changing_rate_keeps_its_arrivals_poisson() {
        let due: Vec<u64> = Schedule::of_stages(&stages(), Arrivals::Poisson, 7, 0, 1).collect();
        let mut begin = 0;
        for (stage, expected) in stages().iter().zip([3000.0, 4000.0, 4000.0, 0.0, 3000.0]) {
            let end = begin + stage.length.as_nanos() as u64;
            let count = due.iter().filter(|due| (begin..end).contains(due)).count() as f64;
            assert!(
                (count - expected).abs() <= 4.0 * f64::sqrt(expected),
                "{stage:?}: {count}"
            );
            begin = end;
        }
        let mut gaps: Vec<f64> = due
            .windows(2)
            .map(|pair| area(pair[1] as f64 / NANOS) - area(pair[0] as f64 / NANOS))
            .collect();
        gaps.sort_by(f64::total_cmp);
        let n = gaps.len() as f64;
        let distance = gaps
            .iter()
            .enumerate()
            .map(|(i, gap)| (1.0 - (-gap).exp() - (i as f64 + 0.5) / n).abs())
            .fold(0.0, f64::max);
        assert!(distance < 1.95 / n.sqrt(), "distance {distance}");
    }

    #[test]
    fn one_stage_is_a_steady_rate() {
        let steady = Stage {
            from: 300.0,
            to: 300.0,
            length: Duration::from_secs(20),
        };
        for arrivals in [Arrivals::Poisson, Arrivals::Constant] {
            let staged = Schedule::of_stages(&[steady], arrivals, 7, 0, 1);
            for (staged, steady) in staged.zip(all(300.0, arrivals, 20)) {
                assert!(staged.abs_diff(steady) <= 1, "{staged} {steady}");
            }
        }
    }

    #[test]
    fn recorded_instants_are_due_as_they_were() {
        let instants: Arc<[u64]> = [5, 5, 70, 900, 901, 5_000].into();
        let due: Vec<u64> = Schedule::recorded(instants.clone(), 0, 5_000, 0, 1).collect();
        assert_eq!(due, [5, 5, 70, 900, 901]);
        let second: Vec<u64> = Schedule::recorded(instants, 100, 9_000, 1, 2).collect();
        assert_eq!(second, [105, 1_000, 5_100]);
    }

    #[test]
    fn shares_of_a_changing_rate_are_the_whole() {
        for arrivals in [Arrivals::Poisson, Arrivals::Constant] {
            let whole: Vec<u64> = Schedule::of_stages(&stages(), arrivals, 7, 0, 1).collect();
            let mut union: Vec<u64> = (0..3)
                .flat_map(|share| Schedule::of_stages(&stages(), arrivals, 7, share, 3))
                .collect();
            union.sort_unstable();
            assert_eq!(union, whole);
        }
    }

    #[test]
    fn shares_together_are_the_whole_schedule() {
        for arrivals in [Arrivals::Poisson, Arrivals::Constant] {
            // 5 requests a second over 7 shares, and the other way round.
            for (rate, shares) in [(5.0, 7), (500.0, 3), (500.0, 1)] {
                let mut union: Vec<u64> = (0..shares)
                    .flat_map(|share| Schedule::new(rate, arrivals, 7, 20 * SECOND, share, shares))
                    .collect();
                union.sort_unstable();
                assert_eq!(
                    union,
                    all(rate, arrivals, 20),
                    "{arrivals:?} {rate} {shares}"
                );
            }
        }
    }

    /// One worker with a constant service time on this schedule, by Lindley's recursion: its mean wait is that of
    /// M/D/1 (Pollaczek and Khinchine), rho D / (2 (1 - rho)).
    #[test]
    fn a_queue_fed_by_it_waits_as_the_theory_says() {
        let service = 1e6;
        for (utilisation, seconds) in [(0.3, 1000), (0.5, 2000), (0.7, 4000), (0.9, 20_000)] {
            let rate = utilisation * NANOS / service;
            let schedule = Schedule::new(rate, Arrivals::Poisson, 7, seconds * SECOND, 0, 1);
            let (mut free_at, mut waits, mut count) = (0.0_f64, 0.0, 0.0);
            for due in schedule.map(|due| due as f64) {
                waits += (free_at - due).max(0.0);
                free_at = free_at.max(due) + service;
                count += 1.0;
            }
            let found = waits / count;
            let expected = utilisation * service / (2.0 * (1.0 - utilisation));
            assert!(
                (found / expected - 1.0).abs() < 0.02,
                "at {utilisation}: {found} ns instead of {expected} ns"
            );
        }
    }

    /// Generators on different hosts, with different builds, must share one schedule.
    #[test]
    fn a_seed_has_the_same_arrivals_everywhere() {
        let first: Vec<u64> = all(1000.0, Arrivals::Poisson, 1)
            .into_iter()
            .take(8)
            .collect();
        assert_eq!(
            first,
            [
                2_311, 564_604, 1_225_436, 1_535_804, 2_837_056, 3_074_521, 3_244_108, 3_918_202
            ]
        );
    }

    #[test]
    fn another_seed_is_another_schedule() {
        let other: Vec<u64> =
            Schedule::new(100.0, Arrivals::Poisson, 8, 10 * SECOND, 0, 1).collect();
        assert_ne!(other, all(100.0, Arrivals::Poisson, 10));
    }
}

//! Where a moment stands in a picture.
//!
//! A server waits for milliseconds and works for microseconds. Drawn to scale, all that it does in a busy moment
//! would fall on one line. So two moments that follow each other are a few pixels apart at least, and what is left
//! of the width is shared out to scale. The ticks show the true times.

/// The least distance of two moments, pixels, if there is room.
const GAP: f64 = 4.0;
/// The share of the width that busy moments may take together.
const BUSY: f64 = 0.4;
/// The distance of ticks, pixels.
const BETWEEN_TICKS: f64 = 64.0;

/// The time axis of a picture.
#[derive(Debug)]
pub struct Axis {
    /// Moments and where they stand, both ascending. Between them it is to scale.
    points: Vec<(i64, f64)>,
    /// Pixels a nanosecond where nothing happens.
    scale: f64,
}

impl Axis {
    /// An axis of this width. `moments` are sorted and lie between `from` and `to`.
    pub fn new(from: i64, to: i64, moments: &[i64], width: f64) -> Self {
        let mut times = vec![from];
        times.extend(moments.iter().copied().filter(|&t| t > from && t < to));
        times.push(to.max(from + 1));
        let steps: Vec<f64> = times
            .windows(2)
            .map(|pair| (pair[1] - pair[0]) as f64)
            .collect();
        let gap = GAP.min(BUSY * width / steps.len() as f64);
        let scale = scale(&steps, gap, width);
        let mut x = 0.0;
        let mut points = vec![(from, x)];
        for (step, &t) in steps.iter().zip(&times[1..]) {
            x += (step * scale).max(gap);
            points.push((t, x));
        }
        Self { points, scale }
    }

    /// Where a moment stands, pixels from the left.
    pub fn x(&self, t: i64) -> f64 {
        let after = self.points.partition_point(|&(at, _)| at <= t);
        let (Some(&(t0, x0)), Some(&(t1, x1))) = (
            self.points.get(after.saturating_sub(1)),
            self.points.get(after),
        ) else {
            let last = if after == 0 {
                self.points.first()
            } else {
                self.points.last()
            };
            return last.map_or(0.0, |&(_, x)| x);
        };
        if after == 0 {
            return x0;
        }
        x0 + (x1 - x0) * (t - t0) as f64 / (t1 - t0) as f64
    }

    /// Where the scale changes: moments and their places.
    pub fn points(&self) -> &[(i64, f64)] {
        &self.points
    }

    /// Whether busy moments are drawn wider than they lasted.
    pub fn is_stretched(&self) -> bool {
        let ends = self.points.first().zip(self.points.last());
        ends.is_some_and(|((t0, x0), (t1, x1))| (x1 - x0) / (t1 - t0) as f64 > self.scale * 1.02)
    }

    /// Round times and where they stand.
    pub fn ticks(&self) -> Vec<(i64, f64)> {
        let (Some(&(from, _)), Some(&(to, _))) = (self.points.first(), self.points.last()) else {
            return Vec::new();
        };
        let least = BETWEEN_TICKS / self.scale.max(1e-12);
        let step = round_up(least);
        let first = from.div_euclid(step) * step;
        let mut ticks: Vec<(i64, f64)> = Vec::new();
        let mut t = first;
        while t <= to && ticks.len() < 100 {
            // Before its zero a picture only shows that the server runs.
            if t >= from.max(0) {
                let x = self.x(t);
                if ticks
                    .last()
                    .is_none_or(|(_, before)| x - before > BETWEEN_TICKS / 2.0)
                {
                    ticks.push((t, x));
                }
            }
            t += step;
        }
        ticks
    }
}

/// The pixels a nanosecond at which all steps, none narrower than the gap, fill the width.
fn scale(steps: &[f64], gap: f64, width: f64) -> f64 {
    let total: f64 = steps.iter().sum();
    let (mut low, mut high) = (0.0, width / total.max(1.0));
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        let filled: f64 = steps.iter().map(|step| (step * middle).max(gap)).sum();
        if filled > width {
            high = middle;
        } else {
            low = middle;
        }
    }
    low
}

/// The next of 1, 2, 5, 10, 20 ... nanoseconds.
fn round_up(least: f64) -> i64 {
    let mut power = 1_i64;
    while power < i64::MAX / 100 {
        for step in [power, 2 * power, 5 * power] {
            if step as f64 >= least {
                return step;
            }
        }
        power *= 10;
    }
    power
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    #[test]
    fn busy_moments_are_apart_and_the_rest_is_to_scale() {
        // Five events within 40 us, in a scene of 400 ms.
        let burst: Vec<i64> = (0..5).map(|n| 100 * MS + n * 10_000).collect();
        let axis = Axis::new(0, 400 * MS, &burst, 700.0);
        for pair in burst.windows(2) {
            let apart = axis.x(pair[1]) - axis.x(pair[0]);
            assert!((apart - GAP).abs() < 0.01, "{apart}");
        }
        assert!((axis.x(400 * MS) - 700.0).abs() < 0.01);
        assert!(axis.x(0) < 0.01);
        let (before, after) = (axis.x(100 * MS), 700.0 - axis.x(100 * MS + 40_000));
        assert!((after / before - 3.0).abs() < 0.01, "{before} {after}");
        assert!(axis.is_stretched());
        assert!(!Axis::new(0, 400 * MS, &[100 * MS], 700.0).is_stretched());
    }

    #[test]
    fn very_many_moments_leave_room_for_the_time_between() {
        let moments: Vec<i64> = (0..100_000).collect();
        let axis = Axis::new(0, 400 * MS, &moments, 700.0);
        assert!(axis.x(100_000) < 0.5 * 700.0, "{}", axis.x(100_000));
        assert!((axis.x(400 * MS) - 700.0).abs() < 0.01);
    }

    #[test]
    fn ticks_are_round_and_not_too_near() {
        let axis = Axis::new(-15 * MS, 400 * MS, &[3 * MS], 700.0);
        let ticks = axis.ticks();
        assert_eq!(ticks[0].0, 0);
        assert_eq!(ticks[1].0, 50 * MS);
        assert!(ticks.windows(2).all(|pair| pair[1].1 - pair[0].1 > 30.0));
        assert!(Axis::new(0, 0, &[], 700.0).x(0) < 0.01);
    }
}

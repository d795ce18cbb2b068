//! A straight line through the points of one trial.

/// `y = intercept + slope * x`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Line {
    /// What `y` is at 0.
    pub intercept: f64,
    /// What one more of `x` adds.
    pub slope: f64,
}

impl Line {
    /// The line with the least squares of the *relative* residuals: figures of a machine spread in proportion to their
    /// size, and points that are decades apart should count alike. `None` with fewer than two different `x`, or when a
    /// `y` is not above zero.
    pub fn through(points: &[(f64, f64)]) -> Option<Self> {
        if points.iter().any(|(_, y)| *y <= 0.0) {
            return None;
        }
        let sum = |term: fn(f64, f64) -> f64| -> f64 {
            points.iter().map(|(x, y)| term(*x, *y) / (y * y)).sum()
        };
        let (w, wx, wy) = (sum(|_, _| 1.0), sum(|x, _| x), sum(|_, y| y));
        let (wxx, wxy) = (sum(|x, _| x * x), sum(|x, y| x * y));
        let determinant = w * wxx - wx * wx;
        if determinant <= f64::EPSILON * w * wxx {
            return None;
        }
        Some(Self {
            intercept: (wxx * wy - wx * wxy) / determinant,
            slope: (w * wxy - wx * wy) / determinant,
        })
    }

    /// What `y` is at `x`.
    pub fn at(&self, x: f64) -> f64 {
        self.intercept + self.slope * x
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_over_decades() {
        let exact: Vec<(f64, f64)> = [0.0, 10.0, 100.0, 1e3, 1e4]
            .map(|x| (x, 3.0 + 0.02 * x))
            .into();
        let line = Line::through(&exact).unwrap();
        assert!((line.intercept - 3.0).abs() < 1e-9 && (line.slope - 0.02).abs() < 1e-12);
        // One percent at the far end is more than the whole intercept, and does not hide it.
        let mut bent = exact;
        bent[4].1 *= 1.02;
        let line = Line::through(&bent).unwrap();
        assert!((line.intercept / 3.0 - 1.0).abs() < 0.02, "{line:?}");
        assert!((line.at(1e4) / 203.0 - 1.0).abs() < 0.03, "{line:?}");
    }

    #[test]
    fn one_place_is_no_line() {
        assert_eq!(Line::through(&[(1.0, 2.0), (1.0, 3.0)]), None);
        assert_eq!(Line::through(&[(1.0, 2.0), (2.0, 0.0)]), None);
    }
}

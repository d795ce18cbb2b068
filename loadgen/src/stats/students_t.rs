//! Student's t distribution.

/// The chance that Student's t is beyond `t` on either side. M. Abramowitz, I. A. Stegun, *Handbook of
/// Mathematical Functions*, 1964, 26.7.3 and 26.7.4.
pub fn outside(t: f64, freedom: usize) -> f64 {
    let (sin, cos) = (t / (freedom as f64).sqrt()).atan().sin_cos();
    let odd = freedom % 2;
    let (mut term, mut sum) = (1.0, 0.0);
    for k in 0..freedom / 2 {
        sum += term;
        let k = (2 * k + odd) as f64;
        term *= (k + 1.0) / (k + 2.0) * cos * cos;
    }
    let inside = if odd == 1 {
        let angle = sin.atan2(cos);
        (angle + sin * cos * sum) * std::f64::consts::FRAC_2_PI
    } else {
        sin * sum
    };
    (1.0 - inside).max(0.0)
}

/// The `t` for which that chance is `alpha`.
pub fn quantile(alpha: f64, freedom: usize) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    while outside(high, freedom) > alpha {
        high *= 2.0;
    }
    // One halving for each digit of a float.
    for _ in 0..f64::MANTISSA_DIGITS {
        let middle = f64::midpoint(low, high);
        if outside(middle, freedom) > alpha {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

/// The interval, with a confidence of `1 - alpha`, of a figure whose logarithm has this standard error.
pub fn interval(value: f64, error: f64, freedom: usize, alpha: f64) -> (f64, f64) {
    let reach = (quantile(alpha, freedom) * error).exp();
    (value / reach, value * reach)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn students_t_is_that_of_the_tables() {
        for (freedom, alpha, t) in [
            (1, 0.05, 12.706_205),
            (2, 0.05, 4.302_653),
            (4, 0.01, 4.604_095),
            (5, 0.01, 4.032_143),
            (8, 0.01, 3.355_387),
            (30, 0.001, 3.645_959),
            (101, 0.05, 1.983_731),
        ] {
            assert!((quantile(alpha, freedom) - t).abs() < 2e-6, "{freedom}");
            assert!((outside(t, freedom) - alpha).abs() < 1e-6, "{freedom}");
        }
    }
}

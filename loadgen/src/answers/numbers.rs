//! Figures in sentences and tables.

use crate::report::numbers::figure;
use crate::stats::trials::Mean;

/// A value with its interval.
pub fn found_text(mean: &Mean) -> String {
    let Mean { value, low, high } = *mean;
    format!("{} ({} to {})", shown(value), shown(low), shown(high))
}

/// A number with about three significant digits, small and negative ones too.
pub fn shown(x: f64) -> String {
    let size = x.abs();
    let digits = if size == 0.0 || size >= 0.995 {
        figure(size)
    } else {
        let places = (2.0 - size.log10().floor()).clamp(2.0, 9.0) as usize;
        format!("{size:.places$}")
    };
    if x < 0.0 {
        format!("-{digits}")
    } else {
        digits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_and_negative_numbers_keep_three_digits() {
        let numbers = [0.0, 0.001_234, 0.98, 1.5, -0.25, -1234.0].map(shown);
        assert_eq!(
            numbers,
            ["0.00", "0.00123", "0.980", "1.50", "-0.250", "-1,234"]
        );
    }
}

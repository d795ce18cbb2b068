//! Numbers and words as the tables show them.

/// A count with separators: `1,234,567`.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut grouped = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A figure with about three significant digits: `0.52`, `9.81`, `82.4`, `6,604`.
pub fn figure(x: f64) -> String {
    // Above these limits rounding would add a digit.
    if x < 9.995 {
        format!("{x:.2}")
    } else if x < 99.95 {
        format!("{x:.1}")
    } else {
        count(x.round() as u64)
    }
}

/// A share in percent, such as `12.3 %`.
pub fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// A figure, or `n/a`.
pub fn optional(x: Option<f64>) -> String {
    x.map_or_else(|| "n/a".to_owned(), figure)
}

/// `1 thread`, `2 threads`.
pub fn counted(n: u64, what: &str) -> String {
    let plural = if n == 1 { "" } else { "s" };
    format!("{} {what}{plural}", count(n))
}

/// Enum values, such as causes, as JSON has them.
pub fn words<T: serde::Serialize>(causes: &[T]) -> String {
    let word = |cause: &T| {
        serde_json::to_value(cause)
            .ok()?
            .as_str()
            .map(str::to_owned)
    };
    causes
        .iter()
        .filter_map(word)
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits() {
        let shown: Vec<String> = [0.0, 0.5, 9.994, 9.995, 99.94, 99.95, 999.6, 6604.4, 1e6]
            .map(figure)
            .into();
        assert_eq!(
            shown,
            [
                "0.00",
                "0.50",
                "9.99",
                "10.0",
                "99.9",
                "100",
                "1,000",
                "6,604",
                "1,000,000"
            ]
        );
    }

    #[test]
    fn counts_are_grouped_from_the_right() {
        assert_eq!(
            [0, 12, 123, 1234, 123_456, 1_234_567].map(count),
            ["0", "12", "123", "1,234", "123,456", "1,234,567"]
        );
    }
}

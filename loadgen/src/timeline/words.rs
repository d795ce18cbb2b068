//! Times and counts in words.

/// A time in nanoseconds, with about three digits: `240 ms`, `45.2 us`.
pub fn duration(ns: i64) -> String {
    let ns = ns.max(0) as f64;
    let (value, unit) = match ns {
        ns if ns >= 999.5e6 => (ns / 1e9, "s"),
        ns if ns >= 999.5e3 => (ns / 1e6, "ms"),
        ns => (ns / 1e3, "us"),
    };
    match value {
        value if value >= 99.95 => format!("{value:.0} {unit}"),
        value if value >= 9.995 => format!("{value:.1} {unit}"),
        value => format!("{value:.2} {unit}"),
    }
}

/// A time to be compared with others in a picture, in whole milliseconds: `240 ms`.
pub fn whole_ms(ns: i64) -> String {
    let ms = (ns.max(0) as f64 / 1e6).round();
    if ms < 1.0 {
        duration(ns)
    } else {
        format!("{} ms", count(ms as u64))
    }
}

/// A count with its thousands apart: `100,000`.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 byte`, `6 bytes`.
pub fn bytes(n: u64) -> String {
    match n {
        1 => "1 byte".to_owned(),
        n => format!("{} bytes", count(n)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_counts_are_readable() {
        assert_eq!(duration(45_230), "45.2 us");
        assert_eq!(duration(999_600), "1.00 ms");
        assert_eq!(duration(240_123_456), "240 ms");
        assert_eq!(duration(-5), "0.00 us");
        assert_eq!(whole_ms(239_700_000), "240 ms");
        assert_eq!(whole_ms(20_000), "20.0 us");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(bytes(1), "1 byte");
    }
}

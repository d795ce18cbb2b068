//! Numbers and words as the tables show them.

use std::time::Duration;

use crate::recording::histogram::Quantiles;
use crate::workload::percentile::Percentile;

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

/// Rounded to three significant digits: 206,000.
pub fn three_digits(x: f64) -> f64 {
    if x > 0.0 {
        let unit = 10_f64.powf(x.log10().floor() - 2.0);
        (x / unit).round() * unit
    } else {
        x
    }
}

/// A number in a sentence: in words up to twelve.
pub fn number_word(n: usize) -> String {
    const WORDS: [&str; 13] = [
        "no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
        "eleven", "twelve",
    ];
    WORDS
        .get(n)
        .map_or_else(|| count(n as u64), |word| (*word).to_owned())
}

/// `a`, `a and b`, `a, b and c`.
fn listed(items: &[&str]) -> String {
    match items {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [others @ .., last] => format!("{} and {last}", others.join(", ")),
    }
}

/// At most this many servers are named in a sentence; of more the sentence says the number.
pub const NAMED: usize = 5;

/// The names of servers, or how many they are.
pub fn named(servers: &[&str]) -> String {
    if servers.len() <= NAMED {
        listed(servers)
    } else {
        format!("{} servers", number_word(servers.len()))
    }
}

/// At most this many names, and the number of the others: `a, b and 3 more`.
pub fn shortened(servers: &[&str], most: usize) -> String {
    let more = servers.len().saturating_sub(most.max(1));
    if more == 0 {
        return listed(servers);
    }
    let named = servers[..servers.len() - more].join(", ");
    format!("{named} and {more} more")
}

/// A share in percent, such as `12.3 %`, or `n/a`.
pub fn percent(share: Option<f64>) -> String {
    share.map_or_else(
        || "n/a".to_owned(),
        |share| format!("{:.1} %", share * 100.0),
    )
}

/// A percentile with too few samples.
pub const DASH: &str = "\u{2013}";

/// A figure, or `n/a`.
pub fn optional(x: Option<f64>) -> String {
    x.map_or_else(|| "n/a".to_owned(), figure)
}

/// A time, such as `1m 30s`. A number from a file may be no valid time; then it is shown as it is.
pub fn time(seconds: f64) -> String {
    Duration::try_from_secs_f64(seconds).map_or_else(
        |_| format!("{seconds:?} s"),
        |time| humantime::format_duration(time).to_string(),
    )
}

/// Which columns a table has no room for, and where they are; empty if it has room for all.
pub fn no_room<'a>(headings: impl Iterator<Item = &'a str>, place: &str) -> String {
    let headings: Vec<&str> = headings.collect();
    match headings.as_slice() {
        [] => String::new(),
        headings => format!("  no room for: {} ({place})\n", headings.join(", ")),
    }
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

/// A percentile; a dash where it has too few samples.
pub fn percentile_cell(times: &Quantiles, percentile: Percentile) -> String {
    match times.percentile(percentile) {
        None if times.count > 0 => DASH.to_owned(),
        value => optional(value),
    }
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
    fn sentences_have_round_numbers_and_words() {
        assert_eq!(
            [212_345.0, 9_995.0, 123.45, 0.0].map(|x| three_digits(x).to_string()),
            ["212000", "10000", "123", "0"]
        );
        assert_eq!([1, 12, 13].map(number_word), ["one", "twelve", "13"]);
        assert_eq!(listed(&["a", "b", "c"]), "a, b and c");
        let short = [3, 2, 1, 0].map(|most| shortened(&["a", "b", "c"], most));
        assert_eq!(
            short,
            [
                "a, b and c",
                "a, b and 1 more",
                "a and 2 more",
                "a and 2 more"
            ]
        );
    }

    #[test]
    fn a_time_from_a_file_may_be_none() {
        assert_eq!(
            [0.5, 90.0, -1.0, 1e300].map(time),
            ["500ms", "1m 30s", "-1.0 s", "1e300 s"]
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

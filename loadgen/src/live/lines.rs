//! A line a second, for a person at a terminal.

use std::collections::VecDeque;

use crate::console;
use crate::engine::observer::Progress;
use crate::report::numbers::{count, optional};

/// A sparkline shows this many seconds.
const SPARKS: usize = 8;

/// Lines with the latest rates and 99th percentiles as sparklines.
#[derive(Debug, Default)]
pub struct Lines {
    rates: Sparkline,
    p99s: Sparkline,
}

impl Lines {
    pub fn tell(&mut self, progress: &Progress) {
        let second = match progress {
            Progress::Second(second) => second,
            Progress::Counting => {
                console::say(
                    "counting the requests that were due and could not be sent (Ctrl-C ends it)",
                );
                return;
            }
        };
        if second.number == 0 {
            *self = Self::default();
        }
        let times = &second.response_us;
        console::say(&format!(
            "{:>4} s {:>10} requests/s {}  p50 {:>6}  p99 {:>6} us {}  {} errors",
            second.number + 1,
            count(second.answered),
            self.rates.add(second.answered as f64),
            optional(times.p50),
            optional(times.p99),
            self.p99s.add(times.p99.unwrap_or_default()),
            count(second.errors)
        ));
    }
}

/// The latest values as bars of eighths.
#[derive(Debug, Default)]
struct Sparkline(VecDeque<f64>);

impl Sparkline {
    /// Adds a value; returns the picture, the tallest bar being the greatest value in it.
    fn add(&mut self, value: f64) -> String {
        const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
        if self.0.len() == SPARKS {
            self.0.pop_front();
        }
        self.0.push_back(value);
        let most = self.0.iter().copied().fold(0.0, f64::max);
        let bar = |value: &f64| match value / most {
            share if share > 0.0 => BARS[((share * 8.0).ceil() as usize - 1).min(7)],
            _ => ' ',
        };
        let bars: String = self.0.iter().map(bar).collect();
        format!("{bars:<SPARKS$}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sparkline_is_scaled_to_its_greatest_value() {
        let mut line = Sparkline::default();
        let mut shown = String::new();
        for value in [0.0, 1.0, 4.0, 8.0, 2.0] {
            shown = line.add(value);
        }
        assert_eq!(shown, " ▁▄█▂   ");
        for _ in 0..SPARKS {
            shown = line.add(3.0);
        }
        assert_eq!(shown, "████████");
    }
}

//! What a bench does, what has come out so far, and how long it still takes: on standard error, and only on a terminal.

use std::fmt::Write;
use std::time::Duration;

use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::report::numbers::figure;
use crate::results::trial::Trial;
use crate::verdict::cause::Verdict;
use crate::workload::scenario::{Point, Rank, Scenario};

/// What a trial takes beside its load: to start, to connect, to stop.
const OVERHEAD: Duration = Duration::from_millis(150);

/// This many of the best servers are shown.
const TOLD: usize = 3;

#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
}

/// What has come out so far at a point: by server the figure that ranks.
#[derive(Debug)]
pub struct SoFar {
    rank: Rank,
    servers: usize,
    done: usize,
    figures: Vec<(String, f64)>,
}

impl SoFar {
    /// Nothing has come out yet, of this many servers.
    pub fn new(rank: Rank, servers: usize) -> Self {
        Self {
            rank,
            servers,
            done: 0,
            figures: Vec::new(),
        }
    }

    /// A server had its turn. It has a figure if its trial is VALID.
    pub fn add(&mut self, server: &str, trial: Option<&Trial>) {
        self.done += 1;
        let trial = trial.filter(|trial| trial.verdict == Verdict::Valid);
        let value = trial.and_then(|trial| match self.rank.percentile() {
            None => Some(trial.rate),
            Some(percentile) => trial.response_us.percentile(percentile),
        });
        let Some(value) = value else { return };
        self.figures.push((server.to_owned(), value));
        self.figures.sort_by(|(_, a), (_, b)| match self.rank {
            Rank::Rate => b.total_cmp(a),
            _ => a.total_cmp(b),
        });
    }

    /// `7 of 22 servers: p99 us: epoll 812, poll 901, tokio 1,020 .. select 9,800`.
    fn told(&self) -> String {
        let (done, all) = (self.done, self.servers);
        let cell = |(server, value): &(String, f64)| format!("{server} {}", figure(*value));
        let mut told: Vec<String> = self.figures.iter().take(TOLD).map(cell).collect();
        if let Some(last) = self.figures.iter().skip(TOLD).last() {
            told.push(format!(".. {}", cell(last)));
        }
        let figures = match told.as_slice() {
            [] => String::new(),
            told => {
                let unit = if self.rank == Rank::Rate { "" } else { " us" };
                format!(
                    ": {}{unit}: {}",
                    self.rank.name(),
                    told.join(", ").replace(", ..", " ..")
                )
            }
        };
        format!("{done} of {all} servers{figures}")
    }
}

impl Progress {
    /// For a bench that will take about this time.
    pub fn new(planned: Duration) -> Self {
        let bar =
            ProgressBar::with_draw_target(Some(millis(planned)), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template(
            "{bar:16} {percent:>3} %, {left} left\n  now: {prefix}\n  so far: {wide_msg}",
        );
        if let Ok(style) = style {
            bar.set_style(style.with_key("left", write_left));
            bar.set_prefix("starts");
        }
        Self { bar }
    }

    /// How long one trial of a point takes, about.
    pub fn planned(point: &Point) -> Duration {
        // Without the drain: in a closed loop it ends with the last answer.
        point.workload.warmup + point.workload.duration + OVERHEAD
    }

    /// Shows what runs now, and what has come out at this point.
    pub fn tell(
        &self,
        scenario: &Scenario,
        point: &Point,
        server: &str,
        (trial, trials): (usize, usize),
        so_far: &SoFar,
    ) {
        let point = if scenario.points.len() > 1 {
            format!(", {}", point.name)
        } else {
            String::new()
        };
        let trial = if trials > 1 {
            format!(", trial {trial} of {trials}")
        } else {
            String::new()
        };
        self.bar
            .set_prefix(format!("{}{point}: {server}{trial}", scenario.name));
        self.bar.set_message(so_far.told());
        self.bar.tick();
    }

    /// A trial is over that was planned to take this time.
    pub fn advance(&self, planned: Duration) {
        self.bar.inc(millis(planned));
    }

    /// Hides the bar while something else is written to the terminal.
    pub fn apart<T>(&self, write: impl FnOnce() -> T) -> T {
        self.bar.suspend(write)
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// The time that is left, by the pace so far: repeated trials and a busy machine take longer.
fn write_left(state: &ProgressState, to: &mut dyn Write) {
    let left = state.len().unwrap_or(0).saturating_sub(state.pos());
    let pace = millis(state.elapsed()) as f64 / state.pos().max(1) as f64;
    let pace = if state.pos() == 0 { 1.0 } else { pace.max(1.0) };
    let left = Duration::try_from_secs_f64(left as f64 * pace / 1e3).unwrap_or(Duration::MAX);
    // Writing to the line fails only if it is full.
    let _ = write!(to, "{:#}", HumanDuration(left));
}

fn millis(duration: Duration) -> u64 {
    duration.as_millis() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn so_far(rank: Rank, figures: &[(&str, f64)]) -> String {
        let mut so_far = SoFar::new(rank, 22);
        so_far.done = figures.len();
        so_far.figures = figures
            .iter()
            .map(|(server, value)| ((*server).to_owned(), *value))
            .collect();
        so_far.told()
    }

    #[test]
    fn the_best_and_the_last_are_told() {
        assert_eq!(so_far(Rank::Rate, &[]), "0 of 22 servers");
        assert_eq!(
            so_far(Rank::Rate, &[("epoll", 102_000.0), ("poll", 98_000.0)]),
            "2 of 22 servers: requests/s: epoll 102,000, poll 98,000"
        );
        let five = [("a", 1.0), ("b", 2.0), ("c", 3.0), ("d", 4.0), ("e", 5.0)];
        assert_eq!(
            so_far(Rank::P99, &five),
            "5 of 22 servers: p99 us: a 1.00, b 2.00, c 3.00 .. e 5.00"
        );
    }
}

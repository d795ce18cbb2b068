//! The progress bar: on standard error, and only on a terminal.

use std::fmt::Write;
use std::time::Duration;

use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::workload::scenario::{Point, Scenario};

/// What a trial takes beside its load: to start, to connect, to stop.
const OVERHEAD: Duration = Duration::from_millis(150);

#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// For a bench that will take about so long.
    pub fn new(planned: Duration) -> Self {
        let bar =
            ProgressBar::with_draw_target(Some(millis(planned)), ProgressDrawTarget::stderr());
        let style =
            ProgressStyle::with_template("{bar:16} {percent:>3} %, {left} left  {wide_msg}");
        if let Ok(style) = style {
            bar.set_style(style.with_key("left", write_left));
        }
        Self { bar }
    }

    /// How long one trial of a point takes, about.
    pub fn planned(point: &Point) -> Duration {
        // Without the drain: in a closed loop it ends with the last answer.
        point.workload.warmup + point.workload.duration + OVERHEAD
    }

    /// Tells what runs now.
    pub fn tell(
        &self,
        scenario: &Scenario,
        point: &Point,
        server: &str,
        trial: usize,
        trials: usize,
    ) {
        let point = if scenario.points.len() > 1 {
            format!(" {}", point.name)
        } else {
            String::new()
        };
        let trial = if trials > 1 {
            format!(", trial {trial} of {trials}")
        } else {
            String::new()
        };
        self.bar
            .set_message(format!("{}{point}: {server}{trial}", scenario.name));
        self.bar.tick();
    }

    /// A trial is over that was planned to take so long.
    pub fn advance(&self, planned: Duration) {
        self.bar.inc(millis(planned));
    }

    /// Lets others write to the terminal.
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
    // An error here means that the line is full.
    let _ = write!(to, "{:#}", HumanDuration(left));
}

fn millis(duration: Duration) -> u64 {
    duration.as_millis() as u64
}

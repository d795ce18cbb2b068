//! The progress bar: on standard error, and only on a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::scenario::{Point, Scenario};

/// What a trial takes beside its load: to start, to connect, to stop.
const OVERHEAD: Duration = Duration::from_millis(150);

#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Of a bench that is planned to take so long.
    pub fn new(planned: Duration) -> Self {
        let bar =
            ProgressBar::with_draw_target(Some(millis(planned)), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{bar:24} {percent:>3} %, {eta} left  {msg}");
        if let Ok(style) = style {
            bar.set_style(style);
        }
        Self { bar }
    }

    /// What one trial of a point is planned to take.
    pub fn planned(point: &Point) -> Duration {
        // The drain of a closed loop ends with the last answer.
        point.warmup + point.duration + OVERHEAD
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
        self.bar.set_message(format!(
            "{}{point}: {server}, trial {trial} of {trials}",
            scenario.name
        ));
        self.bar.tick();
    }

    /// A trial of so long a plan is over.
    pub fn advance(&self, planned: Duration) {
        self.bar.inc(millis(planned));
    }

    /// Lets others write to the terminal.
    pub fn apart(&self, write: impl FnOnce()) {
        self.bar.suspend(write);
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

fn millis(duration: Duration) -> u64 {
    duration.as_millis() as u64
}

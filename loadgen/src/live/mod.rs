//! What is shown of a trial while it runs: lines on a terminal, JSON, figures for Prometheus.
//!
//! *In:* the progress of a trial, once a second. *Out:* the same for those who watch. *Must not know:* the result
//! of the trial. A reader that is slow or gone loses lines, and does not delay the trial.

mod json;
mod lines;
mod metrics;

use std::io::IsTerminal;
use std::net::SocketAddr;

use crate::engine::observer::Progress;
use json::Json;
pub use json::Place;
use lines::Lines;
use metrics::Metrics;

/// Who watches, beside a person at a terminal.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// A JSON object a second goes there.
    pub json: Option<Place>,
    /// Prometheus finds the figures of the last second here.
    pub metrics: Option<SocketAddr>,
}

/// Everything that shows a trial while it runs.
#[derive(Debug)]
pub struct Live {
    lines: Option<Lines>,
    json: Option<Json>,
    metrics: Option<Metrics>,
    trial: usize,
}

impl Live {
    /// Opens the file and the port that are asked for. Lines are for a terminal alone.
    ///
    /// # Errors
    /// When the file cannot be made, or nothing can listen at the address.
    pub fn new(options: &Options) -> anyhow::Result<Self> {
        let json = options.json.as_ref().map(Json::to).transpose()?;
        let is_free = !matches!(options.json, Some(Place::Stderr));
        Ok(Self {
            lines: (is_free && std::io::stderr().is_terminal()).then(Lines::default),
            json,
            metrics: options.metrics.map(Metrics::at).transpose()?,
            trial: 0,
        })
    }

    /// A trial begins; the first one is number 1.
    pub fn begin(&mut self, trial: usize) {
        self.trial = trial;
    }

    /// Shows its progress.
    pub fn tell(&mut self, progress: &Progress) {
        if let Some(lines) = &mut self.lines {
            lines.tell(progress);
        }
        let Progress::Second(second) = progress else {
            return;
        };
        if let Some(json) = &mut self.json {
            json.tell(self.trial, second);
        }
        if let Some(metrics) = &self.metrics {
            metrics.tell(self.trial, second);
        }
    }
}

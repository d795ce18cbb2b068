//! The flags of when requests are due.

use std::path::PathBuf;

use clap::{ArgGroup, Args};

use super::values::parse_rate;
use super::{Files, Usage};
use crate::workload::course::{Course, parse_recording, parse_stages};
use crate::workload::load::{Arrivals, Load};

/// When requests are due.
#[derive(Debug, Args)]
#[group(skip)]
#[command(group = ArgGroup::new("open").args(["rate", "stages", "replay"]))]
pub struct PaceArgs {
    /// Requests a second (open loop); without it each client waits for its answer before it sends again (closed loop)
    #[arg(short, long, short_alias = 'R', value_name = "R", value_parser = parse_rate)]
    rate: Option<f64>,

    /// A rate that changes (open loop): RATE/TIME or FROM-TO/TIME, separated by commas, such as 0-2000/30s,2000/1m.
    /// The warm-up has the first rate; the stages are the measured time
    #[arg(long, value_name = "STAGES", value_parser = parse_stages, conflicts_with_all = ["rate", "duration"])]
    stages: Option<Course>,

    /// Arrivals as they were recorded (open loop): a file with the time of each in seconds, one a line
    #[arg(long, value_name = "FILE", conflicts_with_all = ["rate", "duration", "stages", "arrivals"])]
    replay: Option<PathBuf>,

    /// How many times as fast as they were recorded
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, requires = "replay", value_parser = parse_rate)]
    speed: f64,

    /// How the open loop spaces its requests
    #[arg(long, value_name = "HOW", default_value = "poisson", requires = "open")]
    arrivals: Arrivals,

    /// Spin for the last 200 us before a request is due, instead of sleeping
    #[arg(long, requires = "open")]
    pub spin: bool,
}

impl PaceArgs {
    /// How the rate changes.
    pub fn course(&self, files: &Files<'_>) -> Result<Course, Usage> {
        if let Some(stages) = &self.stages {
            return Ok(stages.clone());
        }
        let Some(file) = &self.replay else {
            return Ok(Course::Steady);
        };
        let misfit = |error: String| Usage(format!("--replay: {error}"));
        let name = file.display();
        let text = files(file);
        let text = text.map_err(|error| misfit(format!("cannot read {name}: {error}")))?;
        let text = String::from_utf8(text).map_err(|_| misfit(format!("{name}: not UTF-8")))?;
        parse_recording(&text, self.speed)
            .map(Course::Recorded)
            .map_err(|error| misfit(format!("{name}: {error:#}")))
    }

    /// Closed or open loop, with the mean rate of this course.
    pub fn load(&self, course: &Course) -> Load {
        let rate = match course.length() {
            None => self.rate,
            Some(length) => Some(course.requests() / length.as_secs_f64()),
        };
        rate.map_or(Load::Closed, |rate| Load::Open {
            rate,
            arrivals: self.arrivals,
        })
    }
}

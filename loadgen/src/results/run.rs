//! What a run of the bench was: `run.json`, and why a server has no trials in it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::observe::machine::Machine;
use crate::workload::profile::{Profile, ScenarioFile};

/// What was asked of a run, and on which machine: `run.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The version of the format.
    pub schema_version: u32,
    /// The version of loadgen.
    pub loadgen: String,
    /// When it began, UTC.
    pub started: String,
    /// The command line.
    pub command: Vec<String>,
    /// The machine.
    pub machine: Machine,
    /// What the machine lacks.
    pub shortcomings: Vec<String>,
    /// What was asked.
    pub settings: Settings,
    /// The profile's file, and the line-up's.
    pub scenario_files: Vec<ScenarioFile>,
}

/// What was asked of a bench. With the scenario files this is all that `--resume` needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Rows that were asked for; empty: all.
    pub servers: Vec<String>,
    /// Scenarios that were asked for; empty: all.
    pub scenarios: Vec<String>,
    /// Trials of each point.
    pub trials: usize,
    /// The measured time, seconds, if the user changed it.
    pub duration_s: Option<f64>,
    /// The seed of the order of the trials, their schedules and payloads.
    pub seed: u64,
    /// Whether spinners kept the cores awake.
    pub keep_awake: bool,
    /// The cores of the server; empty: all.
    pub server_cpus: Vec<usize>,
    /// The cores of the generator; empty: all.
    pub generator_cpus: Vec<usize>,
    /// Where to look for servers, after loadgen's own directory.
    pub servers_dir: Option<PathBuf>,
}

/// Why a server has no trial at a point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoResult {
    /// What kind of reason.
    pub status: Status,
    /// The reason, in one line.
    pub reason: String,
}

/// The kind of reason for which a server has no trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// This server cannot run this test.
    #[serde(rename = "n/a")]
    NotApplicable,
    /// There is no such server here.
    Unavailable,
    /// It did not start, or it died.
    Failed,
}

impl Run {
    /// The profile as it was run: only the rows and scenarios that were asked for.
    pub fn profile(&self) -> anyhow::Result<Profile> {
        let settings = &self.settings;
        let mut profile = Profile::from_kept(&self.scenario_files)?;
        profile.keep_servers(&settings.servers)?;
        profile.keep_scenarios(&settings.scenarios)?;
        profile.set_server_cores(match settings.server_cpus.len() {
            0 => self.machine.cores,
            cores => cores,
        });
        if let Some(seconds) = settings.duration_s {
            let duration = Duration::try_from_secs_f64(seconds);
            let duration = duration.with_context(|| format!("duration_s is {seconds}"))?;
            profile.set_duration(duration)?;
        }
        Ok(profile)
    }
}

//! What a bench will do, and its directory.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::bail;

use crate::observe::machine::Machine;
use crate::observe::shortcomings::shortcomings;
use crate::results::directory::{RunDir, directory_name};
use crate::results::run::{Run, Settings};
use crate::results::trial::SCHEMA_VERSION;
use crate::workload::profile::Profile;
use crate::workload::scenario::Point;

/// How a bench starts.
#[derive(Debug)]
pub enum Start {
    /// A new bench.
    New(Box<Plan>),
    /// The rest of an interrupted one, in this directory.
    Resume(PathBuf),
}

/// A new bench.
#[derive(Debug)]
pub struct Plan {
    /// Its rows and scenarios, those that were asked for.
    pub profile: Profile,
    /// All else that was asked for.
    pub settings: Settings,
    /// Its directory; `None`: a new one below `results`, with the link `latest`.
    pub out: Option<PathBuf>,
}

impl Start {
    /// Makes or opens the directory.
    ///
    /// # Errors
    /// When it cannot be written, or its run was begun on another machine.
    pub fn open(&self) -> anyhow::Result<(RunDir, Run)> {
        match self {
            Self::New(plan) => plan.begin(),
            Self::Resume(directory) => resumed(directory),
        }
    }
}

impl Plan {
    /// Makes the directory of a new run.
    fn begin(&self) -> anyhow::Result<(RunDir, Run)> {
        let points = self.profile.scenarios.iter();
        let points = points.flat_map(|scenario| &scenario.points);
        let clients = points.map(Point::clients).max();
        let started = directory_name(SystemTime::now());
        let run = Run {
            schema_version: SCHEMA_VERSION,
            loadgen: env!("CARGO_PKG_VERSION").to_owned(),
            started: started.clone(),
            command: std::env::args().collect(),
            machine: Machine::here(),
            shortcomings: shortcomings(clients.unwrap_or(0)),
            settings: self.settings.clone(),
            scenario_files: self.profile.files.clone(),
        };
        if let Some(path) = &self.out {
            return Ok((RunDir::create(path, &run)?, run));
        }
        let directory = RunDir::create(&Path::new("results").join(started), &run)?;
        directory.link_latest()?;
        Ok((directory, run))
    }
}

/// Opens the directory of a run that was interrupted.
fn resumed(path: &Path) -> anyhow::Result<(RunDir, Run)> {
    let (directory, run) = RunDir::open(path)?;
    if let Some(difference) = run.machine.difference(&Machine::here()) {
        bail!(
            "{} was begun on another machine than this ({difference})",
            path.display()
        );
    }
    Ok((directory, run))
}

/// Divides the cores between the generator and the servers. Unless the user named them, the generator gets one and
/// the servers get the others; a single core is for both.
pub fn share_cores(
    allowed: &[usize],
    generator: &[usize],
    server: &[usize],
) -> (Vec<usize>, Vec<usize>) {
    let first_other = allowed.iter().find(|cpu| !server.contains(cpu));
    let generator = match (generator, first_other) {
        ([], Some(&cpu)) if allowed.len() > 1 => vec![cpu],
        (cpus, _) => cpus.to_vec(),
    };
    let server = match server {
        [] if !generator.is_empty() => {
            let others = allowed.iter().filter(|cpu| !generator.contains(cpu));
            others.copied().collect()
        }
        cpus => cpus.to_vec(),
    };
    (generator, server)
}

/// The seed of a part of the bench.
pub fn mix(seed: u64, part: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    (seed, part).hash(&mut hasher);
    hasher.finish()
}

//! What a bench will do, and its directory.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, bail};

use crate::observe::commit::Commit;
use crate::observe::machine::Machine;
use crate::observe::program::sha256;
use crate::observe::shortcomings::shortcomings;
use crate::results::directory::{RunDir, directory_name, new_directory};
use crate::results::run::{Programs, Run, Settings};
use crate::results::trial::SCHEMA_VERSION;
use crate::servers::contestant::program;
use crate::workload::line_up::ServerEntry;
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
    /// Everything else that was asked for.
    pub settings: Settings,
    /// Its directory; `None`: a new one below `results`, with the link `latest`.
    pub out: Option<PathBuf>,
}

impl Start {
    /// Makes or opens the directory.
    ///
    /// # Errors
    /// When it cannot be written, or its run was begun on another machine or with other programs.
    pub fn open(&self) -> anyhow::Result<(RunDir, Run)> {
        let started = directory_name(SystemTime::now())?;
        match self {
            Self::New(plan) => plan.begin(&started),
            Self::Resume(directory) => resumed(directory),
        }
    }
}

impl Plan {
    /// Makes the directory of a new run.
    fn begin(&self, started: &str) -> anyhow::Result<(RunDir, Run)> {
        let points = self.profile.scenarios.iter();
        let points = points.flat_map(|scenario| &scenario.points);
        let clients = points.map(Point::clients).max();
        let run = Run {
            schema_version: SCHEMA_VERSION,
            loadgen: env!("CARGO_PKG_VERSION").to_owned(),
            started: started.to_owned(),
            command: std::env::args().collect(),
            commit: Commit::here(),
            programs: Some(programs(&self.profile.servers, &self.settings)?),
            machine: Machine::here(),
            shortcomings: shortcomings(clients.unwrap_or(0)),
            settings: self.settings.clone(),
            scenario_files: self.profile.files.clone(),
        };
        if let Some(path) = &self.out {
            return Ok((RunDir::create(path, &run)?, run));
        }
        let path = new_directory(Path::new("results"), started)
            .context("cannot write to results: choose another place with --out")?;
        let directory = RunDir::create(&path, &run)?;
        directory.link_latest()?;
        Ok((directory, run))
    }
}

/// Opens the directory of a run that was interrupted.
fn resumed(path: &Path) -> anyhow::Result<(RunDir, Run)> {
    let (directory, mut run) = RunDir::resume(path)?;
    if let Some(other) = run.other_command() {
        bail!(
            "{} is a run of `loadgen {other}`: only a bench can be resumed",
            path.display()
        );
    }
    if let Some(difference) = run.machine.difference(&Machine::here()) {
        bail!(
            "{} was begun on another machine ({difference}): resume it there, or start a new bench",
            path.display()
        );
    }
    if let Some(then) = &run.programs {
        let now = programs(&run.profile()?.servers, &run.settings)?;
        if let Some(changed) = then.changed(&now, &measured(&directory, &run)?) {
            bail!(
                "{}: {changed} since the bench began, and trials of both would be mixed: start a new bench",
                path.display()
            );
        }
        if *then != now {
            run.programs = Some(now);
            directory.update(&run)?;
        }
    }
    Ok((directory, run))
}

/// The rows that have a trial.
fn measured(directory: &RunDir, run: &Run) -> anyhow::Result<BTreeSet<String>> {
    let profile = run.profile()?;
    let mut measured = BTreeSet::new();
    for scenario in &profile.scenarios {
        for point in &scenario.points {
            for server in &profile.servers {
                let place = directory.point(&scenario.name, &server.name, &point.name);
                if !place.trials()?.is_empty() {
                    measured.insert(server.name.clone());
                }
            }
        }
    }
    Ok(measured)
}

/// The programs that run: this one, and those of the rows.
///
/// # Errors
/// When no server can be started here, or loadgen does not find its own program.
pub fn programs(servers: &[ServerEntry], settings: &Settings) -> anyhow::Result<Programs> {
    supervisor::ensure_able()?;
    // The program that runs, even if another file has its path now.
    let loadgen =
        sha256(Path::new("/proc/self/exe")).context("cannot read loadgen's own program")?;
    let own_program = own_program()?;
    let mut known = BTreeMap::new();
    let mut hash = |entry: &ServerEntry| {
        let path = program(entry, &own_program, settings)?;
        let hash = known
            .entry(path)
            .or_insert_with_key(|path| sha256(path).ok());
        hash.clone()
    };
    Ok(Programs {
        loadgen,
        servers: servers
            .iter()
            .map(|entry| (entry.name.clone(), hash(entry)))
            .collect(),
    })
}

/// Where loadgen itself is.
pub fn own_program() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("cannot find loadgen's own program")
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

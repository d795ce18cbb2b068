//! The two sides of a comparison, and whether they can be compared at all.

use std::path::Path;

use anyhow::{bail, ensure};

use crate::results::directory::RunDir;
use crate::results::run::Run;
use crate::workload::profile::Profile;
use crate::workload::scenario::{Point, Scenario};

/// One side of a comparison.
pub struct Side {
    /// As the user named it.
    pub name: String,
    /// Where its trials are.
    pub directory: RunDir,
    /// What was asked of it.
    pub run: Run,
    /// Its rows and scenarios.
    pub profile: Profile,
    /// Only this server.
    pub server: Option<String>,
}

impl Side {
    /// Opens `DIR` or `DIR:SERVER`.
    pub fn open(name: &str) -> anyhow::Result<Self> {
        let (path, server) = match name.rsplit_once(':') {
            Some((path, server)) if !Path::new(name).exists() => (path, Some(server.to_owned())),
            _ => (name, None),
        };
        let open = || -> anyhow::Result<(RunDir, Run, Profile)> {
            let (directory, run) = RunDir::open(Path::new(path))?;
            let profile = run.profile()?;
            if let Some(server) = &server {
                let mut names = profile.servers.iter().map(|entry| entry.name.as_str());
                ensure!(
                    names.clone().any(|name| name == server),
                    "{path} has no server `{server}`; it has {}",
                    names.by_ref().collect::<Vec<_>>().join(", ")
                );
            }
            Ok((directory, run, profile))
        };
        let (directory, run, profile) = open()?;
        Ok(Self {
            name: name.to_owned(),
            directory,
            run,
            profile,
            server,
        })
    }

    /// A point and its scenario, where the run has it.
    pub fn find(&self, scenario: &str, point: &str) -> Option<(&Scenario, &Point)> {
        let mut scenarios = self.profile.scenarios.iter();
        let scenario = scenarios.find(|other| other.name == scenario)?;
        let point = scenario.points.iter().find(|other| other.name == point)?;
        Some((scenario, point))
    }

    /// Whether the run has such a row.
    pub fn has(&self, server: &str) -> bool {
        let mut servers = self.profile.servers.iter();
        servers.any(|entry| entry.name == server)
    }
}

/// Refuses runs whose figures differ because of the machine or the settings.
pub fn comparable(a: &Side, b: &Side) -> anyhow::Result<()> {
    let refusal = format!("{} and {} cannot be compared", a.name, b.name);
    if let Some(difference) = a.run.machine.difference(&b.run.machine) {
        bail!("{refusal}: the machines differ in {difference}");
    }
    ensure!(
        a.run.loadgen == b.run.loadgen,
        "{refusal}: they were measured by loadgen {} and loadgen {}",
        a.run.loadgen,
        b.run.loadgen
    );
    let settings = |side: &Side| {
        let settings = &side.run.settings;
        [
            ("keep_awake", settings.keep_awake.to_string()),
            ("server_cpus", format!("{:?}", settings.server_cpus)),
            ("generator_cpus", format!("{:?}", settings.generator_cpus)),
        ]
    };
    for ((name, in_a), (_, in_b)) in settings(a).into_iter().zip(settings(b)) {
        ensure!(
            in_a == in_b,
            "{refusal}: the settings differ: {name} is {in_a} and {in_b}"
        );
    }
    Ok(())
}

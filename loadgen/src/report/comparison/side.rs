//! The two sides of a comparison, and whether they can be compared at all.

use std::io;
use std::path::Path;
use std::time::Duration;

use anyhow::{Error, bail, ensure};

use crate::results::directory::{PointDir, RunDir};
use crate::results::run::Run;
use crate::results::trial::Trial;
use crate::workload::address::parse_address;
use crate::workload::flags::keys::ask;
use crate::workload::line_up::{Family, ServerEntry};
use crate::workload::load::{Arrivals, Load, Shard, Workload};
use crate::workload::profile::Profile;
use crate::workload::scenario::{Point, Rank, Scenario};

/// One side of a comparison.
pub struct Side {
    /// As the user named it.
    pub name: String,
    /// Where its trials are.
    source: Source,
    /// Its rows and scenarios.
    pub profile: Profile,
    /// Only this server.
    pub server: Option<String>,
}

/// Where trials are.
enum Source {
    /// In the directory of a bench, which says what was asked, and on which machine.
    Bench(RunDir, Box<Run>),
    /// In that of a `loadgen run`, side by side.
    Run(PointDir),
}

impl Side {
    /// Opens `DIR` or `DIR:SERVER`.
    pub fn open(name: &str) -> anyhow::Result<Self> {
        let (path, server) = match name.rsplit_once(':') {
            Some((path, server)) if !Path::new(name).exists() => (path, Some(server.to_owned())),
            _ => (name, None),
        };
        let open = || -> anyhow::Result<(Source, Profile)> {
            let place = PointDir::of_run(Path::new(path));
            let (source, profile) = if let Some((_, trial)) = place.trials()?.first() {
                (Source::Run(place), as_profile(trial)?)
            } else {
                let (directory, run) = RunDir::open(Path::new(path))?;
                let profile = run.profile()?;
                (Source::Bench(directory, Box::new(run)), profile)
            };
            if let Some(server) = &server {
                let mut names = profile.servers.iter().map(|entry| entry.name.as_str());
                ensure!(
                    names.clone().any(|name| name == server),
                    "{path} has no server `{server}`; it has {}",
                    names.by_ref().collect::<Vec<_>>().join(", ")
                );
            }
            Ok((source, profile))
        };
        let (source, profile) = open()?;
        Ok(Self {
            name: name.to_owned(),
            source,
            profile,
            server,
        })
    }

    /// What was asked of a bench; `None`: it is of a `loadgen run`.
    pub fn run(&self) -> Option<&Run> {
        match &self.source {
            Source::Bench(_, run) => Some(run),
            Source::Run(_) => None,
        }
    }

    /// Where the trials of a server at a point are.
    pub fn place(&self, scenario: &str, server: &str, point: &str) -> PointDir {
        match &self.source {
            Source::Bench(directory, _) => directory.point(scenario, server, point),
            Source::Run(place) => place.clone(),
        }
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

/// A profile of the load of a `loadgen run`, as far as its trials show it.
fn as_profile(trial: &Trial) -> anyhow::Result<Profile> {
    const NAME: &str = "run";
    let address = parse_address("127.0.0.1:1").map_err(Error::msg)?;
    let ask = ask(&[], &[]).map_err(|wrong| Error::msg(wrong.message))?;
    let files = &|_: &Path| Err(io::ErrorKind::NotFound.into());
    let workload = Workload {
        mode: trial.mode,
        connections: trial.connections,
        duration: Duration::try_from_secs_f64(trial.duration_s)?,
        load: trial.offered_rate.map_or(Load::Closed, |rate| Load::Open {
            rate,
            arrivals: Arrivals::Poisson,
        }),
        ..ask.workload(&address, Shard::default(), files)?
    };
    let point = Point {
        name: NAME.to_owned(),
        workload,
        named: false,
        goals: Vec::new(),
    };
    Ok(Profile {
        about: String::new(),
        trials: 1,
        servers: vec![ServerEntry {
            name: NAME.to_owned(),
            package: None,
            flags: Vec::new(),
            command: Vec::new(),
            ready_line: false,
            modes: vec![trial.mode],
            tls: trial.tls_us.count > 0,
            about: String::new(),
            family: Family::default(),
        }],
        scenarios: vec![Scenario {
            name: NAME.to_owned(),
            question: String::new(),
            rank: Rank::Rate,
            server_flags: Vec::new(),
            standstill: None,
            let_sleep: false,
            points: vec![point],
        }],
        files: Vec::new(),
    })
}

/// Refuses runs whose figures differ because of the machine or the settings.
pub fn comparable(a: &Side, b: &Side) -> anyhow::Result<()> {
    let refusal = format!("{} and {} cannot be compared", a.name, b.name);
    let (in_a, in_b) = match (a.run(), b.run()) {
        (Some(in_a), Some(in_b)) => (in_a, in_b),
        // Of a `loadgen run` there are only its trials.
        (None, None) => return Ok(()),
        _ => bail!("{refusal}: one is of `loadgen run` and one is of a bench"),
    };
    if let Some(difference) = in_a.machine.difference(&in_b.machine) {
        bail!("{refusal}: the machines differ in {difference}");
    }
    ensure!(
        in_a.loadgen == in_b.loadgen,
        "{refusal}: they were measured by loadgen {} and loadgen {}",
        in_a.loadgen,
        in_b.loadgen
    );
    let settings = |run: &Run| {
        let settings = &run.settings;
        [
            ("keep_awake", settings.keep_awake.to_string()),
            ("server_cpus", format!("{:?}", settings.server_cpus)),
            ("generator_cpus", format!("{:?}", settings.generator_cpus)),
        ]
    };
    for ((name, in_a), (_, in_b)) in settings(in_a).into_iter().zip(settings(in_b)) {
        ensure!(
            in_a == in_b,
            "{refusal}: the settings differ: {name} is {in_a} and {in_b}"
        );
    }
    Ok(())
}

//! What is to be compared, and its directory.

use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};
use supervisor::Unable;

use super::figure::Figure;
use crate::bench::plan::{own_program, programs};
use crate::measure::run::Place;
use crate::observe::commit::Commit;
use crate::observe::machine::Machine;
use crate::observe::shortcomings::{shortcomings, too_few_descriptors};
use crate::results::directory::{RunDir, directory_name, new_directory};
use crate::results::run::{Run, Settings};
use crate::results::trial::SCHEMA_VERSION;
use crate::servers::contestant::Contestant;
use crate::workload::line_up::{Family, ServerEntry};
use crate::workload::load::Workload;
use crate::workload::percentile::Percentile;
use crate::workload::profile::Profile;
use crate::workload::profile_file::OneLoad;
use crate::workload::scenario::Scenario;

/// The names of the rows.
const ROWS: [&str; 2] = ["a", "b"];
/// The scenario's name, and that of its file.
const SCENARIO: &str = "versus";

/// Two servers, and how they are compared.
#[derive(Debug)]
pub struct Plan {
    /// The commands as the user gave them.
    pub commands: [String; 2],
    /// Their words.
    pub words: [Vec<String>; 2],
    /// The load; its target is the server's, when that has one.
    pub workload: Workload,
    /// The same as keys of a scenario.
    pub keys: toml::Table,
    /// The cores of the servers; empty: all.
    pub server_cpus: Vec<usize>,
    /// Keep the cores from going to sleep.
    pub keep_awake: bool,
    /// The figure that decides when it is enough.
    pub figure: Figure,
    /// How closely its ratio is to be known, as a share.
    pub within: f64,
    /// B is worse when a figure is worse by this share or more.
    pub threshold: f64,
    /// The time that it may take.
    pub budget: Duration,
    /// Print a JSON object.
    pub json: bool,
    /// Where the results are written.
    pub place: Place,
}

/// What the trials need.
pub struct Opened {
    /// As in run.json.
    pub run: Run,
    /// Where they are written.
    pub directory: Option<RunDir>,
    /// A and B.
    pub contestants: [Contestant; 2],
    /// The load as a scenario of one point.
    pub scenario: Scenario,
}

impl Plan {
    /// The time that a block of four trials takes at least.
    pub fn least_block(&self) -> Duration {
        4 * (self.workload.warmup + self.workload.duration)
    }

    /// Whether the command of A (0) or B (1) has a placeholder for its address.
    pub fn is_told_where(&self, at: usize) -> bool {
        self.servers()[at].is_told_where()
    }

    /// The rows of the line-up.
    fn servers(&self) -> [ServerEntry; 2] {
        [0, 1].map(|at| {
            let mut entry = ServerEntry {
                name: ROWS[at].to_owned(),
                package: None,
                flags: Vec::new(),
                command: self.words[at].clone(),
                ready_line: false,
                modes: vec![self.workload.mode],
                tls: self.workload.tls.is_some(),
                about: self.commands[at].clone(),
                family: Family::Other,
            };
            entry.ready_line = !entry.is_told_where();
            entry
        })
    }

    /// Makes the directory, and looks for the programs.
    ///
    /// # Errors
    /// When it cannot be written, or holds a run already; when no server can be started here.
    pub fn open(&self) -> anyhow::Result<Opened> {
        let clients = self.workload.connections + self.workload.neighbours.connections();
        if let Some(why) = too_few_descriptors(clients) {
            bail!(Unable::new(why));
        }
        let servers = self.servers();
        let load = OneLoad {
            name: SCENARIO.to_owned(),
            question: "Is B worse than A? In turns A B B A.".to_owned(),
            keys: self.keys.clone(),
        };
        let mut profile = Profile::of_loads(&format!("{SCENARIO}.toml"), &servers, &[load])?;
        let settings = Settings {
            servers: Vec::new(),
            scenarios: Vec::new(),
            // Until there are more.
            trials: 1,
            duration_s: None,
            percentiles: Percentile::OF_A_BENCH.to_vec(),
            seed: self.workload.seed,
            keep_awake: self.keep_awake,
            server_cpus: self.server_cpus.clone(),
            generator_cpus: self.workload.cpus.clone(),
            servers_dir: None,
            merged: false,
        };
        let run = Run {
            schema_version: SCHEMA_VERSION,
            loadgen: env!("CARGO_PKG_VERSION").to_owned(),
            started: directory_name(SystemTime::now())?,
            command: std::env::args().collect(),
            commit: Commit::here(),
            programs: Some(programs(&servers, &settings)?),
            machine: Machine::here(),
            shortcomings: shortcomings(clients),
            settings,
            scenario_files: profile.files.clone(),
        };
        let directory = match &self.place {
            Place::Nowhere => None,
            Place::Directory(path) => Some(RunDir::create(path, &run)?),
            Place::New => {
                let path = new_directory(Path::new("results"), &run.started).context(
                    "cannot write the results: --out DIR chooses another place, --no-save writes none",
                )?;
                Some(RunDir::create(&path, &run)?)
            }
        };
        let own_program = own_program()?;
        let [a, b] = servers;
        let find = |entry| Contestant::find(entry, &own_program, &run.settings);
        Ok(Opened {
            contestants: [find(a)?, find(b)?],
            scenario: profile.scenarios.remove(0),
            directory,
            run,
        })
    }
}

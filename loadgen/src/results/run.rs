//! What a run of the bench was: `run.json`, and why a server has no trials in it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::observe::commit::Commit;
use crate::observe::machine::Machine;
use crate::workload::percentile::Percentile;
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
    /// The commit of the repository in whose tree it began; `None`: there was none, or it was not looked for.
    #[serde(default)]
    pub commit: Option<Commit>,
    /// Which programs ran; `None`: they were not looked at.
    #[serde(default)]
    pub programs: Option<Programs>,
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
    /// The percentiles of the tables.
    #[serde(default = "of_a_bench")]
    pub percentiles: Vec<Percentile>,
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
    /// Several generators loaded a server that ran already, and their results were merged. So nothing is known here of
    /// their cores, and the server's process is the same in all trials.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub merged: bool,
}

/// The SHA-256 of each program's file, in hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Programs {
    /// Of loadgen.
    pub loadgen: String,
    /// Of the servers, by row. Of a foreign command it is the file that its first word leads to. `None`: there was no
    /// such file, or it could not be read.
    pub servers: BTreeMap<String, Option<String>>,
}

impl Programs {
    /// Which program has changed, in words, of those that took part in trials: `measured` are the rows that have some.
    pub fn changed(&self, now: &Self, measured: &BTreeSet<String>) -> Option<String> {
        if self.loadgen != now.loadgen && !measured.is_empty() {
            return Some("loadgen has changed".to_owned());
        }
        let (server, _) = self.servers.iter().find(|(server, then)| {
            measured.contains(*server) && then.is_some() && now.servers.get(*server) != Some(then)
        })?;
        Some(match now.servers.get(server) {
            Some(Some(_)) => format!("the program of `{server}` has changed"),
            _ => format!("the program of `{server}` has disappeared"),
        })
    }
}

/// The percentiles of runs of earlier versions, which did not write them down.
fn of_a_bench() -> Vec<Percentile> {
    Percentile::OF_A_BENCH.to_vec()
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
    /// Which command it is a run of, unless that is `bench`, which alone can be resumed.
    pub fn other_command(&self) -> Option<&str> {
        let command = self.command.get(1).map(String::as_str);
        command.filter(|command| *command != "bench")
    }

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
            profile.set_duration(duration);
        }
        Ok(profile)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_changed_or_went_is_named() {
        let programs = |loadgen: &str, epoll: Option<&str>| Programs {
            loadgen: loadgen.to_owned(),
            servers: BTreeMap::from([("epoll".to_owned(), epoll.map(str::to_owned))]),
        };
        let then = programs("a", Some("b"));
        let measured = BTreeSet::from(["epoll".to_owned()]);
        assert_eq!(then.changed(&then, &measured), None);
        assert_eq!(programs("a", None).changed(&then, &measured), None);
        for (now, expected) in [
            (programs("z", Some("b")), "loadgen has changed"),
            (
                programs("a", Some("z")),
                "the program of `epoll` has changed",
            ),
            (
                programs("a", None),
                "the program of `epoll` has disappeared",
            ),
        ] {
            assert_eq!(then.changed(&now, &measured).as_deref(), Some(expected));
            // Nothing would be mixed.
            let others = BTreeSet::from(["poll".to_owned()]);
            let is_loadgen = now.loadgen != then.loadgen;
            assert_eq!(then.changed(&now, &others).is_some(), is_loadgen);
            assert_eq!(then.changed(&now, &BTreeSet::new()), None);
        }
    }
}

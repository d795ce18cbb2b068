//! A server of the line-up on this machine: its program, its limits, how it is started.

use std::ffi::OsString;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::Deserialize;

use crate::process::{Launch, Ready, output_within};
use crate::results::run::{NoResult, Settings, Status};
use crate::workload::line_up::ServerEntry;
use crate::workload::load::Mode;
use crate::workload::scenario::{Point, Scenario};

/// How long a server may take to describe itself.
const DESCRIBE_LIMIT: Duration = Duration::from_secs(5);

/// A row of the line-up, as far as this machine has it.
#[derive(Debug)]
pub struct Contestant {
    entry: ServerEntry,
    launcher: PathBuf,
    cpus: Vec<usize>,
    /// Or why it cannot be measured at all.
    found: Result<Found, NoResult>,
}

#[derive(Debug)]
struct Found {
    /// The program and the line-up's flags, or a foreign command with its placeholders.
    command: Vec<String>,
    limits: Limits,
}

/// The part of `--describe` that the bench needs.
#[derive(Debug, Deserialize)]
struct Description {
    limits: Limits,
}

/// How many clients a server serves at the same time, and why not more.
#[derive(Debug, Default, Deserialize)]
struct Limits {
    clients: Option<usize>,
    #[serde(default)]
    why: Option<String>,
}

impl Contestant {
    /// Looks for the server's program and asks it for its limits.
    pub fn find(entry: ServerEntry, launcher: &Path, settings: &Settings) -> Self {
        let found = match &entry.package {
            None => Ok(Found {
                command: entry.command.clone(),
                limits: Limits::default(),
            }),
            Some(package) => find_crate(package, &entry.flags, launcher, settings),
        };
        Self {
            entry,
            launcher: launcher.to_owned(),
            cpus: settings.server_cpus.clone(),
            found,
        }
    }

    /// The row's name.
    pub fn name(&self) -> &str {
        &self.entry.name
    }

    /// Why it cannot be measured at a point; `None`: it can.
    pub fn excuse(&self, scenario: &Scenario, point: &Point) -> Option<NoResult> {
        let found = match &self.found {
            Ok(found) => found,
            Err(reason) => return Some(reason.clone()),
        };
        let not_applicable = |reason| {
            Some(NoResult {
                status: Status::NotApplicable,
                reason,
            })
        };
        if let Some(most) = found.limits.clients
            && point.served_at_once() > most
        {
            let clients = if most == 1 { "client" } else { "clients" };
            let why = found.limits.why.as_ref();
            let why = why.map_or_else(String::new, |why| format!(" ({why})"));
            return not_applicable(format!(
                "serves {most} {clients} at once{why}, here are {}",
                point.served_at_once()
            ));
        }
        if self.entry.package.is_none() {
            if !self.entry.modes.contains(&point.mode) {
                return not_applicable(format!("does not speak `{}`", mode(point.mode)));
            }
            if !scenario.server_flags.is_empty() {
                return not_applicable(format!("has no `{}`", scenario.server_flags.join(" ")));
            }
        }
        None
    }

    /// How it is started for a trial.
    pub fn launch(
        &self,
        scenario: &Scenario,
        point: &Point,
        descriptors: u64,
        timeout: Duration,
    ) -> anyhow::Result<Launch> {
        let found = self
            .found
            .as_ref()
            .map_err(|reason| anyhow::anyhow!("{}", reason.reason))?;
        let mut command: Vec<OsString>;
        let ready;
        if self.entry.package.is_some() {
            command = found.command.iter().map(OsString::from).collect();
            command.extend(
                ["--listen", "127.0.0.1:0", "--mode", mode(point.mode)].map(OsString::from),
            );
            command.extend(scenario.server_flags.iter().map(OsString::from));
            ready = Ready::Line;
        } else {
            // It is free now, and the kernel is not likely to give it to another program next.
            let address = TcpListener::bind("127.0.0.1:0")
                .and_then(|listener| listener.local_addr())
                .context("cannot find a free port")?;
            let place = |word: &String| {
                word.replace("{port}", &address.port().to_string())
                    .replace("{addr}", &address.to_string())
            };
            command = found
                .command
                .iter()
                .map(|word| OsString::from(place(word)))
                .collect();
            ready = Ready::Probe(address);
        }
        Ok(Launch {
            launcher: self.launcher.clone(),
            command,
            cpus: self.cpus.clone(),
            descriptors: Some(descriptors),
            ready,
            timeout,
        })
    }
}

fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Echo => "echo",
        Mode::Once => "once",
        Mode::Http => "http",
    }
}

fn find_crate(
    package: &str,
    flags: &[String],
    launcher: &Path,
    settings: &Settings,
) -> Result<Found, NoResult> {
    let binary = format!("{package}-server");
    let places = launcher
        .parent()
        .into_iter()
        .chain(settings.servers_dir.as_deref());
    let Some(program) = places
        .map(|place| place.join(&binary))
        .find(|path| path.is_file())
    else {
        return Err(NoResult {
            status: Status::Unavailable,
            reason:
                "its program is neither beside loadgen nor in --servers-dir (cargo build --release)"
                    .to_owned(),
        });
    };
    match describe(&program, flags) {
        Ok(Description { limits }) => {
            let program = program.to_string_lossy().into_owned();
            Ok(Found {
                command: std::iter::once(program)
                    .chain(flags.iter().cloned())
                    .collect(),
                limits,
            })
        }
        Err(error) => Err(NoResult {
            status: Status::Failed,
            reason: format!("{binary} does not describe itself: {error:#}"),
        }),
    }
}

/// What a server with these flags says about itself.
fn describe(program: &Path, flags: &[String]) -> anyhow::Result<Description> {
    let mut command = Command::new(program);
    command.args(flags).arg("--describe").stdin(Stdio::null());
    let (status, output) = output_within(command, DESCRIBE_LIMIT)?;
    ensure!(status.success(), "--describe ended with {status}");
    serde_json::from_slice(&output).context("--describe printed something else")
}

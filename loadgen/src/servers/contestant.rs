//! A server of the line-up on this machine: its program, its limits, how it is started.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use supervisor::limit::{Limit, Resource};
use supervisor::{Description, Launch, Limits, Orders, Outlet, Ready, Unable, fill, free_address};

use crate::observe::program;
use crate::results::run::{NoResult, Settings, Status};
use crate::workload::line_up::ServerEntry;
use crate::workload::scenario::{Point, Scenario};

/// How long a server may take to describe itself.
const DESCRIBE_LIMIT: Duration = Duration::from_secs(5);

/// A row of the line-up on this machine.
#[derive(Debug)]
pub struct Contestant {
    entry: ServerEntry,
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

impl Contestant {
    /// Looks for the server's program and asks it for its limits.
    ///
    /// It is beside loadgen, which is `own_program`, or in the directory that the settings name.
    ///
    /// # Errors
    /// When no server can be started here.
    pub fn find(
        entry: ServerEntry,
        own_program: &Path,
        settings: &Settings,
    ) -> Result<Self, Unable> {
        let found = match &entry.package {
            None => Ok(Found {
                command: entry.command.clone(),
                limits: Limits::default(),
            }),
            Some(package) => find_crate(package, &entry, own_program, settings)?,
        };
        Ok(Self {
            entry,
            cpus: settings.server_cpus.clone(),
            found,
        })
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
                "serves {most} {clients} at once{why}, this test has {}",
                point.served_at_once()
            ));
        }
        let over_tls = point.workload.tls.is_some();
        if over_tls != self.entry.tls {
            let reason = if over_tls {
                "does not speak TLS"
            } else {
                "speaks TLS alone"
            };
            return not_applicable(reason.to_owned());
        }
        if self.entry.package.is_none() {
            if !self.entry.modes.contains(&point.workload.mode) {
                return not_applicable(format!("does not speak `{}`", point.workload.mode));
            }
            if !scenario.server_flags.is_empty() {
                return not_applicable(format!("has no `{}`", scenario.server_flags.join(" ")));
            }
        }
        None
    }

    /// How it is started for a trial, and how one sees that it is ready.
    pub fn launch(
        &self,
        scenario: &Scenario,
        point: &Point,
        descriptors: u64,
    ) -> anyhow::Result<(Launch, Ready)> {
        let found = self
            .found
            .as_ref()
            .map_err(|reason| anyhow::anyhow!("{}", reason.reason))?;
        let mut command: Vec<OsString> = found.command.iter().map(OsString::from).collect();
        let is_foreign = self.entry.package.is_none();
        let ready = if is_foreign {
            let address = free_address();
            command = fill(&command, address);
            if self.entry.ready_line {
                Ready::Line
            } else {
                Ready::Port(address)
            }
        } else {
            let mode = point.workload.mode.of_server().to_string();
            command.extend(["--listen", "127.0.0.1:0", "--mode", &mode].map(OsString::from));
            command.extend(scenario.server_flags.iter().map(OsString::from));
            Ready::Line
        };
        let orders = Orders {
            cpus: self.cpus.clone(),
            limits: vec![Limit::soft(Resource::Descriptors, descriptors)],
            ..Orders::default()
        };
        let launch = Launch {
            command,
            orders,
            stdout: match ready {
                Ready::Line => Outlet::Read,
                // To read its output would take CPU time from the measuring.
                Ready::Port(_) => Outlet::Nowhere,
            },
            stderr: Outlet::Read,
        };
        Ok((launch, ready))
    }
}

/// The file of a row's program: of a crate beside loadgen, which is `own_program`, or in the directory that the settings
/// name; of a foreign command where its first word leads. `None`: there is none.
pub fn program(entry: &ServerEntry, own_program: &Path, settings: &Settings) -> Option<PathBuf> {
    let Some(package) = &entry.package else {
        return program::resolve(entry.command.first()?.as_ref());
    };
    let places = own_program
        .parent()
        .into_iter()
        .chain(settings.servers_dir.as_deref());
    places
        .map(|place| place.join(binary(package)))
        .find(|path| path.is_file())
}

/// The name of a crate's binary.
fn binary(package: &str) -> String {
    format!("{package}-server")
}

fn find_crate(
    package: &str,
    entry: &ServerEntry,
    own_program: &Path,
    settings: &Settings,
) -> Result<Result<Found, NoResult>, Unable> {
    let flags = &entry.flags;
    let Some(program) = program(entry, own_program, settings) else {
        return Ok(Err(NoResult {
            status: Status::Unavailable,
            reason:
                "its program is neither beside loadgen nor in --servers-dir: build it (cargo build --release)"
                    .to_owned(),
        }));
    };
    Ok(match describe(&program, flags) {
        Ok(Description { limits, .. }) => {
            let program = program.to_string_lossy().into_owned();
            Ok(Found {
                command: std::iter::once(program)
                    .chain(flags.iter().cloned())
                    .collect(),
                limits,
            })
        }
        Err(error) => match error.downcast::<Unable>() {
            Ok(unable) => return Err(unable),
            Err(error) => Err(NoResult {
                status: Status::Failed,
                reason: format!("{} does not describe itself: {error:#}", binary(package)),
            }),
        },
    })
}

/// What a server with these flags says about itself.
fn describe(program: &Path, flags: &[String]) -> anyhow::Result<Description> {
    let mut command: Vec<OsString> = vec![program.into()];
    command.extend(flags.iter().map(OsString::from));
    command.push("--describe".into());
    let process = Launch::new(command).run()?;
    let exit = process
        .wait(DESCRIBE_LIMIT)
        .with_context(|| format!("it did not end within {DESCRIBE_LIMIT:?}"))?;
    ensure!(
        exit.status.success(),
        "--describe ended: {}",
        exit.with_last_words()
    );
    serde_json::from_str(&exit.stdout).context("--describe printed something else")
}

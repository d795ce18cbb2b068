//! `loadgen merge` of directories.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, bail, ensure};
use supervisor::limit::raise_descriptors;

use super::clocks::{Stamp, Window, doubts, windows};
use super::gathered::{Found, Part, Seen, by_start, ensure_one_load, missing, seen_of};
use super::loads::{SCENARIO, scenarios};
use super::{logs, whole};
use crate::console::say;
use crate::observe::clock_offset::HostClock;
use crate::observe::machine::Machine;
use crate::recording::histogram::histogram;
use crate::report::numbers::{NAMED, counted};
use crate::report::style::Style;
use crate::report::summary::Summary;
use crate::report::{files, shards, trial_table};
use crate::results::directory::{PointDir, RunDir, directory_name};
use crate::results::run::{Run, Settings};
use crate::results::shard::Asked;
use crate::results::trial::{self, SCHEMA_VERSION, Trial};
use crate::workload::line_up::{Family, ServerEntry};
use crate::workload::load::Mode;
use crate::workload::percentile::Percentile;
use crate::workload::profile::Profile;
use crate::workload::scenario::Scenario;

/// The row's name.
const ROW: &str = "server";

/// What to merge, and what is excused.
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
#[derive(Debug, Clone)]
pub struct Options {
    /// Directories of shards, or with shards in them.
    pub directories: Vec<PathBuf>,
    /// The directory of the whole.
    pub out: PathBuf,
    /// Shards that are missing or damaged.
    pub missing: bool,
    /// Measured times that do not overlap.
    pub windows: bool,
    /// Clocks that differ, or whose difference is not known.
    pub clocks: bool,
    /// Different versions of loadgen.
    pub versions: bool,
    /// What `loadgen clock` found of the hosts; `None`: nobody asked it.
    pub hosts: Option<Vec<HostClock>>,
}

/// The shards of one start, and what was observed on the server's host meanwhile.
struct Start {
    parts: Vec<Part>,
    seen: Option<Seen>,
    /// What is not as it should be and was allowed.
    excuses: Vec<String>,
}

impl Start {
    /// When the shards measured, and last when the server was observed.
    fn stamps(&self) -> Vec<Stamp<'_>> {
        let seen = self.seen.as_ref().map(Seen::stamp);
        self.parts.iter().map(Part::stamp).chain(seen).collect()
    }

    /// What its shards were asked for.
    fn asked(&self) -> anyhow::Result<&Asked> {
        let first = self.parts.first().context("a start has a shard")?;
        Ok(&first.shard.asked)
    }

    fn windows(&self, options: &Options) -> Vec<Window> {
        windows(&self.stamps(), options.hosts.as_deref())
    }
}

/// Merges, prints the result, and writes a run. Returns whether it meets its goals.
///
/// # Errors
/// What speaks against it; when the results cannot be written.
pub fn merge(options: &Options) -> anyhow::Result<bool> {
    raise_descriptors()?;
    let mut found = Found::in_directories(&options.directories)?;
    // Of all starts.
    let mut common = Vec::new();
    let mut refusals = Vec::new();
    let mut doubt = |kind: &str, allowed: bool, said: &str, excuses: &mut Vec<String>| {
        if allowed {
            excuses.push(format!("--allow-{kind}: {said}"));
        } else {
            refusals.push(format!("{said} (--allow-{kind} merges all the same)"));
        }
    };
    for damaged in &found.damaged {
        doubt("missing", options.missing, damaged, &mut common);
    }
    let Some(first) = found.parts.first().cloned() else {
        bail!("cannot merge: {}", found.damaged.join("; "));
    };
    let starts = by_start(found.parts);
    let all: Vec<Part> = starts.concat();
    ensure_one_load(&all, options.versions, starts.len() > 1).context("cannot merge")?;
    let mut versions: Vec<&str> = all.iter().map(|part| part.shard.loadgen.as_str()).collect();
    versions.sort_unstable();
    versions.dedup();
    if versions.len() > 1 {
        common.push(format!("--allow-versions: {}", versions.join(", ")));
    }
    let mut whole = Vec::new();
    for parts in starts {
        ensure_one_load(&parts, options.versions, false).context("cannot merge")?;
        let seen = seen_of(&parts, &mut found.seen).context("cannot merge")?;
        whole.push(Start {
            parts,
            seen,
            excuses: common.clone(),
        });
    }
    if let Some(seen) = found.seen.first() {
        bail!(
            "cannot merge: {}: the server was observed at a start that no shard has: {}",
            seen.path.display(),
            seen.observed.start_at
        );
    }
    for start in &mut whole {
        let missing = missing(&start.parts).context("cannot merge")?;
        let stamps = start.stamps();
        let asked = start.asked()?.duration_s;
        let doubts = doubts(&stamps, &start.windows(options), asked);
        let excuses = &mut start.excuses;
        if !missing.is_empty() {
            let said = are_missing(&missing, first.shard.of);
            doubt("missing", options.missing, &said, excuses);
        }
        for said in &doubts.clocks {
            doubt("clocks", options.clocks, said, excuses);
        }
        for said in &doubts.windows {
            doubt("windows", options.windows, said, excuses);
        }
    }
    if !refusals.is_empty() {
        bail!("cannot merge: {}", refusals.join("; "));
    }
    write(options, &first, by_load(whole)?)
}

/// The starts of each load, in the order in which they come.
fn by_load(starts: Vec<Start>) -> anyhow::Result<Vec<Vec<Start>>> {
    let mut loads: Vec<(Asked, Vec<Start>)> = Vec::new();
    for start in starts {
        let asked = start.asked()?.clone();
        let mut same = loads
            .iter_mut()
            .filter(|(other, _)| asked.difference(other).is_none());
        match same.next() {
            Some((_, starts)) => starts.push(start),
            None => loads.push((asked, vec![start])),
        }
    }
    Ok(loads.into_iter().map(|(_, starts)| starts).collect())
}

/// `shard 2 of 3 is missing`.
fn are_missing(missing: &[usize], of: usize) -> String {
    let more = missing.len().saturating_sub(NAMED);
    let numbers = missing.iter().take(NAMED).map(usize::to_string);
    let numbers: Vec<String> = numbers
        .chain((more > 0).then(|| format!("and {more} more")))
        .collect();
    let (noun, verb) = if missing.len() == 1 {
        ("shard", "is")
    } else {
        ("shards", "are")
    };
    format!("{noun} {} of {of} {verb} missing", numbers.join(", "))
}

/// Writes the run, a trial for each start with what is excused of it. Returns whether all meet their goals.
fn write(options: &Options, first: &Part, loads: Vec<Vec<Start>>) -> anyhow::Result<bool> {
    let (run, scenarios) = run(first, &loads)?;
    let (out, cannot_write) = (&options.out, "cannot write the results");
    // A directory that is empty may be taken.
    let taken = fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some());
    ensure!(
        !taken && !out.is_file(),
        "{} is there already: choose another --out",
        out.display()
    );
    let beside = out.parent().filter(|parent| !parent.as_os_str().is_empty());
    let beside = beside.unwrap_or(Path::new("."));
    fs::create_dir_all(beside).context(cannot_write)?;
    // It appears whole, or not at all.
    let unfinished = tempfile::Builder::new()
        .prefix(".unfinished-")
        .permissions(Permissions::from_mode(0o755))
        .tempdir_in(beside)
        .context(cannot_write)?;
    let directory = RunDir::create(unfinished.path(), &run)?;
    let mut trials = Vec::new();
    for (scenario, starts) in scenarios.iter().zip(loads) {
        let point = scenario.points.first().context("a load is a point")?;
        let place = directory.point(&scenario.name, ROW, &point.name);
        for (number, start) in (1..).zip(starts) {
            trials.push(one_start(options, &place, number, start)?);
        }
    }
    files::write(&directory, &Summary::read(&directory, &run)?)?;
    fs::rename(unfinished.keep(), out).context(cannot_write)?;
    let style = Style::of_stdout();
    for trial in &trials {
        style.print(&format!(
            "{}\n{}",
            trial_table::render(trial, &Percentile::OF_A_BENCH, style),
            shards::table(&trial.shards, style)
        ))?;
    }
    say(&format!("written to {}", out.display()));
    let mut goals = trials.iter().flat_map(|trial| &trial.goals);
    Ok(goals.all(|goal| goal.met == Some(true)))
}

/// Merges the shards of one start.
fn one_start(
    options: &Options,
    place: &PointDir,
    number: usize,
    mut start: Start,
) -> anyhow::Result<Trial> {
    fs::create_dir_all(place.path())
        .with_context(|| format!("cannot write to {}", place.path().display()))?;
    loop {
        let windows = start.windows(options);
        let parts = &start.parts;
        let ahead: Vec<f64> = windows
            .iter()
            .map(|window| window.ahead.unwrap_or(0.0))
            .collect();
        let mut log = tempfile::NamedTempFile::new_in(place.path())?;
        let totals = match logs::merge(parts, &ahead, log.as_file_mut())? {
            Ok(totals) => totals,
            Err((at, damage)) => {
                ensure!(
                    options.missing && parts.len() > 1,
                    "cannot merge: {damage} (--allow-missing leaves it out)"
                );
                start.excuses.push(format!("--allow-missing: {damage}"));
                start.parts.remove(at);
                continue;
            }
        };
        let missing = missing(parts)?;
        let seen = start.seen.as_ref();
        let trial = whole::trial(parts, &windows, seen, &totals, &missing, &start.excuses)?;
        let response = totals.get("response").cloned().unwrap_or_else(histogram);
        trial::write_merged(place.path(), number, &trial, &response, log.path())?;
        // It was moved away.
        let _ = log.into_temp_path().keep();
        return Ok(trial);
    }
}

/// The run that the whole is, and a scenario for each load.
fn run(first: &Part, loads: &[Vec<Start>]) -> anyhow::Result<(Run, Vec<Scenario>)> {
    let target = &first.shard.target;
    let generators = counted(first.shard.of as u64, "generator");
    let each = loads.iter().filter_map(|starts| starts.first());
    let asked: Vec<&Asked> = each.map(Start::asked).collect::<Result<_, _>>()?;
    let (scenarios, left_out) = scenarios(&asked);
    let own = match left_out.as_slice() {
        [] => String::new(),
        keys => format!("; each had its own {}", keys.join(", ")),
    };
    let mut modes: Vec<Mode> = asked.iter().map(|asked| asked.mode).collect();
    modes.dedup();
    let trials = loads.iter().map(Vec::len).max();
    let server = ServerEntry {
        name: ROW.to_owned(),
        package: None,
        flags: Vec::new(),
        command: vec![target.clone()],
        // It was started by somebody else; a row needs to say how.
        ready_line: true,
        modes,
        tls: first.shard.asked.tls,
        family: Family::Other,
        about: format!("{target}, loaded by {generators}{own}"),
    };
    let profile = Profile::of_loads(&format!("{SCENARIO}.toml"), &[server], &scenarios)?;
    let run = Run {
        schema_version: SCHEMA_VERSION,
        loadgen: env!("CARGO_PKG_VERSION").to_owned(),
        started: directory_name(SystemTime::now())?,
        command: std::env::args().collect(),
        commit: None,
        programs: None,
        machine: Machine::here(),
        shortcomings: Vec::new(),
        settings: Settings {
            servers: Vec::new(),
            scenarios: Vec::new(),
            trials: trials.unwrap_or(0),
            duration_s: None,
            percentiles: Percentile::OF_A_BENCH.to_vec(),
            seed: first.shard.seed,
            keep_awake: false,
            server_cpus: Vec::new(),
            generator_cpus: Vec::new(),
            servers_dir: None,
            merged: true,
        },
        scenario_files: profile.files.clone(),
    };
    Ok((run, profile.scenarios))
}

//! The shards that are there, and whether they are parts of one load.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};

use super::clocks::Stamp;
use crate::results::directory::PointDir;
use crate::results::observed::ObservedServer;
use crate::results::shard::ShardResult;
use crate::results::trial::Trial;
use crate::verdict::cause::Cause;
use crate::workload::load::Shard;

/// A shard's result.
#[derive(Debug, Clone)]
pub struct Part {
    /// Its directory.
    pub path: PathBuf,
    /// Its trial.
    pub trial: Trial,
    /// What the trial says of itself as a shard.
    pub shard: ShardResult,
}

impl Part {
    /// `shard 2/3 (h2)`.
    pub fn name(&self) -> String {
        let ShardResult {
            number, of, host, ..
        } = &self.shard;
        format!("shard {number}/{of} ({host})")
    }

    /// When it measured.
    pub fn stamp(&self) -> Stamp<'_> {
        let shard = &self.shard;
        Stamp {
            name: self.name(),
            boot_id: shard.boot_id.as_deref(),
            clock: shard.clock.as_ref(),
            window: [&shard.begin, &shard.end],
            monotonic_ns: shard.begin_monotonic_ns,
            moved_us: shard.clock_moved_us,
            cut_short: self.trial.causes.contains(&Cause::CutShort),
        }
    }

    /// The interval log.
    pub fn log(&self) -> PathBuf {
        PointDir::of_run(&self.path).log(1)
    }

    fn read(path: &Path) -> anyhow::Result<Self> {
        let place = PointDir::of_run(path);
        let trial = place.trial(1)?.context("it has no trial-1.json")?;
        ensure!(
            place.trial(2)?.is_none(),
            "it has several trials, and a shard has one: start it without --trials"
        );
        let shard = trial.shard.clone();
        let shard = shard.context("it was not measured with --shard")?;
        // What comes from a file may be anything.
        ensure!(
            (1..=shard.of).contains(&shard.number) && shard.of <= Shard::MOST,
            "there is no shard {}/{}",
            shard.number,
            shard.of
        );
        let ended = trial.answered + trial.failed + trial.in_flight + trial.never_sent;
        let timed = trial.answered + trial.timed_out + trial.in_flight + trial.never_sent;
        ensure!(
            trial.scheduled == ended && trial.response_us.count == timed,
            "its counts do not add up: {} requests scheduled, {ended} ended; {timed} response times expected, {} there",
            trial.scheduled,
            trial.response_us.count
        );
        ensure!(
            place.log(1).exists(),
            "its interval log trial-1.hlog is missing"
        );
        Ok(Self {
            path: path.to_owned(),
            trial,
            shard,
        })
    }
}

/// What was observed on the server's host.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Its directory.
    pub path: PathBuf,
    /// What it was.
    pub observed: ObservedServer,
}

impl Seen {
    /// `the server's host (srv)`.
    pub fn name(&self) -> String {
        format!("the server's host ({})", self.observed.host)
    }

    /// When it was observed.
    pub fn stamp(&self) -> Stamp<'_> {
        let observed = &self.observed;
        Stamp {
            name: self.name(),
            boot_id: observed.boot_id.as_deref(),
            clock: observed.clock.as_ref(),
            window: [&observed.begin, &observed.end],
            monotonic_ns: observed.begin_monotonic_ns,
            moved_us: observed.clock_moved_us,
            cut_short: false,
        }
    }
}

/// What was found in the directories.
#[derive(Debug, Default)]
pub struct Found {
    /// The shards that can be read.
    pub parts: Vec<Part>,
    /// What was observed on the server's host.
    pub seen: Vec<Seen>,
    /// Why others cannot.
    pub damaged: Vec<String>,
}

impl Found {
    /// Looks for shards in these directories, and in the directories in them.
    ///
    /// # Errors
    /// When one of them holds no shard.
    pub fn in_directories(directories: &[PathBuf]) -> anyhow::Result<Self> {
        let mut found = Self::default();
        for directory in directories {
            let before = found.len();
            let mut places = below(directory)?;
            places.insert(0, directory.clone());
            for place in places {
                found.look_at(&place);
            }
            ensure!(
                found.len() > before,
                "{} holds no shard-I-of-N/: give the --out directories of `loadgen run --shard`",
                directory.display()
            );
        }
        found.parts.sort_by_key(|part| part.shard.number);
        Ok(found)
    }

    fn len(&self) -> usize {
        self.parts.len() + self.seen.len() + self.damaged.len()
    }

    fn look_at(&mut self, place: &Path) {
        match ObservedServer::read(place) {
            Ok(None) => {}
            Ok(Some(observed)) => self.seen.push(Seen {
                path: place.to_owned(),
                observed,
            }),
            Err(error) => self.damaged.push(format!("{error:#}")),
        }
        let is_one = |name: &str| name.starts_with("shard-") && name.contains("-of-");
        let name = place.file_name().unwrap_or_default().to_string_lossy();
        if !is_one(&name) && !place.join("trial-1.json").exists() {
            return;
        }
        match Part::read(place) {
            Ok(part) => self.parts.push(part),
            Err(error) => self.damaged.push(format!("{}: {error:#}", place.display())),
        }
    }
}

/// The directories in a directory, in the order of their names.
fn below(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let cannot_read = || format!("cannot read {}", directory.display());
    let mut places = Vec::new();
    for entry in fs::read_dir(directory).with_context(cannot_read)? {
        let path = entry.with_context(cannot_read)?.path();
        if path.is_dir() {
            places.push(path);
        }
    }
    places.sort();
    Ok(places)
}

/// The shards of each start. Several starts are several trials, if all of them are whole; otherwise they are shards of
/// one that did not start together.
pub fn by_start(parts: Vec<Part>) -> Vec<Vec<Part>> {
    let mut starts: BTreeMap<Option<String>, Vec<Part>> = BTreeMap::new();
    for part in parts {
        let start = part.shard.start_at.clone();
        starts.entry(start).or_default().push(part);
    }
    let starts: Vec<Vec<Part>> = starts.into_values().collect();
    let whole = |parts: &Vec<Part>| {
        let numbers = parts.iter().map(|part| part.shard.number);
        parts
            .first()
            .is_some_and(|part| numbers.eq(1..=part.shard.of))
    };
    if starts.len() < 2 || starts.iter().all(whole) {
        return starts;
    }
    let mut parts = starts.concat();
    parts.sort_by_key(|part| part.shard.number);
    vec![parts]
}

/// Takes what was observed of this start.
///
/// # Errors
/// When it was observed twice.
pub fn seen_of(parts: &[Part], seen: &mut Vec<Seen>) -> anyhow::Result<Option<Seen>> {
    let start = parts.first().and_then(|part| part.shard.start_at.clone());
    let mut own = seen.extract_if(.., |seen| Some(&seen.observed.start_at) == start.as_ref());
    let first = own.next();
    if let (Some(first), Some(second)) = (&first, own.next()) {
        bail!(
            "the server was observed twice: {} and {}",
            first.path.display(),
            second.path.display()
        );
    }
    Ok(first)
}

/// Refuses shards that are no parts of one load. `versions`: they may be of different versions of loadgen; `starts`: they are
/// of several starts, each of which may have a load and a seed of its own.
///
/// # Errors
/// Which two shards do not belong together, and why.
pub fn ensure_one_load(parts: &[Part], versions: bool, starts: bool) -> anyhow::Result<()> {
    let Some(first) = parts.first() else {
        return Ok(());
    };
    for part in parts {
        let (a, b) = (&first.shard, &part.shard);
        let difference = if a.of != b.of {
            Some(format!("of {} and of {} shards", a.of, b.of))
        } else if a.target != b.target {
            Some(format!("target is {} and {}", a.target, b.target))
        } else if !starts && a.seed != b.seed {
            Some(format!("seed is {} and {}", a.seed, b.seed))
        } else if !starts && let Some(difference) = a.asked.difference(&b.asked) {
            Some(difference)
        } else if !versions && a.loadgen != b.loadgen {
            Some(format!(
                "loadgen is {} and {} (--allow-versions merges them)",
                a.loadgen, b.loadgen
            ))
        } else {
            None
        };
        if let Some(difference) = difference {
            bail!(
                "{} and {} are shards of different loads: {difference}",
                first.path.display(),
                part.path.display()
            );
        }
    }
    Ok(())
}

/// Refuses a shard that is there twice; returns the numbers of those that are missing.
///
/// # Errors
/// Which one is doubled, or has connections that do not fit to those of the others.
pub fn missing(parts: &[Part]) -> anyhow::Result<Vec<usize>> {
    for pair in parts.windows(2) {
        ensure!(
            pair[0].shard.number != pair[1].shard.number,
            "{} is there twice, in {} and in {}: leave one out",
            pair[0].name(),
            pair[0].path.display(),
            pair[1].path.display()
        );
    }
    let of = parts.first().map_or(0, |part| part.shard.of);
    let mut there = parts.iter().map(|part| part.shard.number).peekable();
    let missing: Vec<usize> = (1..=of)
        .filter(|number| there.next_if_eq(number).is_none())
        .collect();
    let all: usize = parts.iter().map(|part| part.trial.connections).sum();
    let fits = |part: &&Part| {
        let number = part.shard.number;
        part.trial.connections == all.saturating_sub(number - 1).div_ceil(of)
    };
    if missing.is_empty()
        && let Some(part) = parts.iter().find(|part| !fits(part))
    {
        bail!(
            "{} has {} of {all} connections, which is not its part: start all shards with the same --connections",
            part.name(),
            part.trial.connections
        );
    }
    Ok(missing)
}

/// Whether a shard's own trial spoils the whole. Of a load with few requests a shard may have none.
pub fn spoils(part: &Part) -> bool {
    let nothing_due = part.trial.scheduled == 0 && part.trial.causes == [Cause::NoRequest];
    !part.trial.causes.is_empty() && !nothing_due
}

//! A run's directory: `run.json`, and a directory for each scenario, server and point.
//!
//! Every file is written beside its place and then moved there. So nobody sees half of a file, neither a reader nor a
//! bench that goes on after an interruption.

use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use super::run::{NoResult, Run};
use super::trial::{SCHEMA_VERSION, Trial};
use crate::recording::hlog::LATEST;

/// The file that describes a run.
const RUN: &str = "run.json";
/// The file that says why a point has no trials.
const NO_RESULT: &str = "no-result.json";

/// A directory to which no other loadgen writes. Two at once would overwrite each other's trials.
///
/// It is a lock on the directory, so the kernel ends it with the process, however that ends.
#[derive(Debug)]
pub struct Claim {
    path: PathBuf,
    _lock: File,
}

/// A run's directory.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    /// While a bench writes to it.
    claim: Option<Claim>,
}

/// The directory of one server at one point of a scenario.
#[derive(Debug, Clone)]
pub struct PointDir {
    path: PathBuf,
}

impl Claim {
    /// Claims a directory that is there.
    ///
    /// # Errors
    /// When another process has claimed it, or it cannot be opened.
    pub fn on(path: &Path) -> anyhow::Result<Self> {
        let directory = File::open(path).with_context(|| cannot_write(path))?;
        match directory.try_lock() {
            Ok(()) => Ok(Self {
                path: path.to_owned(),
                _lock: directory,
            }),
            Err(TryLockError::WouldBlock) => bail!(
                "another loadgen is writing to {}: choose another place with --out",
                path.display()
            ),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("cannot lock {}", path.display()))
            }
        }
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl RunDir {
    /// Makes the directory of a new run and writes its `run.json`.
    ///
    /// # Errors
    /// When it cannot be written, is claimed, or holds a run already.
    pub fn create(path: &Path, run: &Run) -> anyhow::Result<Self> {
        fs::create_dir_all(path)
            .with_context(|| format!("{} Choose another place with --out", cannot_write(path)))?;
        let claim = Claim::on(path)?;
        ensure!(
            !path.join(RUN).exists(),
            "{} holds a run already: continue it with --resume, or choose another with --out",
            path.display()
        );
        write(&path.join(RUN), &json(run)?)?;
        Ok(Self {
            path: path.to_owned(),
            claim: Some(claim),
        })
    }

    /// Opens a run's directory to write further trials.
    ///
    /// # Errors
    /// Those of [`RunDir::open`], and when it is claimed.
    pub fn resume(path: &Path) -> anyhow::Result<(Self, Run)> {
        let (mut directory, run) = Self::open(path)?;
        directory.claim = Some(Claim::on(path)?);
        Ok((directory, run))
    }

    /// Opens a run's directory to read it.
    ///
    /// # Errors
    /// When it has no `run.json`, or one that cannot be read.
    pub fn open(path: &Path) -> anyhow::Result<(Self, Run)> {
        let file = path.join(RUN);
        let run: Run = read_versioned(&file)?.with_context(|| {
            format!(
                "{} holds no run of `loadgen bench`: there is no {RUN}",
                path.display()
            )
        })?;
        Ok((
            Self {
                path: path.to_owned(),
                claim: None,
            },
            run,
        ))
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory of a server at a point.
    pub fn point(&self, scenario: &str, server: &str, point: &str) -> PointDir {
        PointDir {
            path: self.path.join(scenario).join(server).join(point),
        }
    }

    /// Writes a file of the run's top, such as `summary.csv`.
    pub fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        write(&self.path.join(name), text)
    }

    /// Writes `run.json` again, after something became known.
    pub fn update(&self, run: &Run) -> anyhow::Result<()> {
        write(&self.path.join(RUN), &json(run)?)
    }

    /// Points the link `latest` beside this directory to it.
    pub fn link_latest(&self) -> anyhow::Result<()> {
        let parent = self
            .path
            .parent()
            .context("a run's directory has a parent")?;
        let name = self
            .path
            .file_name()
            .context("a run's directory has a name")?;
        let latest = parent.join("latest");
        // A link cannot be changed in one step, but another one can be moved over it.
        tempfile::Builder::new()
            .prefix(".latest-")
            .make_in(parent, |link| symlink(name, link))
            .and_then(|link| link.persist(&latest).map_err(|error| error.error))
            .with_context(|| format!("cannot link {} to this run", latest.display()))
    }
}

impl PointDir {
    /// A directory that `loadgen run` wrote.
    pub fn of_run(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The trial of this number, if it was finished.
    pub fn trial(&self, number: usize) -> anyhow::Result<Option<Trial>> {
        read_versioned(&self.path.join(format!("trial-{number}.json")))
    }

    /// The interval log of a trial.
    pub fn log(&self, number: usize) -> PathBuf {
        self.path.join(format!("trial-{number}.hlog"))
    }

    /// The finished trials with their numbers.
    pub fn trials(&self) -> anyhow::Result<Vec<(usize, Trial)>> {
        let Ok(files) = fs::read_dir(&self.path) else {
            return Ok(Vec::new());
        };
        let number = |name: String| {
            name.strip_prefix("trial-")?
                .strip_suffix(".json")?
                .parse()
                .ok()
        };
        let names = files
            .flatten()
            .map(|file| file.file_name().to_string_lossy().into_owned());
        let mut numbers: Vec<usize> = names.filter_map(number).collect();
        numbers.sort_unstable();
        let mut trials = Vec::with_capacity(numbers.len());
        for number in numbers {
            if let Some(trial) = self.trial(number)? {
                trials.push((number, trial));
            }
        }
        Ok(trials)
    }

    /// Why there are no (more) trials, if that was written.
    pub fn no_result(&self) -> anyhow::Result<Option<NoResult>> {
        read(&self.path.join(NO_RESULT))
    }

    /// Writes why there are no (more) trials.
    pub fn write_no_result(&self, no_result: &NoResult) -> anyhow::Result<()> {
        fs::create_dir_all(&self.path).with_context(|| cannot_write(&self.path))?;
        write(&self.path.join(NO_RESULT), &json(no_result)?)
    }

    /// Removes the reason why there were none, to try again.
    pub fn remove_no_result(&self) {
        // Most often there is none.
        let _ = fs::remove_file(self.path.join(NO_RESULT));
    }
}

/// Makes a new directory in `top` with this name. Others may begin in the same second: then a number follows.
pub fn new_directory(top: &Path, name: &str) -> std::io::Result<PathBuf> {
    fs::create_dir_all(top)?;
    let mut dir = top.join(name);
    for n in 2.. {
        match fs::create_dir(&dir) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                dir = top.join(format!("{name}-{n}"));
            }
            result => return result.map(|()| dir),
        }
    }
    unreachable!("there are enough numbers")
}

/// The name of a run's directory: its time, in characters that every file system allows.
///
/// # Errors
/// When no such date can be written. Interval logs cannot hold that time either.
pub fn directory_name(time: SystemTime) -> anyhow::Result<String> {
    time.duration_since(UNIX_EPOCH)
        .ok()
        .filter(|since| *since <= LATEST)
        .context("the clock of this machine is before 1970 or after 9999: set it")?;
    let date = humantime::format_rfc3339_seconds(time).to_string();
    Ok(date.replace(':', "-"))
}

/// Says what to do if the directory holds trials of `loadgen run`.
///
/// # Errors
/// When it does.
pub fn ensure_no_trials(path: &Path) -> anyhow::Result<()> {
    ensure!(
        !path.join("trial-1.json").exists(),
        "{} holds trials already: choose another --out",
        path.display()
    );
    Ok(())
}

fn cannot_write(path: &Path) -> String {
    format!(
        "cannot write to {}: is the disk full, or read-only?",
        path.display()
    )
}

/// Names a damaged file and says what to do about it.
pub fn damaged(path: &Path) -> String {
    format!(
        "{} is damaged: delete it, and `loadgen bench --resume` measures the trial again",
        path.display()
    )
}

pub(super) fn json<T: Serialize>(value: &T) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}

/// Reads a JSON file; `None` when it is not there.
fn read<T: serde::de::DeserializeOwned>(path: &Path) -> anyhow::Result<Option<T>> {
    match fs::read(path) {
        Ok(text) => serde_json::from_slice(&text)
            .map(Some)
            .with_context(|| damaged(path)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Reads a JSON file that says its version; `None` when it is not there.
pub(super) fn read_versioned<T: serde::de::DeserializeOwned>(
    path: &Path,
) -> anyhow::Result<Option<T>> {
    #[derive(Deserialize)]
    struct Versioned {
        schema_version: u32,
    }
    // The version comes first: another one may have other keys.
    if let Some(Versioned { schema_version }) = read(path)? {
        ensure!(
            schema_version == SCHEMA_VERSION,
            "{} has schema version {schema_version}, and this loadgen reads version {SCHEMA_VERSION}: use the loadgen that wrote it",
            path.display(),
        );
    }
    read(path)
}

/// Writes a file beside its place and moves it there.
pub(super) fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let directory = path.parent().context("a file has a directory")?;
    let attempt = || -> std::io::Result<()> {
        let mut file = tempfile::Builder::new()
            .permissions(fs::Permissions::from_mode(0o644))
            .tempfile_in(directory)?;
        file.write_all(text.as_bytes())?;
        let persist = |file: NamedTempFile| file.persist(path);
        persist(file)?;
        Ok(())
    };
    attempt().with_context(|| cannot_write(path))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::observe::machine::Machine;
    use crate::results::run::{Settings, Status};
    use crate::workload::percentile::Percentile;

    pub(crate) fn run() -> Run {
        Run {
            schema_version: SCHEMA_VERSION,
            loadgen: "0.0.0".to_owned(),
            started: "1970-01-01T00-00-00Z".to_owned(),
            command: vec!["loadgen".to_owned(), "bench".to_owned()],
            commit: None,
            programs: None,
            machine: Machine::here(),
            shortcomings: Vec::new(),
            settings: Settings {
                servers: Vec::new(),
                scenarios: Vec::new(),
                trials: 1,
                duration_s: None,
                percentiles: Percentile::OF_A_BENCH.to_vec(),
                seed: 7,
                keep_awake: true,
                server_cpus: vec![1],
                generator_cpus: vec![0],
                servers_dir: None,
                merged: false,
            },
            scenario_files: Vec::new(),
        }
    }

    #[test]
    fn a_run_is_read_back_and_never_overwritten() {
        let top = tempfile::tempdir().unwrap();
        let path = top.path().join("1970-01-01T00-00-00Z");
        RunDir::create(&path, &run()).unwrap();
        let (_, read) = RunDir::open(&path).unwrap();
        assert_eq!(read, run());
        assert!(
            RunDir::create(&path, &run())
                .unwrap_err()
                .to_string()
                .contains("--resume")
        );
        let error = RunDir::open(top.path()).unwrap_err().to_string();
        assert!(error.contains("holds no run"), "{error}");
    }

    #[test]
    fn a_directory_has_one_writer() {
        let top = tempfile::tempdir().unwrap();
        let path = top.path().join("run");
        let first = RunDir::create(&path, &run()).unwrap();
        let refused = [
            RunDir::create(&path, &run()).unwrap_err(),
            RunDir::resume(&path).unwrap_err(),
            Claim::on(&path).unwrap_err(),
        ];
        for error in refused {
            let error = error.to_string();
            assert!(error.contains("another loadgen"), "{error}");
        }
        // A reader is welcome.
        RunDir::open(&path).unwrap();
        drop(first);
        RunDir::resume(&path).unwrap();
    }

    #[test]
    fn those_who_begin_in_the_same_second_have_a_directory_each() {
        let top = tempfile::tempdir().unwrap();
        let begin = || {
            let path = new_directory(top.path(), "a").unwrap();
            let directory = RunDir::create(&path, &run()).unwrap();
            directory.link_latest().unwrap();
            path
        };
        let mut paths: Vec<PathBuf> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(begin)).collect();
            threads.into_iter().map(|one| one.join().unwrap()).collect()
        });
        paths.sort();
        paths.dedup();
        assert_eq!(paths.len(), 8);
        // And the link to one of them.
        assert_eq!(fs::read_dir(top.path()).unwrap().count(), 9);
        let latest = top
            .path()
            .join(fs::read_link(top.path().join("latest")).unwrap());
        assert!(paths.contains(&latest));
    }

    #[test]
    fn a_clock_that_no_date_can_show_is_an_error() {
        assert_eq!(directory_name(UNIX_EPOCH).unwrap(), "1970-01-01T00-00-00Z");
        assert_eq!(
            directory_name(UNIX_EPOCH + LATEST).unwrap(),
            "9999-12-31T23-59-59Z"
        );
        let second = Duration::from_secs(1);
        for time in [UNIX_EPOCH - second, UNIX_EPOCH + LATEST + second] {
            let error = directory_name(time).unwrap_err().to_string();
            assert!(error.contains("the clock"), "{error}");
        }
    }

    #[test]
    fn the_latest_link_is_relative_and_moves_on() {
        let top = tempfile::tempdir().unwrap();
        for name in ["a", "b"] {
            RunDir::create(&top.path().join(name), &run())
                .unwrap()
                .link_latest()
                .unwrap();
            assert_eq!(
                fs::read_link(top.path().join("latest")).unwrap(),
                Path::new(name)
            );
        }
        assert_eq!(fs::read_dir(top.path()).unwrap().count(), 3);
    }

    #[test]
    fn a_half_written_or_foreign_file_is_named() {
        let top = tempfile::tempdir().unwrap();
        let run = RunDir::create(&top.path().join("run"), &run()).unwrap();
        let point = run.point("ping", "epoll", "connections-1");
        assert!(point.trials().unwrap().is_empty());
        let no_result = NoResult {
            status: Status::NotApplicable,
            reason: "one client".to_owned(),
        };
        point.write_no_result(&no_result).unwrap();
        assert_eq!(point.no_result().unwrap(), Some(no_result));
        fs::write(point.path().join("trial-1.json"), "{").unwrap();
        assert!(format!("{:#}", point.trials().unwrap_err()).contains("trial-1.json"));
        // A later version, whose keys nobody knows yet.
        let later = "{\"schema_version\": 99}";
        for (file, error) in [
            (point.path().join("trial-1.json"), {
                fs::write(point.path().join("trial-1.json"), later).unwrap();
                point.trials().unwrap_err()
            }),
            (run.path().join(RUN), {
                fs::write(run.path().join(RUN), later).unwrap();
                RunDir::open(run.path()).unwrap_err()
            }),
        ] {
            let error = error.to_string();
            let named = format!("{} has schema version 99", file.display());
            assert!(error.starts_with(&named), "{error}");
        }
    }
}

//! Several trials of one load, each shown and written when it ends.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Context;

use super::setup::{Conditions, Setup};
use crate::console::{self, Reader};
use crate::engine::observer::Interrupted;
use crate::engine::probe::speaks_tls;
use crate::live::{self, Live};
use crate::observe::clock_error::{ClockError, boot_id};
use crate::observe::machine::Machine;
use crate::report::style::Style;
use crate::report::trial_table;
use crate::results::directory::{Claim, directory_name, ensure_no_trials, new_directory};
use crate::results::goals;
use crate::results::shard::ShardResult;
use crate::results::trial::{self, Trial};
use crate::verdict::cause::{Cause, Verdict};
use crate::workload::load::{Load, Workload};
use crate::workload::percentile::Percentile;
use crate::workload::requirement::Requirement;

/// What is to be done.
#[derive(Debug)]
pub struct Options {
    /// The load of the first trial; each further one has the next seed.
    pub workload: Workload,
    /// The flags of the load as keys of a scenario.
    pub keys: toml::Table,
    /// Trials, one after the other.
    pub trials: usize,
    /// The machine and the server.
    pub conditions: Conditions,
    /// What each trial must meet.
    pub goals: Vec<Requirement>,
    /// The percentiles of the table.
    pub percentiles: Vec<Percentile>,
    /// Show a JSON object for each trial in place of a table.
    pub json: bool,
    /// Who watches a trial while it runs.
    pub live: live::Options,
    /// It is one of several generators. Their results will be merged.
    pub is_shard: bool,
    /// Where the results are written; a shard has a directory of its own below it.
    pub place: Place,
}

/// Where results are written.
#[derive(Debug)]
pub enum Place {
    /// Nowhere.
    Nowhere,
    /// Into this directory.
    Directory(PathBuf),
    /// Into a new directory below `results`.
    New,
}

/// How the trials ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// All are VALID, and meet all goals.
    Valid,
    /// All are VALID, and one at least does not meet a goal.
    Missed,
    /// One at least is FAILED.
    Failed,
    /// None is FAILED, and one at least is INVALID.
    Invalid,
    /// The user ended them.
    Interrupted,
}

/// Runs the trials.
///
/// # Errors
/// When no trial had an answer, with the reason why not; when results cannot be written.
pub fn run(options: &Options) -> anyhow::Result<Ended> {
    let mut workload = options.workload.clone();
    let mut setup = Setup::new(options.conditions, &mut workload)?;
    let clock = options.is_shard.then(ClockError::here).flatten();
    let directory = options.is_shard.then(|| workload.shard.directory());
    let out = results(&options.place, directory.as_deref())?;
    let style = Style::of_stdout();
    let mut live = Live::new(&options.live)?;
    let mut answered = false;
    let mut why_not = String::new();
    let mut verdicts = Vec::new();
    let mut missed = false;
    for n in 1..=options.trials {
        live.begin(n);
        let measured = setup.trial(&workload, &mut |progress| live.tell(&progress));
        let (mut trial, recording) = match measured {
            Ok(measured) => measured,
            Err(error) => {
                // An empty directory is of no use.
                let _ = out.as_ref().map(|out| std::fs::remove_dir(out.path()));
                if error.is::<Interrupted>() {
                    return Ok(Ended::Interrupted);
                }
                return Err(error);
            }
        };
        trial.goals = goals::judge(&options.goals, &trial, &recording.times.response);
        if options.is_shard {
            let measured = &recording.measured;
            let (host, clock) = (Machine::here().host, clock.clone());
            trial.shard = Some(ShardResult::new(
                &workload,
                options.keys.clone(),
                measured,
                host,
                boot_id(),
                clock,
            ));
        }
        missed |= trial.goals.iter().any(|goal| goal.met != Some(true));
        // Before it is shown: it is kept even if nobody can read it.
        if let Some(out) = &out {
            trial::write(out.path(), n, &trial, &recording)?;
        }
        let reader = if options.json {
            Style::Plain.print(&serde_json::to_string(&trial)?)?
        } else {
            let number = if options.trials > 1 {
                format!("trial {n} of {}\n", options.trials)
            } else {
                String::new()
            };
            style.print(&format!(
                "{number}{}\n",
                trial_table::render(&trial, &options.percentiles, style)
            ))?
        };
        answered |= trial.answered > 0 || trial.rate > 0.0;
        if !answered {
            why_not = nothing_answered(&workload, &trial);
        }
        verdicts.push(trial.verdict);
        if reader == Reader::Gone && out.is_none() {
            // Nobody reads the output, so nobody would see a further trial.
            break;
        }
        if recording.measured.cut_short {
            break;
        }
        workload.seed = workload.seed.wrapping_add(1);
    }
    if let Some(out) = &out {
        console::say(&format!("histograms in {}", out.path().display()));
    }
    if !answered {
        console::say(&format!("loadgen: {why_not}"));
    }
    Ok(if verdicts.contains(&Verdict::Failed) {
        Ended::Failed
    } else if verdicts.contains(&Verdict::Invalid) {
        Ended::Invalid
    } else if missed {
        Ended::Missed
    } else {
        Ended::Valid
    })
}

/// Makes and claims the directory of the trials, and tries to write to it before anything is measured.
fn results(place: &Place, below: Option<&str>) -> anyhow::Result<Option<Claim>> {
    // Results need a date, so a wrong clock is reported before anything is measured.
    let name = directory_name(SystemTime::now());
    let top = match place {
        Place::Nowhere => return Ok(None),
        Place::Directory(path) => name.map(|_| Ok(path.clone())),
        Place::New => name.map(|name| new_directory(Path::new("results"), &name)),
    };
    let made = top?.and_then(|top| {
        let path = below.map_or(top.clone(), |below| top.join(below));
        std::fs::create_dir_all(&path).map(|()| path)
    });
    let cannot_write =
        "cannot write the results: --out DIR chooses another place, --no-save writes none";
    let claim = Claim::on(&made.context(cannot_write)?)?;
    tempfile::tempfile_in(claim.path()).context(cannot_write)?;
    ensure_no_trials(claim.path())?;
    Ok(Some(claim))
}

/// Why a trial has no answer.
fn nothing_answered(workload: &Workload, trial: &Trial) -> String {
    let target = &workload.target;
    if trial.scheduled == 0 && workload.load != Load::Closed {
        return "no request became due in the measured time: choose a longer --duration or a higher --rate"
            .to_owned();
    }
    if trial.connect_us.count == 0 && trial.causes.contains(&Cause::ConnectionsMissing) {
        let notes: Vec<String> = trial.notes.iter().map(ToString::to_string).collect();
        return format!(
            "no connection to {target} could be made: {}",
            notes.join("; ")
        );
    }
    if trial.causes.contains(&Cause::NoRequest) {
        let causes: Vec<&str> = trial.causes.iter().map(|cause| cause.meaning()).collect();
        return format!("{target} was not asked: {}", causes.join("; "));
    }
    if trial.errors.is_empty() {
        return format!("{target} answered nothing");
    }
    let errors = trial_table::errors(&trial.errors);
    let closed = ["closed-early", "reset"];
    let was_closed = closed.iter().any(|kind| trial.errors.contains_key(*kind));
    if workload.tls.is_none() && was_closed && speaks_tls(workload) {
        return format!(
            "{target} gave no right answer: {errors}; it speaks TLS: add --tls, or use https://"
        );
    }
    format!("{target} gave no right answer: {errors}")
}

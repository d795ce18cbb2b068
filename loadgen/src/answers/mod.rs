//! Published claims as experiments: each is measured by the bench, and a rule that was written before the
//! measuring says whether it holds here.
//!
//! *In:* scenario files with a table `[answer]`. *Out:* for each a summary and a picture, and a document of all. *Must not
//! know:* flags and exit codes, and how a trial is measured.

mod chart;
mod checks;
mod document;
mod figure;
pub(crate) mod file;
mod measured;
mod numbers;
mod rule;
mod theory;
mod verdict;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};

use crate::bench;
use crate::bench::plan::{Plan, Start};
use crate::measure::interrupt::Interrupt;
use crate::report::numbers::counted;
use crate::report::style::Style;
use crate::results::directory::{directory_name, new_directory};
use crate::results::run::Settings;
use document::Answered;
use file::Experiment;
use measured::{Measured, SUMMARY};
use verdict::judge;

/// About the time that a trial takes beside its load: to wait for a quiet machine, to start, to connect, to stop.
const OVERHEAD: Duration = Duration::from_millis(400);
/// The picture's file.
const CHART: &str = "chart.svg";

/// What is to be answered.
#[derive(Debug)]
pub struct Answers {
    /// All experiments of the document.
    pub experiments: Vec<Experiment>,
    /// The names of those that are measured now.
    pub measure: Vec<String>,
    /// How; the trials are those of the experiment's file unless they are given.
    pub settings: Settings,
    /// In place of the trials of each file.
    pub trials: Option<usize>,
    /// Where the results go.
    pub out: PathBuf,
    /// The document that is written.
    pub document: Option<PathBuf>,
}

/// Measures and writes. Returns whether the user interrupted it.
///
/// # Errors
/// When the results cannot be written, or read back.
pub fn run(answers: &Answers) -> anyhow::Result<bool> {
    // This comes first: threads that start later inherit the blocked signals.
    let mut interrupt = Interrupt::new()?;
    let style = Style::of_stdout();
    let write = || {
        write(
            &answers.experiments,
            &answers.out,
            answers.document.as_deref(),
        )
    };
    let is_due = |experiment: &&Experiment| answers.measure.contains(&experiment.name);
    let due: Vec<&Experiment> = answers.experiments.iter().filter(is_due).collect();
    // The results of the other experiments are read back at the end. If they are of other rules, the user should
    // know it now.
    for kept in answers.experiments.iter().filter(|one| !is_due(one)) {
        answered(kept, &answers.out)?;
    }
    if due.is_empty() {
        write()?;
        return Ok(false);
    }
    let planned: Duration = due
        .iter()
        .map(|experiment| answers.planned(experiment))
        .sum();
    let minutes = planned.as_secs().div_ceil(60);
    let many = counted(due.len() as u64, "experiment");
    style.print(&format!("{many}, about {}\n\n", counted(minutes, "minute")))?;
    for (at, experiment) in due.iter().enumerate() {
        if !answers.measure(experiment, &mut interrupt)? {
            let left: Vec<&str> = due[at..].iter().map(|one| one.name.as_str()).collect();
            style.print(&format!(
                "Interrupted; what was answered is in {}. Go on with: loadgen answers --only {}\n",
                answers.out.display(),
                left.join(",")
            ))?;
            return Ok(true);
        }
        style.print(&document::text(&answered(experiment, &answers.out)?))?;
        write()?;
    }
    Ok(false)
}

/// Whether a directory holds the results of experiments.
pub fn is_of_answers(directory: &Path) -> bool {
    let Ok(entries) = fs::read_dir(directory) else {
        return false;
    };
    entries
        .flatten()
        .any(|entry| entry.path().join(SUMMARY).exists())
}

/// Prints the answers that are in a directory, and writes its `report.html` anew.
///
/// # Errors
/// When a summary cannot be read, or the page cannot be written.
pub fn report(directory: &Path) -> anyhow::Result<()> {
    let experiments = Experiment::built_in()?;
    for experiment in &experiments {
        let answered = answered(experiment, directory)?;
        if answered.result.is_some() {
            Style::of_stdout().print(&document::text(&answered))?;
        }
    }
    write(&experiments, directory, None)
}

impl Answers {
    /// Measures one; `false`: the user interrupted it.
    fn measure(&self, experiment: &Experiment, interrupt: &mut Interrupt) -> anyhow::Result<bool> {
        let top = self.out.join(&experiment.name);
        let trials = new_directory(&top, &directory_name(SystemTime::now())?)
            .with_context(|| format!("cannot write to {}: choose another --out", top.display()))?;
        let start = Start::New(Box::new(Plan {
            profile: experiment.profile.clone(),
            settings: Settings {
                trials: self.trials.unwrap_or(experiment.profile.trials),
                ..self.settings.clone()
            },
            out: Some(trials),
        }));
        let Some((directory, run)) = bench::measure(&start, interrupt)? else {
            return Ok(false);
        };
        let measured = Measured::of_run(experiment, &directory, &run)?;
        fs::write(top.join(SUMMARY), measured.json_lines()?)?;
        Ok(true)
    }

    /// How long an experiment takes, about.
    fn planned(&self, experiment: &Experiment) -> Duration {
        let profile = &experiment.profile;
        let points = profile
            .scenarios
            .iter()
            .flat_map(|scenario| &scenario.points);
        let round: Duration = points
            .map(|point| {
                let duration = self.settings.duration_s.map(Duration::from_secs_f64);
                point.workload.warmup + duration.unwrap_or(point.workload.duration) + OVERHEAD
            })
            .sum();
        let trials = profile.servers.len() * self.trials.unwrap_or(profile.trials);
        round.saturating_mul(u32::try_from(trials).unwrap_or(u32::MAX))
    }
}

/// Judges what was measured.
fn answered<'a>(experiment: &'a Experiment, out: &Path) -> anyhow::Result<Answered<'a>> {
    let measured = Measured::read(experiment, &out.join(&experiment.name))?;
    let result = measured.map(|measured| {
        let outcomes = judge(experiment, &measured);
        let checks = outcomes.iter().flat_map(|outcome| &outcome.checks);
        let predictions: Vec<_> = checks
            .filter_map(|judged| judged.check.predicts.clone())
            .collect();
        let picture = chart::svg(experiment, &measured, &predictions)?;
        anyhow::Ok((measured, outcomes, picture))
    });
    Ok(Answered {
        experiment,
        result: result.transpose()?,
    })
}

/// Writes the pictures, the page and the document from the summaries.
fn write(experiments: &[Experiment], out: &Path, document: Option<&Path>) -> anyhow::Result<()> {
    let answers = experiments
        .iter()
        .map(|experiment| answered(experiment, out));
    let answers: Vec<Answered<'_>> = answers.collect::<Result<_, _>>()?;
    let cannot = |path: &Path| format!("cannot write {}", path.display());
    let mut any = false;
    for answered in &answers {
        if let Some((_, _, picture)) = &answered.result {
            let path = out.join(&answered.experiment.name).join(CHART);
            fs::write(&path, picture).with_context(|| cannot(&path))?;
            any = true;
        }
    }
    if !any && document.is_none() {
        bail!(
            "{} holds no answers: run loadgen answers first",
            out.display()
        );
    }
    if any {
        let page = out.join("report.html");
        fs::write(&page, document::html(&answers)?).with_context(|| cannot(&page))?;
    }
    if let Some(path) = document {
        let text = document::markdown(&answers, &document::way(path, out)?)?;
        fs::write(path, text).with_context(|| cannot(path))?;
    }
    Ok(())
}

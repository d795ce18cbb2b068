//! The figures of a bench, read from the run's directory and from nothing else.

use super::goals;
use super::section::{Row, Section};
use crate::results::directory::RunDir;
use crate::results::run::{Run, Status};
use crate::verdict::cause::Verdict;
use crate::workload::line_up::ServerEntry;

/// A run and its figures.
#[derive(Debug, Clone)]
pub struct Summary {
    /// What was asked.
    pub run: Run,
    /// The rows' servers, in the order of the line-up.
    pub servers: Vec<ServerEntry>,
    /// A table for each point of each scenario, in the order of the profile.
    pub sections: Vec<Section>,
    /// Trials that are still to be run, and of how many.
    pub missing: (usize, usize),
}

impl Summary {
    /// Reads a run's directory.
    pub fn read(directory: &RunDir, run: &Run) -> anyhow::Result<Self> {
        let profile = run.profile()?;
        let mut sections = Vec::new();
        let (mut missing, mut all) = (0, 0);
        for scenario in &profile.scenarios {
            for point in &scenario.points {
                for server in &profile.servers {
                    let place = directory.point(&scenario.name, &server.name, &point.name);
                    // Only a bench knows from its beginning how many trials there will be.
                    if run.other_command().is_none() && place.no_result()?.is_none() {
                        all += run.settings.trials;
                        missing += run.settings.trials.saturating_sub(place.trials()?.len());
                    }
                }
                let section = Section::read(
                    directory,
                    &profile.servers,
                    scenario,
                    point,
                    &run.settings.percentiles,
                )?;
                if !section.rows.is_empty() {
                    sections.push(section);
                }
            }
        }
        Ok(Self {
            run: run.clone(),
            servers: profile.servers,
            sections,
            missing: (missing, all),
        })
    }

    /// Whether a server failed: it answered wrongly or not at all, did not start, or died.
    pub fn any_failed(&self) -> bool {
        self.rows().any(|row| match &row.outcome {
            Ok(figures) => figures.verdict == Verdict::Failed,
            Err(without) => without.status == Status::Failed,
        })
    }

    /// Whether a result is INVALID.
    pub fn any_invalid(&self) -> bool {
        self.rows().any(|row| {
            row.outcome
                .as_ref()
                .is_ok_and(|figures| figures.verdict == Verdict::Invalid)
        })
    }

    /// Whether a row misses a goal that it must meet.
    pub fn any_missed(&self) -> bool {
        let rows = self.sections.iter().flat_map(goals::of_rows);
        rows.into_iter().any(|(_, met, _)| !met)
    }

    /// Whether rows are ranked against each other.
    pub fn compares(&self) -> bool {
        let mut sections = self.sections.iter();
        sections.any(|section| section.ranked().len() > 1)
    }

    fn rows(&self) -> impl Iterator<Item = &Row> {
        self.sections.iter().flat_map(|section| &section.rows)
    }
}

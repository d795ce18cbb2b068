//! The order of a bench: one round over all scenarios after the other, the servers in turns.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::attempt::{Attempt, TrialRunner};
use super::plan::{mix, own_program};
use super::progress::{Progress, SoFar};
use crate::measure::interrupt::Interrupt;
use crate::observe::shortcomings::too_few_descriptors;
use crate::report::section::Section;
use crate::report::style::Style;
use crate::report::text;
use crate::results::directory::{PointDir, RunDir};
use crate::results::goals;
use crate::results::run::{NoResult, Run, Status};
use crate::results::trial;
use crate::servers::contestant::Contestant;
use crate::workload::line_up::ServerEntry;
use crate::workload::scenario::{Point, Scenario};

/// How the rounds ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// All was done.
    Everything,
    /// The user asked to end.
    Interrupted,
}

/// A bench that runs.
pub struct Bench<'a> {
    directory: &'a RunDir,
    run: &'a Run,
    servers: Vec<ServerEntry>,
    scenarios: Vec<Scenario>,
    contestants: Vec<Contestant>,
    progress: Progress,
    runner: TrialRunner<'a>,
    /// The points at which a server cannot be measured, or has failed since this bench was begun or resumed.
    given_up: HashSet<PathBuf>,
    /// Whether the tables are printed.
    tables: bool,
}

impl<'a> Bench<'a> {
    /// Looks for the servers.
    ///
    /// # Errors
    /// When the run's files are damaged, loadgen does not find its own program, or no server can be started here.
    pub fn new(
        directory: &'a RunDir,
        run: &'a Run,
        interrupt: &'a mut Interrupt,
    ) -> anyhow::Result<Self> {
        let profile = run.profile()?;
        let settings = &run.settings;
        let own_program = own_program()?;
        let find = |entry: &ServerEntry| Contestant::find(entry.clone(), &own_program, settings);
        let contestants = profile.servers.iter().map(find);
        let contestants = contestants.collect::<Result<Vec<_>, _>>()?;
        let points = profile
            .scenarios
            .iter()
            .flat_map(|scenario| &scenario.points);
        let planned: Duration = points.map(Progress::planned).sum();
        let trials = settings.trials.saturating_mul(contestants.len());
        let trials = u32::try_from(trials).unwrap_or(u32::MAX);
        Ok(Self {
            directory,
            run,
            servers: profile.servers,
            scenarios: profile.scenarios,
            contestants,
            progress: Progress::new(planned.saturating_mul(trials)),
            runner: TrialRunner::new(run, interrupt)?,
            given_up: HashSet::new(),
            tables: true,
        })
    }

    /// Prints no tables.
    pub fn without_tables(self) -> Self {
        Self {
            tables: false,
            ..self
        }
    }

    /// Runs all trials that are missing, and prints each table when it is complete.
    ///
    /// # Errors
    /// When the results cannot be written, or no server can be started here.
    pub fn run(mut self) -> anyhow::Result<Done> {
        let end = self.rounds();
        self.progress.finish();
        end
    }

    fn rounds(&mut self) -> anyhow::Result<Done> {
        let style = Style::of_stdout();
        if self.tables {
            let head = text::head_text(self.run, &self.servers);
            let head = format!(
                "{head}
{}

",
                text::KEY
            );
            self.progress.apart(|| style.print(&head))?;
        }
        let scenarios = std::mem::take(&mut self.scenarios);
        let points: Vec<(&Scenario, &Point)> = scenarios
            .iter()
            .flat_map(|scenario| scenario.points.iter().map(move |point| (scenario, point)))
            .collect();
        for (scenario, point) in &points {
            self.excuse(scenario, point)?;
        }
        // So the trials of one row lie minutes apart. A machine may be slow for minutes, and that should not hit
        // all trials of one row.
        for number in 1..=self.run.settings.trials {
            for (scenario, point) in &points {
                let done = self.round(scenario, point, number)?;
                let complete = done == Done::Interrupted || number == self.run.settings.trials;
                if complete && self.tables {
                    let section = Section::read(
                        self.directory,
                        &self.servers,
                        scenario,
                        point,
                        &self.run.settings.percentiles,
                    )?;
                    let text = text::for_section(&section, style);
                    self.progress.apart(|| style.print(&format!("{text}\n")))?;
                }
                if done == Done::Interrupted {
                    return Ok(done);
                }
            }
        }
        Ok(Done::Everything)
    }

    fn place(&self, at: usize, scenario: &Scenario, point: &Point) -> PointDir {
        let server = self.contestants[at].name();
        self.directory.point(&scenario.name, server, &point.name)
    }

    /// Writes which servers have no figures at a point, and why.
    fn excuse(&mut self, scenario: &Scenario, point: &Point) -> anyhow::Result<()> {
        for at in 0..self.contestants.len() {
            let place = self.place(at, scenario, point);
            let reason = not_here(point).or_else(|| self.contestants[at].excuse(scenario, point));
            match (reason, place.no_result()?) {
                (Some(reason), _) => {
                    place.write_no_result(&reason)?;
                    self.given_up.insert(place.path().to_owned());
                }
                // The server is tried again, and has no figures until a trial succeeds.
                (None, Some(before)) if before.status == Status::Failed => {}
                (None, _) => place.remove_no_result(),
            }
        }
        Ok(())
    }

    /// A trial of each server at one point, in random order.
    fn round(&mut self, scenario: &Scenario, point: &Point, number: usize) -> anyhow::Result<Done> {
        let seed = mix(
            self.run.settings.seed,
            &(&scenario.name, &point.name, number),
        );
        let mut order: Vec<usize> = (0..self.contestants.len()).collect();
        order.shuffle(&mut StdRng::seed_from_u64(seed));
        let mut so_far = SoFar::new(scenario.rank, order.len());
        for at in order {
            let place = self.place(at, scenario, point);
            let name = self.contestants[at].name();
            let before = place.trial(number)?;
            if !self.given_up.contains(place.path()) && before.is_none() {
                let trials = (number, self.run.settings.trials);
                self.progress.tell(scenario, point, name, trials, &so_far);
                let contestant = &self.contestants[at];
                let workload = |address| {
                    point.workload(address, self.run.settings.generator_cpus.clone(), seed)
                };
                match self.runner.trial(contestant, scenario, point, &workload)? {
                    Attempt::Measured(mut trial, recording) => {
                        trial.goals = goals::judge(&point.goals, &trial, &recording.times.response);
                        trial::write(place.path(), number, &trial, &recording)?;
                        place.remove_no_result();
                        so_far.add(name, Some(&trial));
                    }
                    Attempt::Failed(reason) => {
                        let reason = format!("{reason} (trial {number})");
                        place.write_no_result(&NoResult {
                            status: Status::Failed,
                            reason,
                        })?;
                        self.given_up.insert(place.path().to_owned());
                        so_far.add(name, None);
                    }
                    Attempt::Interrupted => return Ok(Done::Interrupted),
                }
            } else {
                so_far.add(name, before.as_ref());
            }
            self.progress.advance(Progress::planned(point));
        }
        Ok(Done::Everything)
    }
}

/// Why no server can be measured at a point on this machine.
fn not_here(point: &Point) -> Option<NoResult> {
    Some(NoResult {
        status: Status::NotApplicable,
        reason: too_few_descriptors(point.clients())?,
    })
}

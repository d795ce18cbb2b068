//! The trials, in turns, and when it is enough.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::answer::{Answer, Contender, Ended, Side};
use super::plan::{Opened, Plan};
use super::standing::{ALPHA, Seen, Standing};
use super::text;
use crate::bench::attempt::{Attempt, TrialRunner};
use crate::console::say;
use crate::measure::interrupt::Interrupt;
use crate::report::failure;
use crate::results::directory::PointDir;
use crate::results::run::{NoResult, Run, Status};
use crate::results::trial::{self, SCHEMA_VERSION};
use crate::verdict::cause::{Cause, Verdict};
use crate::workload::load::Workload;

/// Whose turn it is in a block.
const TURNS: [Side; 4] = [Side::A, Side::B, Side::B, Side::A];

/// Two servers in turns.
pub struct Contest<'a> {
    plan: &'a Plan,
    opened: &'a Opened,
    run: Run,
    runner: TrialRunner<'a>,
    began: Instant,
    /// The longest block so far.
    longest: Duration,
    standing: Standing,
    /// Trials of A and of B that were measured.
    measured: [usize; 2],
    /// Of these, those that stayed INVALID.
    invalid: usize,
    /// Why they are, each cause once.
    causes: Vec<Cause>,
}

/// What became of a block.
enum Block {
    /// It counts.
    Counted,
    /// A trial of it stayed INVALID.
    Invalid,
    /// It is the last one.
    Ended(Ended),
}

impl<'a> Contest<'a> {
    /// Gets ready for the first trial.
    pub fn new(
        plan: &'a Plan,
        opened: &'a Opened,
        interrupt: &'a mut Interrupt,
    ) -> anyhow::Result<Self> {
        let began = Instant::now();
        Ok(Self {
            plan,
            opened,
            run: opened.run.clone(),
            runner: TrialRunner::new(&opened.run, interrupt)?.until(began + plan.budget),
            began,
            longest: plan.least_block(),
            standing: Standing::default(),
            measured: [0, 0],
            invalid: 0,
            causes: Vec::new(),
        })
    }

    /// Goes on until the ratio is known closely enough, or the time is over.
    ///
    /// # Errors
    /// When the results cannot be written, or no server can be started here.
    pub fn run(mut self) -> anyhow::Result<Answer> {
        let (figure, within) = (self.plan.figure, self.plan.within);
        let terminal = std::io::stderr().is_terminal();
        let ended = loop {
            // A block that would not end in time is not begun.
            if self.began.elapsed() + self.longest > self.plan.budget {
                break Ended::Budget;
            }
            let begin = Instant::now();
            let block = self.block()?;
            self.longest = self.longest.max(begin.elapsed());
            self.keep_count()?;
            match block {
                Block::Ended(ended) => break ended,
                Block::Invalid => continue,
                Block::Counted => {}
            }
            if terminal {
                say(&text::progress(&self.standing, figure, within));
            }
            if self.standing.lacks(figure) {
                break Ended::NoFigure;
            }
            if self.standing.is_narrow(figure, within) {
                break Ended::Narrow;
            }
        };
        Ok(self.answer(ended))
    }

    /// Four trials.
    fn block(&mut self) -> anyhow::Result<Block> {
        let plan = self.plan;
        let scenario = &self.opened.scenario;
        let point = &scenario.points[0];
        // All of a block have the same arrivals.
        let seed = plan
            .workload
            .seed
            .wrapping_add((self.measured[0] + self.measured[1]) as u64);
        let workload = |address: SocketAddr| Workload {
            target: address.into(),
            seed,
            ..plan.workload.clone()
        };
        let mut counted = [Vec::new(), Vec::new()];
        for side in TURNS {
            let contestant = &self.opened.contestants[side as usize];
            let directory = self.opened.directory.as_ref();
            let place = directory
                .map(|directory| directory.point(&scenario.name, contestant.name(), &point.name));
            let trial = match self.runner.trial(contestant, scenario, point, &workload)? {
                Attempt::Interrupted => return Ok(Block::Ended(Ended::Interrupted)),
                Attempt::Failed(reason) => return self.failed(side, reason, place.as_ref()),
                Attempt::Measured(trial, recording) => {
                    self.measured[side as usize] += 1;
                    if let Some(place) = &place {
                        let number = self.measured[side as usize];
                        trial::write(place.path(), number, &trial, &recording)?;
                    }
                    trial
                }
            };
            match trial.verdict {
                Verdict::Valid => counted[side as usize].push(Seen::of(&trial)),
                Verdict::Invalid => {
                    self.invalid += 1;
                    for cause in trial.causes {
                        if !self.causes.contains(&cause) {
                            self.causes.push(cause);
                        }
                    }
                    return Ok(Block::Invalid);
                }
                Verdict::Failed => {
                    let verdict = failure::of_trial(&trial);
                    let reason = verdict.trim_start_matches("FAILED: ").to_owned();
                    return Ok(Block::Ended(Ended::Failed { side, reason }));
                }
            }
        }
        let pair = |trials: &Vec<Seen>| [trials[0], trials[1]];
        self.standing.add(counted.each_ref().map(pair));
        Ok(Block::Counted)
    }

    /// A server that did not start, or died.
    fn failed(
        &self,
        side: Side,
        mut reason: String,
        place: Option<&PointDir>,
    ) -> anyhow::Result<Block> {
        if let Some(place) = place {
            place.write_no_result(&NoResult {
                status: Status::Failed,
                reason: reason.clone(),
            })?;
        }
        let is_told_where = self.plan.is_told_where(side as usize);
        if self.measured[side as usize] == 0 && !is_told_where {
            reason.push_str(
                " (its command has no {port} and no {addr}, so its first line must be `listening on ADDRESS`)",
            );
        }
        Ok(Block::Ended(Ended::Failed { side, reason }))
    }

    /// Writes how many trials there are by now.
    fn keep_count(&mut self) -> anyhow::Result<()> {
        self.run.settings.trials = self.measured[0].max(self.measured[1]).max(1);
        match &self.opened.directory {
            Some(directory) => directory.update(&self.run),
            None => Ok(()),
        }
    }

    fn answer(self, ended: Ended) -> Answer {
        let programs = self.run.programs.as_ref();
        let remarks = self.standing.remarks();
        let contender = |side: Side| {
            let row = self.opened.contestants[side as usize].name();
            Contender {
                command: self.plan.commands[side as usize].clone(),
                sha256: programs.and_then(|programs| programs.servers.get(row).cloned().flatten()),
                remarks: remarks[side as usize],
            }
        };
        let (a, b) = (contender(Side::A), contender(Side::B));
        let figures = self.standing.judge(self.plan.threshold);
        let only_b_starves = self.standing.only_b_starves();
        Answer {
            schema_version: SCHEMA_VERSION,
            same_binary: a
                .sha256
                .as_ref()
                .zip(b.sha256.as_ref())
                .map(|(a, b)| a == b),
            a,
            b,
            figure: self.plan.figure,
            within: self.plan.within,
            threshold: self.plan.threshold,
            confidence: 1.0 - ALPHA,
            blocks: self.standing.blocks(),
            invalid: self.invalid,
            causes: self.causes,
            seconds: self.began.elapsed().as_secs_f64(),
            connections: self.plan.workload.connections,
            only_b_starves,
            regression: only_b_starves || figures.iter().any(|figure| figure.regression),
            figures,
            results: self
                .opened
                .directory
                .as_ref()
                .map(|directory| directory.path().to_owned()),
            ended,
        }
    }
}

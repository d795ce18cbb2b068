//! One trial of a bench: wait for a quiet machine, start a server, load it, stop it. An INVALID trial is repeated.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit};
use supervisor::limit::raise_descriptors;
use supervisor::{Launch, Process, Ready, StartError, Stopped, Unable};

use super::pauses::Pauses;
use crate::engine::observer::Interrupted;
use crate::measure::interrupt::Interrupt;
use crate::measure::trial::measure;
use crate::observe::clocks::wait_until_quiet;
use crate::observe::cores::allowed_cpus;
use crate::observe::costs::Meter;
use crate::observe::keep_awake::KeepAwake;
use crate::observe::watch::Watch;
use crate::recording::record::Recording;
use crate::report::numbers::words;
use crate::results::run::Run;
use crate::results::trial::Trial;
use crate::servers::contestant::Contestant;
use crate::verdict::cause::Verdict;
use crate::verdict::note::Note;
use crate::workload::load::Workload;
use crate::workload::scenario::{Point, Scenario};

/// How often an INVALID trial is repeated.
const REPEATS: usize = 2;
/// How long a server may take to get ready, and to stop on SIGTERM: the servers give themselves 5 s.
const PATIENCE: Duration = Duration::from_secs(7);
/// How long to wait for a quiet machine before a trial. It is halved each time that the machine did not become
/// quiet.
const QUIET_LIMIT: Duration = Duration::from_secs(2);

/// What all trials of a bench share.
pub struct TrialRunner<'a> {
    interrupt: &'a mut Interrupt,
    /// The cores that are to be kept awake.
    awake: Vec<usize>,
    keep_awake: KeepAwake,
    /// Cores of the machine.
    cores: usize,
    quiet_limit: Duration,
    /// No trial is repeated after this time.
    deadline: Option<Instant>,
    /// The limit of descriptors that this bench had at its start.
    descriptors: u64,
}

/// How a trial ended.
pub enum Attempt {
    /// It was measured.
    Measured(Box<Trial>, Box<Recording>),
    /// The server failed; how.
    Failed(String),
    /// The user asked to end.
    Interrupted,
}

impl<'a> TrialRunner<'a> {
    /// Gets ready for the trials of a run.
    pub fn new(run: &Run, interrupt: &'a mut Interrupt) -> anyhow::Result<Self> {
        // Only loadgen gets the higher limit: the servers start with the one before.
        let (descriptors, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
        raise_descriptors()?;
        let awake = if run.settings.keep_awake {
            allowed_cpus()
        } else {
            Vec::new()
        };
        Ok(Self {
            interrupt,
            keep_awake: KeepAwake::on(&awake),
            awake,
            cores: run.machine.cores,
            quiet_limit: QUIET_LIMIT,
            deadline: None,
            descriptors,
        })
    }

    /// Repeats no trial after this time.
    pub fn until(self, deadline: Instant) -> Self {
        Self {
            deadline: Some(deadline),
            ..self
        }
    }

    /// One trial, repeated while it is INVALID. `workload` makes the load for the server's address.
    ///
    /// # Errors
    /// When no server can be started here.
    pub fn trial(
        &mut self,
        contestant: &Contestant,
        scenario: &Scenario,
        point: &Point,
        workload: &dyn Fn(SocketAddr) -> Workload,
    ) -> Result<Attempt, Unable> {
        let mut earlier = Vec::new();
        loop {
            let mut attempt = self.attempt(contestant, scenario, point, workload)?;
            if let Attempt::Measured(trial, _) = &mut attempt {
                let in_time = self
                    .deadline
                    .is_none_or(|deadline| Instant::now() < deadline);
                if trial.verdict == Verdict::Invalid && earlier.len() < REPEATS && in_time {
                    earlier.push(words(&trial.causes));
                    continue;
                }
                if let Some(causes) = earlier.last() {
                    let said = format!("{} earlier, {causes}", earlier.len());
                    trial.notes.push(Note::Repeated(said));
                }
            }
            return Ok(attempt);
        }
    }

    fn attempt(
        &mut self,
        contestant: &Contestant,
        scenario: &Scenario,
        point: &Point,
        workload: &dyn Fn(SocketAddr) -> Workload,
    ) -> Result<Attempt, Unable> {
        self.wake_cores(!scenario.let_sleep);
        let cancelled = &mut || self.interrupt.pending();
        let quiet = wait_until_quiet(&self.keep_awake, self.cores, self.quiet_limit, cancelled);
        if self.interrupt.pending() {
            return Ok(Attempt::Interrupted);
        }
        self.quiet_limit = if quiet {
            QUIET_LIMIT
        } else {
            self.quiet_limit / 2
        };
        let (launch, ready) = match contestant.launch(scenario, point, self.descriptors) {
            Ok(launch) => launch,
            Err(error) => return Ok(Attempt::Failed(format!("{error:#}"))),
        };
        let (server, address, mut meter) = match self.start(&launch, ready) {
            Ok(started) => started,
            Err(StartError::Interrupted) => return Ok(Attempt::Interrupted),
            Err(StartError::Unable(unable)) => return Err(unable),
            Err(error) => return Ok(Attempt::Failed(error.to_string())),
        };
        let workload = workload(address);
        let standstill = scenario.standstill;
        let standstill = standstill.map(|standstill| Pauses::of(server.group(), standstill));
        let watch = Watch::new(&self.keep_awake, Some(&mut meter));
        let measured = measure(&workload, watch, self.interrupt, false, &mut |_| {});
        // It must run to be stopped.
        drop(standstill);
        if measured
            .as_ref()
            .is_err_and(anyhow::Error::is::<Interrupted>)
        {
            // Nothing of this trial is kept. The server is killed without waiting for it.
            return Ok(Attempt::Interrupted);
        }
        let cancelled = &mut || self.interrupt.pending();
        Ok(match (measured, server.stop(PATIENCE, cancelled)) {
            (_, Stopped::Cancelled) => Attempt::Interrupted,
            (_, Stopped::Before(how)) => Attempt::Failed(format!("died: {how}")),
            (Err(error), _) => Attempt::Failed(format!("{error:#}")),
            (Ok((mut trial, recording)), stopped) => {
                trial.notes.extend(match stopped {
                    Stopped::Killed => Some(Note::Killed),
                    Stopped::Badly(how) => Some(Note::StoppedBadly(how)),
                    Stopped::Gracefully | Stopped::Before(_) | Stopped::Cancelled => None,
                });
                Attempt::Measured(Box::new(trial), Box::new(recording))
            }
        })
    }

    /// Keeps the cores awake for the next trial, or lets them sleep.
    fn wake_cores(&mut self, awake: bool) {
        let cores = if awake { &self.awake[..] } else { &[] };
        if awake != (self.keep_awake.cores() > 0) {
            self.keep_awake = KeepAwake::on(cores);
        }
    }

    /// Starts a server with its costs counted from the first instruction.
    fn start(
        &mut self,
        launch: &Launch,
        ready: Ready,
    ) -> Result<(Process, SocketAddr, Meter), StartError> {
        let held = launch.hold()?;
        let meter = Meter::before_exec(held.pid());
        let interrupted = &mut || self.interrupt.pending();
        let (server, address) = held.release().ready(ready, PATIENCE, interrupted)?;
        Ok((server, address, meter))
    }
}

//! What the trials of a command share.

use anyhow::Context;
use supervisor::limit::raise_descriptors;

use super::interrupt::Interrupt;
use super::trial;
use crate::console;
use crate::engine::observer::Progress;
use crate::engine::probe::leave_out_refusing;
use crate::observe::cores::allowed_cpus;
use crate::observe::costs::Meter;
use crate::observe::keep_awake::KeepAwake;
use crate::observe::watch::Watch;
use crate::recording::record::Recording;
use crate::results::trial::Trial;
use crate::verdict::note::Note;
use crate::workload::load::Workload;

/// Descriptors that are not connections: standard streams, epoll, timers, counters, results.
const OTHER_DESCRIPTORS: usize = 64;

/// What the user asked for about the machine, and said about the server.
#[derive(Debug, Clone, Copy)]
pub struct Conditions {
    /// Keep the cores from going to sleep.
    pub keep_awake: bool,
    /// The server's process, to be watched.
    pub server_pid: Option<u32>,
    /// When the user ends a trial, what was measured until then is kept.
    pub keeps_a_part: bool,
}

/// What all trials under the same conditions use.
#[derive(Debug)]
pub struct Setup {
    interrupt: Interrupt,
    keep_awake: KeepAwake,
    meter: Option<Meter>,
    keeps_a_part: bool,
    /// Addresses of the server that are not used, with the reason.
    left_out: Vec<String>,
}

impl Setup {
    /// Prepares trials of this load, and removes from it the addresses at which nobody listens. Warns on standard
    /// error if the descriptors may not suffice.
    pub fn new(conditions: Conditions, workload: &mut Workload) -> anyhow::Result<Self> {
        let mut interrupt = Interrupt::new()?;
        let limit = raise_descriptors()?;
        let needed = workload.connections + workload.neighbours.connections();
        if needed + OTHER_DESCRIPTORS > limit {
            console::say(&format!(
                "loadgen: {needed} connections may not fit in the limit of {limit} descriptors: \
                 raise it (ulimit -Hn, or LimitNOFILE of the service)"
            ));
        }
        let left_out = leave_out_refusing(workload, &mut || interrupt.pending())?;
        let keep_awake = KeepAwake::on(&if conditions.keep_awake {
            allowed_cpus()
        } else {
            Vec::new()
        });
        let attach =
            |pid| Meter::attach(pid).with_context(|| format!("cannot watch process {pid}"));
        let meter = conditions.server_pid.map(attach).transpose()?;
        Ok(Self {
            interrupt,
            keep_awake,
            meter,
            keeps_a_part: conditions.keeps_a_part,
            left_out,
        })
    }

    /// Runs a trial; `tell` gets its progress.
    ///
    /// # Errors
    /// Those of [`trial::measure`].
    pub fn trial(
        &mut self,
        workload: &Workload,
        tell: &mut dyn FnMut(Progress),
    ) -> anyhow::Result<(Trial, Recording)> {
        let watch = Watch::new(&self.keep_awake, self.meter.as_mut());
        let (mut trial, recording) = trial::measure(
            workload,
            watch,
            &mut self.interrupt,
            self.keeps_a_part,
            tell,
        )?;
        let note = self.meter.as_ref().and_then(Meter::note);
        trial
            .notes
            .extend(note.map(|note| Note::Costs(note.to_owned())));
        if !self.left_out.is_empty() {
            trial.notes.push(Note::LeftOut(self.left_out.join("; ")));
        }
        Ok((trial, recording))
    }
}

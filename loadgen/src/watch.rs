//! Watches a trial from outside of the load: what the server spent and what else the machine did.

use crate::costs::{Footprint, Meter, Reading};
use crate::engine::Phase;
use crate::keep_awake::KeepAwake;
use crate::machine::{Machine, MachineReading};
use crate::trial::{MachineShares, ServerCosts};

/// Takes readings when the load begins and at both ends of the measured time.
///
/// The machine is judged from the start of the warm-up on: to look at a thousand processes takes
/// time, which shall not be the measured one.
#[derive(Debug)]
pub struct Watch<'a> {
    keep_awake: &'a KeepAwake,
    meter: Option<&'a mut Meter>,
    cores: usize,
    /// When the load began, and when it was over.
    machine: [Option<Machinery>; 2],
    /// When the measured time began, and when it was over.
    server: [Option<Reading>; 2],
    footprint: Footprint,
}

/// The machine's clocks, and the server's CPU time as the kernel bills it (ns).
#[derive(Debug)]
struct Machinery {
    clocks: MachineReading,
    billed: u64,
}

impl<'a> Watch<'a> {
    /// Watches the machine and, where its meter is given, the server.
    pub fn new(keep_awake: &'a KeepAwake, meter: Option<&'a mut Meter>) -> Self {
        Self {
            keep_awake,
            meter,
            cores: Machine::here().cores,
            machine: [None, None],
            server: [None, None],
            footprint: Footprint::default(),
        }
    }

    /// Takes the readings of a phase; to be called when it begins, with the connections open.
    pub fn phase(&mut self, phase: Phase) {
        match phase {
            Phase::Warmup => self.machine[0] = Some(self.machinery()),
            Phase::Measuring => self.server[0] = self.server(),
            Phase::Measured => {
                self.server[1] = self.server();
                self.machine[1] = Some(self.machinery());
                if let Some(meter) = &self.meter {
                    self.footprint = meter.footprint();
                }
            }
        }
    }

    fn server(&mut self) -> Option<Reading> {
        self.meter.as_mut().map(|meter| meter.read())
    }

    fn machinery(&self) -> Machinery {
        let clocks = MachineReading::now(self.keep_awake);
        let billed = self.meter.as_ref().map_or(0, |meter| meter.billed());
        Machinery { clocks, billed }
    }

    /// What was spent on the `answered` requests of the measured time; nothing if it did not begin and end.
    pub fn result(&self, answered: u64) -> (Option<ServerCosts>, MachineShares) {
        let [Some(start), Some(end)] = &self.machine else {
            return (None, MachineShares::default());
        };
        let billed = end.billed.saturating_sub(start.billed);
        let machine = end.clocks.since(&start.clocks, billed, self.cores);
        let costs = match (&self.meter, &self.server) {
            (Some(meter), [Some(from), Some(to)]) => {
                Some(meter.costs(from, to, self.footprint, answered))
            }
            _ => None,
        };
        (costs, machine)
    }
}

//! Watches a trial from outside of the load: what the server spent and what else the machine did.

use crate::costs::{Footprint, Meter, Reading};
use crate::keep_awake::KeepAwake;
use crate::machine::{Machine, MachineReading};
use crate::trial::{MachineShares, ServerCosts};

/// Takes readings at the ends of the measured time.
#[derive(Debug)]
pub struct Watch<'a> {
    keep_awake: &'a KeepAwake,
    meter: Option<&'a mut Meter>,
    cores: usize,
    began: Option<Readings>,
    ended: Option<Readings>,
    footprint: Footprint,
}

#[derive(Debug)]
struct Readings {
    machine: MachineReading,
    server: Option<Reading>,
}

impl<'a> Watch<'a> {
    /// Watches the machine and, where its meter is given, the server.
    pub fn new(keep_awake: &'a KeepAwake, meter: Option<&'a mut Meter>) -> Self {
        Self {
            keep_awake,
            meter,
            cores: Machine::here().cores,
            began: None,
            ended: None,
            footprint: Footprint::default(),
        }
    }

    /// The measured time begins.
    pub fn begin(&mut self) {
        self.began = Some(self.read());
    }

    /// The measured time is over; the connections are still open.
    pub fn end(&mut self) {
        self.ended = Some(self.read());
        if let Some(meter) = &self.meter {
            self.footprint = meter.footprint();
        }
    }

    fn read(&mut self) -> Readings {
        Readings {
            machine: MachineReading::now(self.keep_awake),
            server: self.meter.as_mut().map(|meter| meter.read()),
        }
    }

    /// What was spent, with `answered` requests in the measured time; nothing if it did not begin and end.
    pub fn result(&self, answered: u64) -> (Option<ServerCosts>, MachineShares) {
        let (Some(began), Some(ended)) = (&self.began, &self.ended) else {
            return (None, MachineShares::default());
        };
        let mut server_ns = 0;
        let mut costs = None;
        if let (Some(meter), Some(from), Some(to)) = (&self.meter, &began.server, &ended.server) {
            server_ns = to.cpu_since(from).unwrap_or(0);
            costs = Some(meter.costs(from, to, self.footprint, answered));
        }
        (
            costs,
            ended.machine.since(&began.machine, server_ns, self.cores),
        )
    }
}

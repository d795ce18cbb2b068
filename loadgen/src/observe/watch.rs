//! Watches a trial from outside of the load: what the server spent and what else the machine did.

use std::thread;
use std::time::{Duration, Instant};

use procfs::{Current, Meminfo};

use super::clocks::{MachineClocks, MachineReading};
use super::cores::cpus_of;
use super::costs::{Footprint, Meter, Reading};
use super::keep_awake::KeepAwake;
use super::machine::Machine;
use super::observed::{MachineShares, Observed, Spent};

/// The longest wait until a server has made the threads or processes for its clients.
const SETTLING: Duration = Duration::from_secs(5);
/// A server that makes none in this time has made them all.
const SETTLED: Duration = Duration::from_millis(50);

/// Takes readings when the load begins and at both ends of the measured time.
///
/// The machine is read from the start of the warm-up on: to read a thousand processes takes a while, which must
/// not be part of the measured time.
#[derive(Debug)]
pub struct Watch<'a> {
    clocks: MachineClocks<'a>,
    meter: Option<&'a mut Meter>,
    cores: usize,
    /// The server's threads before anybody connected.
    threads: Option<u64>,
    /// When the load began, and when it was over.
    machine: [Option<Machinery>; 2],
    /// When the measured time began, and when it was over.
    server: [Option<Reading>; 2],
    footprint: Footprint,
    /// Memory of the kernel when the load was over, KiB.
    kernel_kib: Option<u64>,
}

/// The machine's clocks, and the server's CPU time as the kernel bills it (ns).
#[derive(Debug)]
struct Machinery {
    clocks: MachineReading,
    billed: Option<u64>,
}

impl<'a> Watch<'a> {
    /// Watches the machine and, where its meter is given, the server.
    pub fn new(keep_awake: &'a KeepAwake, meter: Option<&'a mut Meter>) -> Self {
        let threads = meter.as_ref().and_then(|meter| meter.threads());
        Self {
            clocks: MachineClocks::new(keep_awake),
            meter,
            threads,
            cores: Machine::here().cores,
            machine: [None, None],
            server: [None, None],
            footprint: Footprint::default(),
            kernel_kib: None,
        }
    }

    /// The load is about to begin. Nothing is sent while this looks at the processes.
    pub fn begin_load(&mut self) {
        let billed = self.billed();
        let clocks = self.clocks.now();
        self.machine[0] = Some(Machinery { clocks, billed });
    }

    /// The measured time begins.
    pub fn begin_measuring(&mut self) {
        self.server[0] = self.server();
    }

    /// The measured time is over.
    pub fn end_measuring(&mut self) {
        self.server[1] = self.server();
        let clocks = self.clocks.now();
        let billed = self.billed();
        self.machine[1] = Some(Machinery { clocks, billed });
        self.kernel_kib = kernel_kib();
        if let Some(meter) = &self.meter {
            self.footprint = meter.footprint();
        }
    }

    fn server(&mut self) -> Option<Reading> {
        self.meter.as_mut().map(|meter| meter.read())
    }

    /// Waits until the server has accepted the clients that the kernel has connected: to make ten thousand threads or
    /// processes takes seconds. Gives up when `cancelled` returns true.
    pub fn settle(&self, cancelled: &mut dyn FnMut() -> bool) {
        let Some(meter) = &self.meter else { return };
        let begun = Instant::now();
        let mut threads = meter.threads();
        while threads > self.threads && begun.elapsed() < SETTLING && !cancelled() {
            thread::sleep(SETTLED);
            let now = meter.threads();
            if now <= threads {
                break;
            }
            threads = now;
        }
    }

    /// The server's CPU time; none where its process is unknown, and counts as foreign.
    fn billed(&self) -> Option<u64> {
        self.meter.as_ref().map_or(Some(0), |meter| meter.billed())
    }

    /// What was seen in a trial with this many answers in the measured time; empty if the trial ended before that.
    pub fn result(&self, answered: u64) -> Observed {
        let server = self.spent().map(|spent| spent.per_request(answered));
        Observed {
            server,
            server_cores: server.map_or(0, |server| cpus_of(server.pid).len()),
            machine: self.shares(),
        }
    }

    /// What the server spent in the measured time; `None`: its process is unknown, or that time is not over.
    pub fn spent(&self) -> Option<Spent> {
        let (Some(meter), [Some(from), Some(to)]) = (&self.meter, &self.server) else {
            return None;
        };
        Some(meter.spent(from, to, self.footprint))
    }

    /// What the machine did since the load began; all unknown before the measured time is over.
    pub fn shares(&self) -> MachineShares {
        let [Some(start), Some(end)] = &self.machine else {
            return MachineShares::default();
        };
        let billed = start.billed.zip(end.billed);
        let billed = billed.map(|(then, now)| now.saturating_sub(then));
        MachineShares {
            kernel_kib: self.kernel_kib,
            ..end.clocks.since(&start.clocks, billed, self.cores)
        }
    }
}

/// Memory that the kernel has for its own use, KiB: slabs, stacks of threads, page tables. `None`: it does not
/// say.
fn kernel_kib() -> Option<u64> {
    let memory = Meminfo::current().ok()?;
    Some((memory.slab + memory.kernel_stack? + memory.page_tables?) / 1024)
}

//! The machine under the bench: what it is, what it lacks, and what else ran on it.

use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_getaffinity};
use nix::sys::resource::{Resource, getrlimit};
use nix::time::ClockId;
use nix::unistd::Pid;
use procfs::{Current, CurrentSI};
use serde::{Deserialize, Serialize};

use crate::observe::costs::Meter;
use crate::observe::keep_awake::{KeepAwake, cpu_ns};
use crate::results::trial::MachineShares;

/// Below this share of all cores the machine counts as quiet.
const QUIET: f64 = 0.05;

/// What a figure was measured on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's model name.
    pub cpu: String,
    /// Cores that the kernel has.
    pub cores: usize,
    /// Memory, MiB.
    pub memory_mib: u64,
    /// Kernel release.
    pub kernel: String,
    /// Under a hypervisor.
    pub virtual_machine: bool,
    /// The hostname.
    pub host: String,
}

impl Machine {
    /// Describes this machine; what cannot be read is said to be unknown.
    pub fn here() -> Self {
        let unknown = || "unknown".to_owned();
        let cpu = procfs::CpuInfo::current().ok();
        let field = |name: &str| cpu.as_ref().and_then(|cpu| cpu.get_field(0, name));
        let file = |path: &str| std::fs::read_to_string(path).map(|text| text.trim().to_owned());
        Self {
            cpu: field("model name").map_or_else(unknown, str::to_owned),
            cores: procfs::KernelStats::current().map_or(0, |stats| stats.cpu_time.len()),
            memory_mib: procfs::Meminfo::current().map_or(0, |memory| memory.mem_total >> 20),
            kernel: file("/proc/sys/kernel/osrelease").unwrap_or_else(|_| unknown()),
            virtual_machine: field("flags")
                .is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor")),
            host: file("/proc/sys/kernel/hostname").unwrap_or_else(|_| unknown()),
        }
    }
}

impl Machine {
    /// By what another machine differs, in words; the hostname does not count, as a container has a new one each time.
    pub fn difference(&self, other: &Self) -> Option<String> {
        let fields = |machine: &Self| {
            [
                ("the processor", machine.cpu.clone()),
                ("the number of cores", machine.cores.to_string()),
                ("the kernel", machine.kernel.clone()),
                ("virtual machine", machine.virtual_machine.to_string()),
            ]
        };
        // The same machine has a little more or less of it from kernel to kernel.
        let memory = self.memory_mib.abs_diff(other.memory_mib) > self.memory_mib / 50;
        fields(self)
            .into_iter()
            .zip(fields(other))
            .find(|(mine, theirs)| mine != theirs)
            .map(|((name, mine), (_, theirs))| format!("{name}: {mine} and {theirs}"))
            .or_else(|| {
                memory.then(|| format!("memory: {} and {} MiB", self.memory_mib, other.memory_mib))
            })
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            cpu,
            cores,
            memory_mib,
            kernel,
            virtual_machine,
            ..
        } = self;
        let gib = *memory_mib as f64 / 1024.0;
        write!(f, "{cpu}, {cores} cores, {gib:.0} GiB, Linux {kernel}")?;
        if *virtual_machine {
            write!(f, ", virtual machine")
        } else {
            Ok(())
        }
    }
}

/// The cores that this process may run on.
pub fn allowed_cpus() -> Vec<usize> {
    cpus_of(0)
}

/// The cores that a process may run on; 0 is this one.
pub fn cpus_of(pid: u32) -> Vec<usize> {
    sched_getaffinity(Pid::from_raw(pid as i32)).map_or_else(
        |_| vec![0],
        |set| {
            (0..CpuSet::count())
                .filter(|&cpu| set.is_set(cpu).unwrap_or(false))
                .collect()
        },
    )
}

/// What this machine lacks for a bench with so many clients, each with what that costs.
pub fn shortcomings(clients: usize) -> Vec<String> {
    let mut lacks = Vec::new();
    let cpus = allowed_cpus().len();
    if cpus < 2 {
        lacks.push(
            "one core: the server and the generator share it, so the figures hold both sides' work"
                .to_owned(),
        );
    }
    // A descriptor for each connection on this side, the same on the server's, and some to spare.
    let needed = clients as u64 + 100;
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && hard < needed
    {
        lacks.push(format!(
            "descriptors: the hard limit is {hard} (ulimit -Hn), {needed} are needed: points with more clients have no rows"
        ));
    }
    let number = |path: &str| {
        std::fs::read_to_string(path)
            .ok()?
            .trim()
            .parse::<i64>()
            .ok()
    };
    if let Some(somaxconn) = number("/proc/sys/net/core/somaxconn")
        && somaxconn < 1024
    {
        lacks.push(format!(
            "net.core.somaxconn is {somaxconn}: bursts of new clients overflow the backlog and wait a second for a retry"
        ));
    }
    if number("/proc/sys/kernel/io_uring_disabled").is_some_and(|disabled| disabled != 0) {
        lacks.push(
            "io_uring is disabled (kernel.io_uring_disabled): its servers have no rows".to_owned(),
        );
    }
    if let Ok(meter) = Meter::attach(std::process::id())
        && let Some(note) = meter.note()
    {
        lacks.push(format!("costs are not exact: {note}"));
    }
    lacks
}

/// The machine's clocks at one instant, nanoseconds.
#[derive(Debug, Clone, Copy)]
pub struct MachineReading {
    at: Instant,
    /// Over all cores.
    idle: u64,
    steal: u64,
    /// Of this process.
    own: u64,
    /// Of the spinners in this process.
    spinners: u64,
}

impl MachineReading {
    /// Reads the clocks.
    pub fn now(keep_awake: &KeepAwake) -> Self {
        let total = procfs::KernelStats::current().map(|stats| stats.total).ok();
        let ticks = |count: u64| count * (1_000_000_000 / procfs::ticks_per_second());
        Self {
            at: Instant::now(),
            idle: total
                .as_ref()
                .map_or(0, |cpu| ticks(cpu.idle + cpu.iowait.unwrap_or(0))),
            steal: total
                .as_ref()
                .map_or(0, |cpu| ticks(cpu.steal.unwrap_or(0))),
            own: cpu_ns(ClockId::CLOCK_PROCESS_CPUTIME_ID),
            spinners: keep_awake.cpu_ns(),
        }
    }

    /// CPU time of this process without its spinners since an earlier reading, nanoseconds.
    pub fn generator_since(&self, earlier: &Self) -> u64 {
        (self.own - earlier.own).saturating_sub(self.spinners - earlier.spinners)
    }

    /// Shares of all `cores` since an earlier reading, in which the server was billed
    /// `server_ns` of CPU time.
    ///
    /// The kernel's idle and steal times have steps of 10 ms for each core; everything else is exact.
    pub fn since(&self, earlier: &Self, server_ns: u64, cores: usize) -> MachineShares {
        let total = (self.at - earlier.at).as_nanos() as f64 * cores as f64;
        let share = |ns: u64| ns as f64 / total;
        let steal = share(self.steal.saturating_sub(earlier.steal));
        let idle = share(self.idle.saturating_sub(earlier.idle));
        let spinners = share(self.spinners - earlier.spinners);
        let busy = (1.0 - idle - steal - spinners).clamp(0.0, 1.0);
        let ours = share(self.generator_since(earlier)) + share(server_ns);
        MachineShares {
            cpu_share: busy,
            foreign_share: (busy - ours).max(0.0),
            steal_share: steal,
        }
    }
}

/// Waits until nothing but the spinners runs, for at most `limit`; returns whether it came to that.
pub fn wait_until_quiet(keep_awake: &KeepAwake, cores: usize, limit: Duration) -> bool {
    // The spinners' clocks are exact; without them the idle time's steps of 10 ms must average out.
    let window = Duration::from_millis(if keep_awake.cores() == cores { 20 } else { 100 });
    let deadline = Instant::now() + limit;
    loop {
        let before = MachineReading::now(keep_awake);
        std::thread::sleep(window);
        let shares = MachineReading::now(keep_awake).since(&before, 0, cores);
        if shares.foreign_share < QUIET {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generators_own_time_is_not_foreign() {
        let nobody = KeepAwake::default();
        let before = MachineReading::now(&nobody);
        while before.at.elapsed() < Duration::from_millis(100) {}
        let after = MachineReading::now(&nobody);
        assert!(after.generator_since(&before) > 10_000_000);
        let shares = after.since(&before, 0, 1);
        let all = MachineReading {
            own: before.own,
            ..after
        }
        .since(&before, 0, 1);
        assert!(shares.foreign_share <= all.foreign_share);
        assert!((0.0..=1.0).contains(&shares.cpu_share));
    }

    #[test]
    fn machines_differ_by_what_changes_figures() {
        let here = Machine::here();
        let other = |edit: fn(&mut Machine)| {
            let mut machine = here.clone();
            edit(&mut machine);
            here.difference(&machine)
        };
        assert_eq!(other(|machine| machine.host = "another".to_owned()), None);
        assert_eq!(other(|machine| machine.memory_mib += 1), None);
        let memory = other(|machine| machine.memory_mib *= 2).unwrap();
        assert!(memory.starts_with("memory: "), "{memory}");
        let cores = other(|machine| machine.cores += 1).unwrap();
        assert!(cores.starts_with("the number of cores: "), "{cores}");
    }

    #[test]
    fn this_machine_has_a_name_and_cores() {
        let machine = Machine::here();
        assert!(machine.cores >= allowed_cpus().len().min(1));
        assert!(machine.to_string().contains("Linux"), "{machine}");
    }
}

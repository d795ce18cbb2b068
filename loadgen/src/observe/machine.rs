//! The machine under the bench: what a figure was measured on.

use procfs::{Current, CurrentSI};
use serde::{Deserialize, Serialize};

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
    /// TCP's congestion control. Some pace what they send (`bbr`), on the loopback too: timers cost CPU time where messages
    /// are long.
    #[serde(default = "unknown")]
    pub congestion_control: String,
    /// Under a hypervisor.
    pub virtual_machine: bool,
    /// The hostname.
    pub host: String,
}

fn unknown() -> String {
    "unknown".to_owned()
}

impl Machine {
    /// Describes this machine; what cannot be read is `unknown`.
    pub fn here() -> Self {
        let cpu = procfs::CpuInfo::current().ok();
        let field = |name: &str| cpu.as_ref().and_then(|cpu| cpu.get_field(0, name));
        let file = |path: &str| std::fs::read_to_string(path).map(|text| text.trim().to_owned());
        Self {
            cpu: field("model name").map_or_else(unknown, str::to_owned),
            cores: procfs::KernelStats::current().map_or(0, |stats| stats.cpu_time.len()),
            memory_mib: procfs::Meminfo::current().map_or(0, |memory| memory.mem_total >> 20),
            kernel: file("/proc/sys/kernel/osrelease").unwrap_or_else(|_| unknown()),
            congestion_control: file("/proc/sys/net/ipv4/tcp_congestion_control")
                .unwrap_or_else(|_| unknown()),
            virtual_machine: field("flags")
                .is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor")),
            host: file("/proc/sys/kernel/hostname").unwrap_or_else(|_| unknown()),
        }
    }
}

impl Machine {
    /// The first difference from another machine, in words. The hostname does not count: a container has a new one
    /// each time.
    pub fn difference(&self, other: &Self) -> Option<String> {
        let fields = |machine: &Self| {
            [
                ("the processor", machine.cpu.clone()),
                ("the number of cores", machine.cores.to_string()),
                ("the kernel", machine.kernel.clone()),
                (
                    "TCP's congestion control",
                    machine.congestion_control.clone(),
                ),
                ("virtual machine", machine.virtual_machine.to_string()),
            ]
        };
        // The same machine has a little more or less memory with another kernel.
        let memory = self.memory_mib.abs_diff(other.memory_mib) > self.memory_mib / 50;
        fields(self)
            .into_iter()
            .zip(fields(other))
            // Runs of earlier builds do not know all of it.
            .find(|((_, mine), (_, theirs))| {
                mine != theirs && ![mine, theirs].contains(&&unknown())
            })
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
            congestion_control,
            virtual_machine,
            ..
        } = self;
        let gib = *memory_mib as f64 / 1024.0;
        write!(
            f,
            "{cpu}, {cores} cores, {gib:.0} GiB, Linux {kernel}, TCP {congestion_control}"
        )?;
        if *virtual_machine {
            write!(f, ", virtual machine")
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(
            other(|machine| machine.congestion_control = unknown()),
            None
        );
        let pacing = other(|machine| machine.congestion_control.push('2')).unwrap();
        assert!(pacing.starts_with("TCP's congestion control: "), "{pacing}");
    }

    #[test]
    fn this_machine_has_a_name_and_cores() {
        let machine = Machine::here();
        assert!(machine.cores >= crate::observe::cores::allowed_cpus().len().min(1));
        assert!(machine.to_string().contains("Linux"), "{machine}");
    }
}

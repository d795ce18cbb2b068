//! The figures of a trial that an experiment may look at.

use serde::{Deserialize, Serialize};

use crate::results::trial::Trial;
use crate::workload::percentile::Percentile;

/// A figure of one trial. Times are microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Figure {
    /// Answers a second.
    Rate,
    /// The mean response time.
    Mean,
    /// Its standard deviation.
    Deviation,
    /// The median.
    P50,
    /// The 90th percentile.
    P90,
    /// The 95th percentile.
    P95,
    /// The 99th percentile.
    P99,
    /// The 99th percentile of the time from the send.
    ServiceP99,
    /// CPU time of the server for each request.
    Cpu,
    /// CPU time of the server as a share of one core.
    CpuShare,
    /// Requests that a core of the server would do a second: 1 / CPU time.
    PerCore,
    /// Context switches of the server for each request.
    Switches,
    /// Memory of the server's processes, KiB.
    Memory,
    /// Memory of the kernel, KiB.
    KernelMemory,
}

impl Figure {
    /// The value of a trial; `None`: it was not measured.
    pub fn of(self, trial: &Trial) -> Option<f64> {
        let times = &trial.response_us;
        let cpu = || trial.server.as_ref()?.cpu_us_per_request;
        match self {
            Self::Rate => Some(trial.rate),
            Self::Mean => times.mean,
            Self::Deviation => times.stddev,
            Self::P50 => times.percentile(Percentile::P50),
            Self::P90 => times.percentile(Percentile::P90),
            Self::P95 => times.percentile(Percentile::P95),
            Self::P99 => times.percentile(Percentile::P99),
            Self::ServiceP99 => trial.service_us.percentile(Percentile::P99),
            Self::Cpu => cpu(),
            Self::CpuShare => Some(cpu()? * trial.rate / 1e6),
            Self::PerCore => Some(1e6 / cpu()?),
            Self::Switches => trial.server.as_ref()?.context_switches_per_request,
            Self::Memory => Some(trial.server.as_ref()?.pss_kib? as f64),
            Self::KernelMemory => Some(trial.machine.kernel_kib? as f64),
        }
    }

    /// The heading of its column, with the unit.
    pub fn title(self) -> &'static str {
        match self {
            Self::Rate => "requests/s",
            Self::Mean => "mean us",
            Self::Deviation => "deviation us",
            Self::P50 => "p50 us",
            Self::P90 => "p90 us",
            Self::P95 => "p95 us",
            Self::P99 => "p99 us",
            Self::ServiceP99 => "p99 us from the send",
            Self::Cpu => "CPU us /request",
            Self::CpuShare => "CPU, cores",
            Self::PerCore => "requests/s of a core",
            Self::Switches => "switches /request",
            Self::Memory => "memory KiB",
            Self::KernelMemory => "kernel memory KiB",
        }
    }
}

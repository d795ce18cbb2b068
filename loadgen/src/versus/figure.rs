//! The figures by which two servers are compared.

use serde::Serialize;

use crate::results::trial::Trial;
use crate::workload::percentile::Percentile;

/// A figure of a trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Figure {
    /// Requests a second
    Rate,
    /// The median of the response time
    P50,
    /// Its 99th percentile
    P99,
    /// CPU time of the server for each request
    Cpu,
}

impl Figure {
    /// All of them, in the order of the table. They share the chance of an error.
    pub const ALL: [Self; 4] = [Self::Rate, Self::P50, Self::P99, Self::Cpu];

    /// Its name in sentences.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rate => "requests/s",
            Self::P50 => "p50",
            Self::P99 => "p99",
            Self::Cpu => "CPU per request",
        }
    }

    /// Its name in a table, with its unit: the same as in the tables of a bench.
    pub fn title(self) -> &'static str {
        match self {
            Self::Rate => "requests/s",
            Self::P50 => "p50 us",
            Self::P99 => "p99 us",
            Self::Cpu => "CPU us /request",
        }
    }

    /// That of a trial; `None`: it has none, or it is zero, which has no ratio.
    pub fn of(self, trial: &Trial) -> Option<f64> {
        let value = match self {
            Self::Rate => Some(trial.rate),
            Self::P50 => trial.response_us.percentile(Percentile::P50),
            Self::P99 => trial.response_us.percentile(Percentile::P99),
            Self::Cpu => trial.server.and_then(|server| server.cpu_us_per_request),
        };
        value.filter(|value| *value > 0.0)
    }

    /// How many times worse something with this ratio is; below 1 it is better.
    pub fn times_worse(self, ratio: f64) -> f64 {
        match self {
            Self::Rate => ratio.recip(),
            Self::P50 | Self::P99 | Self::Cpu => ratio,
        }
    }

    /// Whether a generator that is the limit also limits this figure.
    pub fn is_the_generators(self) -> bool {
        self != Self::Cpu
    }
}

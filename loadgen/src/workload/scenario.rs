//! A question to the servers, and the loads that answer it.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::goal::Goal;
use super::load::{Mode, Workload};
use super::percentile::Percentile;
use super::requirement::Requirement;
use super::target::Target;

/// By which figure a scenario's rows are ranked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rank {
    /// Requests a second, the more the better.
    #[default]
    Rate,
    /// The median of the response time.
    P50,
    /// Its 75th percentile.
    P75,
    /// Its 90th percentile.
    P90,
    /// Its 95th percentile.
    P95,
    /// Its 99th percentile.
    P99,
    /// Its 99.9th percentile.
    #[serde(rename = "p99_9")]
    P999,
    /// Its 99.99th percentile.
    #[serde(rename = "p99_99")]
    P9999,
}

impl From<Percentile> for Rank {
    fn from(percentile: Percentile) -> Self {
        match percentile {
            Percentile::P50 => Self::P50,
            Percentile::P75 => Self::P75,
            Percentile::P90 => Self::P90,
            Percentile::P95 => Self::P95,
            Percentile::P99 => Self::P99,
            Percentile::P999 => Self::P999,
            Percentile::P9999 => Self::P9999,
        }
    }
}

impl Rank {
    /// Its name in headings.
    pub fn name(self) -> &'static str {
        self.percentile().map_or("requests/s", Percentile::name)
    }

    /// The percentile; `None` of the rate.
    pub fn percentile(self) -> Option<Percentile> {
        match self {
            Self::Rate => None,
            Self::P50 => Some(Percentile::P50),
            Self::P75 => Some(Percentile::P75),
            Self::P90 => Some(Percentile::P90),
            Self::P95 => Some(Percentile::P95),
            Self::P99 => Some(Percentile::P99),
            Self::P999 => Some(Percentile::P999),
            Self::P9999 => Some(Percentile::P9999),
        }
    }
}

/// One question, resolved to its points.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// Its name, which is also its directory's.
    pub name: String,
    /// What it asks, in a line.
    pub question: String,
    /// The figure that ranks the rows.
    pub rank: Rank,
    /// Flags that every server gets, such as `--work 50us`.
    pub server_flags: Vec<String>,
    /// The server is stopped (SIGSTOP) again and again.
    pub standstill: Option<Standstill>,
    /// Idle cores may sleep, also where the bench keeps them awake.
    pub let_sleep: bool,
    /// The loads, in order.
    pub points: Vec<Point>,
}

/// A server that is stopped (SIGSTOP) and goes on, again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standstill {
    /// For how long it is stopped,
    pub length: Duration,
    /// and how often: once in this time.
    pub every: Duration,
}

/// One load of a scenario.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// Such as `connections-100`; its directory's name.
    pub name: String,
    /// The load. Its target has no address yet; its cores, its threads and its seed are those of a trial.
    pub workload: Workload,
    /// Whether the scenario names the server by a URL, whose host is the one in the load's target.
    pub named: bool,
    /// What each trial must meet.
    pub goals: Vec<Requirement>,
}

impl Point {
    /// Clients that are connected at the same time. All clients of the churn count as one.
    pub fn clients(&self) -> usize {
        let neighbours = &self.workload.neighbours;
        self.workload.connections + neighbours.connections() + usize::from(neighbours.churn > 0.0)
    }

    /// Clients that the server must be able to serve at the same time. Where each request makes its own connection
    /// one is enough: the others wait in the backlog.
    pub fn served_at_once(&self) -> usize {
        match self.workload.mode {
            Mode::Once => self.workload.neighbours.connections() + 1,
            Mode::Echo | Mode::Http | Mode::Raw => self.clients(),
        }
    }

    /// What the rates of a scenario must meet: the first goal that is of a time.
    pub fn goal(&self) -> Option<Goal> {
        self.goals.iter().find_map(|goal| match goal {
            Requirement::Time(goal) => Some(*goal),
            Requirement::Failed { .. } => None,
        })
    }

    /// The workload of one trial, with a generator thread on each of these cores.
    pub fn workload(&self, server: SocketAddr, cpus: Vec<usize>, seed: u64) -> Workload {
        let mut target = Target::from(server);
        if self.named {
            target.host.clone_from(&self.workload.target.host);
        }
        target.scheme = self.workload.target.scheme;
        Workload {
            target,
            threads: cpus.len().max(1),
            cpus,
            seed,
            ..self.workload.clone()
        }
    }
}

//! A question to the servers, and the loads that answer it.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::ensure;
use serde::{Deserialize, Serialize};

use super::client::Client;
use super::course::{Course, HIGHEST_RATE, LONGEST};
use super::goal::Goal;
use super::load::{Load, MOST_IN_FLIGHT, Mode, Neighbours, Shard, Timestamps, Workload};
use super::percentile::Percentile;
use super::raw::RawRequest;
use super::requests::HttpLoad;

/// The most clients of one point: a process cannot have more descriptors (`NR_OPEN`).
const MOST_CLIENTS: usize = i32::MAX as usize;

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
    /// What a rate must meet, where the scenario varies the rate.
    pub goal: Option<Goal>,
    /// Flags that every server gets, such as `--work 50us`.
    pub server_flags: Vec<String>,
    /// The loads, in order.
    pub points: Vec<Point>,
}

/// One load of a scenario: a [`Workload`] without the server, the cores and the seed.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// Such as `connections-100`; its directory's name.
    pub name: String,
    /// The protocol.
    pub mode: Mode,
    /// Closed or open loop.
    pub load: Load,
    /// Measured connections.
    pub connections: usize,
    /// Requests in flight on each.
    pub pipeline: usize,
    /// Bytes of an echo message.
    pub size: usize,
    /// Load before the measured time; not recorded.
    pub warmup: Duration,
    /// The measured time.
    pub duration: Duration,
    /// How long late answers are awaited afterwards.
    pub drain: Duration,
    /// Clients beside the measured ones.
    pub neighbours: Neighbours,
}

impl Point {
    /// Clients that are connected at the same time. All clients of the churn count as one.
    pub fn clients(&self) -> usize {
        let neighbours = &self.neighbours;
        self.connections + neighbours.connections() + usize::from(neighbours.churn > 0.0)
    }

    /// Clients that the server must be able to serve at the same time. Where each request makes its own connection
    /// one is enough: the others wait in the backlog.
    pub fn served_at_once(&self) -> usize {
        match self.mode {
            Mode::Once => self.neighbours.connections() + 1,
            Mode::Echo | Mode::Http | Mode::Raw => self.clients(),
        }
    }

    /// The workload of one trial, with a generator thread on each of these cores.
    pub fn workload(&self, server: SocketAddr, cpus: Vec<usize>, seed: u64) -> Workload {
        Workload {
            target: server.into(),
            mode: self.mode,
            tls: None,
            load: self.load,
            client: Client::default(),
            connections: self.connections,
            pipeline: self.pipeline,
            size: self.size,
            warmup: self.warmup,
            duration: self.duration,
            drain: self.drain,
            threads: cpus.len().max(1),
            cpus,
            source_addresses: 0,
            sources: Vec::new(),
            spin: false,
            timestamps: Timestamps::default(),
            seed,
            neighbours: self.neighbours,
            http: HttpLoad::default(),
            raw: RawRequest::default(),
            course: Course::Steady,
            start_at: None,
            shard: Shard::default(),
        }
    }

    /// Refuses a load that cannot be.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        ensure!(self.connections > 0, "connections must be at least 1");
        ensure!(self.pipeline > 0, "pipeline must be at least 1");
        ensure!(self.size > 0, "size must be at least 1 byte");
        ensure!(
            self.mode != Mode::Once || self.pipeline == 1,
            "pipeline: with mode = \"once\" each request has its own connection"
        );
        ensure!(
            self.mode != Mode::Once || self.neighbours.half_senders == 0,
            "half_senders: with mode = \"once\" any byte is a whole request"
        );
        ensure!(
            !self.duration.is_zero(),
            "duration must be longer than nothing"
        );
        let spans = [self.warmup, self.duration, self.drain];
        ensure!(
            spans.iter().all(|span| *span <= LONGEST),
            "warmup, duration and drain must be a year at most"
        );
        if let Load::Open { rate, .. } = self.load {
            ensure!(
                rate > 0.0 && rate <= HIGHEST_RATE,
                "rate must be above 0 and at most {HIGHEST_RATE:e}"
            );
        }
        ensure!(
            (0.0..=HIGHEST_RATE).contains(&self.neighbours.churn),
            "churn must be 0 or a rate of at most {HIGHEST_RATE:e}"
        );
        let others = &self.neighbours;
        let clients = [
            self.connections,
            others.idle,
            others.slow_readers,
            others.half_senders,
            others.floods,
        ];
        let clients = clients.into_iter().try_fold(0_usize, usize::checked_add);
        ensure!(
            clients.is_some_and(|clients| clients <= MOST_CLIENTS),
            "connections and all of their neighbours together must be at most {MOST_CLIENTS}"
        );
        ensure!(
            self.connections.saturating_mul(self.pipeline) <= MOST_IN_FLIGHT,
            "connections times pipeline: at most {MOST_IN_FLIGHT} requests can be in flight"
        );
        Ok(())
    }
}

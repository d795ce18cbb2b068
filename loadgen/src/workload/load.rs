//! The load of one trial.
//!
//! It comes from the command line or from a point of a scenario.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

pub use super::mode::Mode;
pub use super::shard::Shard;
use serde::{Deserialize, Serialize};

use super::client::Client;
use super::course::Course;
use super::raw::RawRequest;
use super::requests::HttpLoad;
use super::target::{Addresses, Target};
use super::tls::Tls;

/// The default size of an echo message, bytes.
pub const DEFAULT_SIZE: usize = 64;
/// The most requests in flight: each takes memory.
pub const MOST_IN_FLIGHT: usize = 1 << 24;

/// How the open loop spaces its requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Arrivals {
    /// Exponential gaps, from a seeded generator.
    Poisson,
    /// Equal gaps.
    Constant,
}

/// When the next request is due.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Load {
    /// Each connection keeps `pipeline` requests in flight; the next is due when one is answered.
    Closed,
    /// Requests are due by a schedule that does not wait for the server.
    Open {
        /// Requests a second over all threads and connections.
        rate: f64,
        /// The gaps between them.
        arrivals: Arrivals,
    },
}

/// Clients that disturb the server beside the measured ones; never in their histograms.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Neighbours {
    /// Connections that never say anything.
    pub idle: usize,
    /// Connections with much to receive, which accept a byte now and then.
    pub slow_readers: usize,
    /// Connections that send a part of a request and stop (slowloris).
    pub half_senders: usize,
    /// Connections that send without reading.
    pub floods: usize,
    /// Connections opened and closed a second.
    pub churn: f64,
}

impl Neighbours {
    /// Connections that are open at once, for as long as the trial lasts.
    pub fn connections(&self) -> usize {
        self.idle + self.slow_readers + self.half_senders + self.floods
    }
}

/// Which answers carry the kernel's stamp of their arrival. Only TCP has it, and only answers that end with a byte
/// and not with the close of their connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Timestamps {
    /// About one in 32
    #[default]
    Sampled,
    /// All; response and service times end when the answer arrives in the kernel
    Kernel,
    /// None
    User,
}

/// What one trial sends and when. Nothing else decides about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Workload {
    /// The server.
    pub target: Target,
    /// The protocol.
    pub mode: Mode,
    /// How connections are encrypted; `None`: they are not.
    pub tls: Option<Tls>,
    /// Closed or open loop.
    pub load: Load,
    /// How the rate of an open loop changes; `load` has its mean.
    pub course: Course,
    /// How long a client waits, how long it uses a connection, and whether it thinks.
    pub client: Client,
    /// Measured connections, over all threads.
    pub connections: usize,
    /// Requests in flight on each connection, at most.
    pub pipeline: usize,
    /// Bytes of an echo message.
    pub size: usize,
    /// Load before the measuring starts; not recorded.
    pub warmup: Duration,
    /// The measured time.
    pub duration: Duration,
    /// How long requests that are due may still be sent and answered after the measured time.
    pub drain: Duration,
    /// Generator threads.
    pub threads: usize,
    /// The cores of the generator threads, in turn; empty: not pinned.
    pub cpus: Vec<usize>,
    /// Loopback source addresses the connections are spread over (127.0.0.1 upwards); 0: as many as needed.
    pub source_addresses: usize,
    /// Addresses of this side that connections use in turn; empty: the kernel or `source_addresses` decides.
    pub sources: Vec<IpAddr>,
    /// Spin for the last 200 us before a request is due, instead of sleeping.
    pub spin: bool,
    /// Which answers the kernel stamps.
    pub timestamps: Timestamps,
    /// The seed of the schedule and the payloads.
    pub seed: u64,
    /// Clients beside the measured ones.
    pub neighbours: Neighbours,
    /// The requests of the mode `http`.
    pub http: HttpLoad,
    /// The request of the mode `raw`.
    pub raw: RawRequest,
    /// When the warm-up begins, for generators that start together; `None`: at once.
    pub start_at: Option<SystemTime>,
    /// Which part of a load that several generators share. `connections` and `neighbours` are those of this part alone;
    /// the rate, also that of the churn, is of all parts together.
    pub shard: Shard,
}

impl Workload {
    /// Generator threads that have a connection to use.
    pub fn threads_used(&self) -> usize {
        self.threads.min(self.connections).max(1)
    }

    /// Whether each request makes its own connection.
    pub fn connection_per_request(&self) -> bool {
        match self.mode {
            Mode::Echo => false,
            Mode::Once => true,
            Mode::Http => !self.http.keep_alive,
            Mode::Raw => !self.raw.keep_alive,
        }
    }

    /// Whether the kernel's stamps show when an answer is whole.
    pub fn can_be_stamped(&self) -> bool {
        matches!(self.target.addresses, Addresses::Tcp(_)) && self.mode != Mode::Once
    }

    /// The rate of this generator's part of the load, requests a second; `None` in a closed loop.
    pub fn offered_rate(&self) -> Option<f64> {
        match self.load {
            Load::Closed => None,
            Load::Open { rate, .. } => Some(rate / self.shard.of as f64),
        }
    }
}

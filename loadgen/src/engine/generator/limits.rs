//! The limits of the clients, in nanoseconds.

use std::time::Duration;

use crate::engine::clock;
use crate::protocol::draw::mix;
use crate::workload::client::{Client, Think};
use crate::workload::load::Workload;

/// No alarm, and no limit.
pub const NEVER: u64 = u64::MAX;
/// Makes the seed of the think times differ from that of the schedule and the payloads.
const OF_THINKING: u64 = 0x7468_696e_6b74_696d;

/// The values of a [`Client`], nanoseconds.
pub struct Limits {
    /// For an answer, from the moment at which its request was due.
    pub timeout: u64,
    /// For a connection, from the moment at which connecting began.
    pub connect_timeout: u64,
    /// For the life of a connection, from that moment on, too.
    pub age: u64,
    /// Requests of a connection.
    pub requests: u64,
    pub think: Option<Think>,
    /// Of the think times.
    pub seed: u64,
}

impl Limits {
    /// Those of a workload's clients.
    pub fn new(workload: &Workload) -> Self {
        let Client {
            timeout,
            connect_timeout,
            requests_per_connection,
            connection_age,
            think,
        } = workload.client;
        let nanos = |limit: Option<Duration>| limit.map_or(NEVER, clock::nanos);
        Self {
            timeout: nanos(timeout),
            connect_timeout: nanos(connect_timeout),
            requests: requests_per_connection.unwrap_or(NEVER),
            age: nanos(connection_age),
            think,
            seed: mix(workload.seed ^ OF_THINKING),
        }
    }
}

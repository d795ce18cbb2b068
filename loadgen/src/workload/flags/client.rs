//! The flags of how a client behaves.

use std::time::Duration;

use clap::Args;

use super::Usage;
use super::values::{parse_positive_duration, some_requests};
use crate::workload::client::{Client, Think};

#[derive(Debug, Args)]
#[command(next_help_heading = "Clients")]
pub struct ClientArgs {
    /// Give up a request that has no answer this long after it was due; it fails, and its connection is replaced [default: never]
    #[arg(long, value_name = "TIME", value_parser = parse_positive_duration)]
    timeout: Option<Duration>,

    /// Give up a connection that takes longer than this to make, TLS handshake included [default: as the kernel
    /// does]
    #[arg(long, value_name = "TIME", value_parser = parse_positive_duration)]
    connect_timeout: Option<Duration>,

    /// Replace a connection after N requests [default: never]
    #[arg(long, value_name = "N", value_parser = some_requests)]
    requests_per_connection: Option<u64>,

    /// Replace a connection of this age as soon as nothing is in flight on it [default: never]
    #[arg(long, value_name = "TIME", value_parser = parse_positive_duration)]
    connection_age: Option<Duration>,

    /// Wait between an answer and the next request (closed loop), such as 5ms; exp:5ms: exponentially distributed,
    /// with this mean
    #[arg(long, value_name = "TIME")]
    think: Option<Think>,
}

impl ClientArgs {
    /// What these flags ask for, if it fits to the load.
    pub fn client(
        &self,
        is_open: bool,
        pipeline: usize,
        connection_per_request: bool,
    ) -> Result<Client, Usage> {
        let client = Client {
            timeout: self.timeout,
            connect_timeout: self.connect_timeout,
            requests_per_connection: self.requests_per_connection,
            connection_age: self.connection_age,
            think: self.think,
        };
        client
            .check(is_open, pipeline, connection_per_request)
            .map_err(|(name, reason)| Usage(format!("--{}: {reason}", name.replace('_', "-"))))?;
        Ok(client)
    }
}

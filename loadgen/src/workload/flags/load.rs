//! The flags of a load, without its rate.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use clap::Args;

use super::client::ClientArgs;
use super::raw::RawArgs;
use super::request::RequestArgs;
use super::tls::TlsArgs;
use super::values::{
    at_least_one, connections, parse_churn, parse_duration, parse_positive_duration, parse_size,
    parse_sources, some_connections,
};
use super::{Files, Usage};
use crate::workload::address::Address;
use crate::workload::course::Course;
use crate::workload::load::{
    DEFAULT_SIZE, Load, MOST_IN_FLIGHT, Mode, Neighbours, Shard, Timestamps, Workload,
};
use crate::workload::target::{Addresses, Scheme, Target};

/// The load that a server gets, without its rate.
#[derive(Debug, Args)]
pub struct LoadArgs {
    /// Connections
    #[arg(short, long, value_name = "N", default_value_t = 100, value_parser = some_connections)]
    connections: usize,

    /// Requests in flight on each connection, at most
    #[arg(short, long, value_name = "D", default_value_t = 1, value_parser = at_least_one)]
    pipeline: usize,

    /// The measured time
    #[arg(short, long, short_alias = 'z', value_name = "TIME", default_value = "5s", value_parser = parse_positive_duration)]
    pub duration: Duration,

    /// Load before the measured time, not recorded
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_duration)]
    warmup: Duration,

    /// How long to wait for answers after the measured time
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_duration)]
    drain: Duration,

    /// The protocol [default: echo; http for a URL]
    #[arg(short, long)]
    mode: Option<Mode>,

    /// Bytes of an echo message, such as 64 or 100kB [default: 64]
    #[arg(short, long, value_name = "BYTES", value_parser = parse_size)]
    size: Option<usize>,

    /// Which answers carry the kernel's stamp of their arrival
    #[arg(long, value_name = "WHICH", default_value = "sampled")]
    timestamps: Timestamps,

    /// Source addresses of 127.0.0.0/8 to spread the connections over [default: as many as needed]
    #[arg(long, value_name = "N", value_parser = parse_sources)]
    source_addresses: Option<usize>,

    /// Addresses of this machine to connect from, in turn
    #[arg(
        long = "source",
        value_name = "IP,..",
        value_delimiter = ',',
        conflicts_with = "source_addresses"
    )]
    sources: Vec<IpAddr>,

    #[command(flatten)]
    requests: RequestArgs,

    #[command(flatten)]
    client: ClientArgs,

    #[command(flatten)]
    tls: TlsArgs,

    #[command(flatten)]
    raw: RawArgs,

    #[command(flatten)]
    neighbours: NeighbourArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Neighbours: clients beside the measured ones")]
pub struct NeighbourArgs {
    /// Connections that never send anything
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = connections)]
    idle: usize,

    /// Connections with much to receive, which read it byte by byte
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = connections)]
    slow_readers: usize,

    /// Connections that send a part of a request and stop
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = connections)]
    half_senders: usize,

    /// Connections that send without reading
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = connections)]
    floods: usize,

    /// Connections made and closed a second
    #[arg(long, value_name = "R", default_value_t = 0.0, value_parser = parse_churn)]
    churn: f64,
}

impl LoadArgs {
    /// The workload that these flags ask for, with this server and rate, for one of several generators. It has one
    /// thread, and the first seed.
    ///
    /// # Errors
    /// When flags do not fit together, or a file that they name cannot be read.
    pub fn workload(
        &self,
        server: &Address,
        load: Load,
        shard: Shard,
        files: &Files<'_>,
    ) -> Result<Workload, Usage> {
        let connections = shard.share(self.connections);
        if connections == 0 {
            return Err(Usage(format!(
                "{} connections are too few for {} generators: each needs one at least",
                self.connections, shard.of
            )));
        }
        let mode = self.mode(server)?;
        let target = &server.target;
        let loopback = matches!(&target.addresses, Addresses::Tcp(all)
            if all.iter().any(|address| address.is_ipv4() && address.ip().is_loopback()));
        if connections.saturating_mul(self.pipeline) > MOST_IN_FLIGHT {
            return Err(Usage(format!(
                "--connections times --pipeline: at most {MOST_IN_FLIGHT} requests can be in flight"
            )));
        }
        if self.source_addresses.is_some() && !loopback {
            return Err(Usage(
                "--source-addresses needs a server on 127.0.0.0/8".into(),
            ));
        }
        self.requests.check(mode)?;
        if mode != Mode::Echo && self.size.is_some() {
            return Err(Usage(
                "--size needs --mode echo (a time to wait for an answer is --timeout)".into(),
            ));
        }
        if mode == Mode::Once && self.pipeline > 1 {
            return Err(Usage(
                "--pipeline: with --mode once each request has its own connection".into(),
            ));
        }
        if mode == Mode::Once && self.neighbours.half_senders > 0 {
            return Err(Usage(
                "--half-senders: with --mode once any byte is a whole request".into(),
            ));
        }
        if self.requests.connection_per_request() && self.pipeline > 1 {
            return Err(Usage(
                "--pipeline and --no-keep-alive exclude each other".into(),
            ));
        }
        let per_request = mode == Mode::Once || self.requests.connection_per_request();
        let client = self
            .client
            .client(load != Load::Closed, self.pipeline, per_request)?;
        let raw = self.raw.request(
            mode,
            !self.requests.connection_per_request(),
            self.requests.expect_bytes(),
            files,
        )?;
        let talkers = &self.neighbours;
        let talking = talkers.slow_readers + talkers.half_senders + talkers.floods;
        if mode == Mode::Raw && raw.send.is_empty() && talking > 0 {
            return Err(Usage(
                "--slow-readers, --half-senders and --floods need a request that is not empty"
                    .into(),
            ));
        }
        let workload = Workload {
            target: self.reachable(target)?,
            mode,
            tls: self.tls.tls(target, files)?,
            load,
            client,
            connections,
            pipeline: self.pipeline,
            size: self.size.unwrap_or(DEFAULT_SIZE),
            warmup: self.warmup,
            duration: self.duration,
            drain: self.drain,
            threads: 1,
            cpus: Vec::new(),
            source_addresses: self.source_addresses.unwrap_or_default(),
            sources: self.sources.clone(),
            spin: false,
            timestamps: self.timestamps,
            seed: 1,
            neighbours: Neighbours {
                idle: shard.share(self.neighbours.idle),
                slow_readers: shard.share(self.neighbours.slow_readers),
                half_senders: shard.share(self.neighbours.half_senders),
                floods: shard.share(self.neighbours.floods),
                churn: self.neighbours.churn,
            },
            http: self.requests.http(server, files)?,
            raw,
            course: Course::Steady,
            start_at: None,
            shard,
        };
        if self.timestamps == Timestamps::Kernel && !workload.can_be_stamped() {
            return Err(Usage(
                "--timestamps kernel needs TCP, and a mode in which no close ends the answer (not --mode once)".into(),
            ));
        }
        Ok(workload)
    }

    /// The server, without IPv4 addresses if all sources are IPv6, and the other way round.
    fn reachable(&self, target: &Target) -> Result<Target, Usage> {
        let mut target = target.clone();
        if self.sources.is_empty() {
            return Ok(target);
        }
        let Addresses::Tcp(all) = &mut target.addresses else {
            return Err(Usage(
                "--source: a Unix-domain socket has no source addresses".into(),
            ));
        };
        let listed = all
            .iter()
            .map(SocketAddr::to_string)
            .collect::<Vec<_>>()
            .join(", ");
        for source in &self.sources {
            if !all
                .iter()
                .any(|server| server.is_ipv4() == source.is_ipv4())
            {
                return Err(Usage(format!(
                    "--source {source}: no connection leads from it to {listed}: one is IPv4, the other is IPv6"
                )));
            }
            if let Err(error) = UdpSocket::bind((*source, 0)) {
                return Err(Usage(format!("--source {source}: {error}")));
            }
        }
        all.retain(|server| {
            self.sources
                .iter()
                .any(|source| source.is_ipv4() == server.is_ipv4())
        });
        Ok(target)
    }

    /// What is spoken.
    fn mode(&self, server: &Address) -> Result<Mode, Usage> {
        match (server.target.scheme, self.mode) {
            (Scheme::Plain, mode) => Ok(mode.unwrap_or(Mode::Echo)),
            (Scheme::Http | Scheme::Https, None | Some(Mode::Http)) => Ok(Mode::Http),
            (Scheme::Http | Scheme::Https, Some(_)) => Err(Usage(
                "a URL means --mode http: for another mode give host:port".into(),
            )),
        }
    }
}

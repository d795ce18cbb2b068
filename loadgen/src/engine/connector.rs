//! Opens connections without waiting for them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use nix::errno::Errno;
use nix::sys::socket::{TimestampingFlag, setsockopt, sockopt};
use socket2::{Domain, SockAddr, Socket, Type};

use super::transport::Security;
use crate::workload::load::{Timestamps, Workload};
use crate::workload::target::Addresses;

/// The most connections from one source address to one server. The kernel's default range has 28,232 ports. But it
/// tries the odd ones first, one by one: when more than half of these are taken, a connect costs milliseconds.
const PORTS_PER_SOURCE: usize = 8_000;

/// Where connections go to, and from where.
#[derive(Debug)]
pub struct Connector {
    /// The server's addresses, which connections use in turn.
    routes: Vec<Route>,
    /// This socket asks for stamps as long as the trial lasts. The kernel rewrites its own code when the first
    /// socket asks for stamps and when the last one ends, which must not happen with each connection that comes
    /// and goes.
    stamps: Option<Socket>,
    /// How TLS connections are made; `None`: they are in clear text.
    security: Option<Security>,
    /// Every connection returns the stamps of what it reads.
    hand_out: bool,
}

/// One address of the server.
#[derive(Debug)]
struct Route {
    address: SockAddr,
    source: Source,
}

/// The source addresses, in turn.
#[derive(Debug)]
enum Source {
    /// The kernel chooses.
    Any,
    /// This many of 127.0.0.0/8, from 127.0.0.1 on.
    Loopback(usize),
    /// At least one.
    Given(Vec<IpAddr>),
}

impl Source {
    fn of(workload: &Workload, server: SocketAddr, servers: usize) -> Self {
        let given = workload.sources.iter().copied();
        let given: Vec<IpAddr> = given
            .filter(|ip| ip.is_ipv4() == server.is_ipv4())
            .collect();
        let total = workload.connections + workload.neighbours.connections();
        let needed = total.div_ceil(servers).div_ceil(PORTS_PER_SOURCE);
        match workload.source_addresses {
            _ if !given.is_empty() => Self::Given(given),
            _ if !(server.is_ipv4() && server.ip().is_loopback()) => Self::Any,
            0 if needed <= 1 => Self::Any,
            0 => Self::Loopback(needed),
            count => Self::Loopback(count),
        }
    }

    /// The address of the n-th connection.
    fn nth(&self, n: usize) -> Option<IpAddr> {
        match self {
            Self::Any => None,
            Self::Loopback(count) => {
                let first = u32::from(Ipv4Addr::LOCALHOST);
                Some(Ipv4Addr::from(first + (n % count) as u32).into())
            }
            Self::Given(all) => Some(all[n % all.len()]),
        }
    }
}

impl Connector {
    /// Prepares all connections of a workload.
    ///
    /// # Errors
    /// When a path is too long for a Unix-domain socket, the kernel has no stamps, or no authority is trusted.
    pub fn new(workload: &Workload) -> anyhow::Result<Self> {
        let routes: Vec<Route> = match &workload.target.addresses {
            Addresses::Tcp(all) => all
                .iter()
                .map(|address| Route {
                    address: SockAddr::from(*address),
                    source: Source::of(workload, *address, all.len()),
                })
                .collect(),
            Addresses::Unix(path) => vec![Route {
                address: SockAddr::unix(path)?,
                source: Source::Any,
            }],
        };
        let stamps = match workload.timestamps {
            Timestamps::Sampled | Timestamps::Kernel if workload.can_be_stamped() => {
                let keeper = Socket::new(routes[0].address.domain(), Type::STREAM, None)?;
                let make = TimestampingFlag::SOF_TIMESTAMPING_RX_SOFTWARE;
                match setsockopt(&keeper, sockopt::Timestamping, &make) {
                    Ok(()) => Some(keeper),
                    Err(_) if workload.timestamps == Timestamps::Sampled => None,
                    Err(error) => return Err(error.into()),
                }
            }
            _ => None,
        };
        Ok(Self {
            routes,
            security: Security::new(workload)?,
            hand_out: stamps.is_some() && workload.timestamps == Timestamps::Kernel,
            stamps,
        })
    }

    /// Whether the kernel stamps what arrives.
    pub fn stamps(&self) -> bool {
        self.stamps.is_some()
    }

    /// How a connection becomes a TLS connection, if it shall.
    pub fn security(&self) -> Option<&Security> {
        self.security.as_ref()
    }

    /// Begins to connect. When that has succeeded or failed, the socket is writable and `take_error` says which.
    pub fn connect(&self, number: usize) -> io::Result<Socket> {
        let route = &self.routes[number % self.routes.len()];
        let domain = route.address.domain();
        let socket = Socket::new(domain, Type::STREAM.nonblocking(), None)?;
        if domain != Domain::UNIX {
            // Send small requests at once, without waiting for an acknowledgement.
            socket.set_tcp_nodelay(true)?;
        }
        if self.hand_out {
            let hand_out = TimestampingFlag::SOF_TIMESTAMPING_SOFTWARE;
            setsockopt(&socket, sockopt::Timestamping, &hand_out)?;
        }
        if let Some(source) = route.source.nth(number / self.routes.len()) {
            // Without this option bind() takes a port away from all other source addresses.
            setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
            socket.bind(&SocketAddr::new(source, 0).into())?;
        }
        match socket.connect(&route.address) {
            Err(error)
                if Errno::from_raw(error.raw_os_error().unwrap_or(0)) == Errno::EINPROGRESS =>
            {
                Ok(socket)
            }
            result => result.map(|()| socket),
        }
    }
}

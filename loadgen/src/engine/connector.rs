//! Opens connections without waiting for them.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use nix::errno::Errno;
use nix::sys::socket::{TimestampingFlag, setsockopt, sockopt};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::workload::load::{Timestamps, Workload};
use crate::workload::target::Addresses;

/// The most connections from one source address to one server. The kernel's default range has 28,232 ports. But it
/// tries the odd ones first, one by one: when more than half of these are taken, a connect costs milliseconds.
const PORTS_PER_SOURCE: usize = 8_000;

/// Where connections go to, and from where.
#[derive(Debug)]
pub struct Connector {
    address: SockAddr,
    /// Loopback source addresses in turn; 0: the kernel chooses.
    sources: usize,
    /// As long as one socket asks for stamps, the kernel stamps all that arrives. When the first one begins and the last
    /// one ends, the kernel rewrites its own code: connections that come and go must be neither.
    stamps: Option<Socket>,
    /// Every connection hands out its stamps.
    hand_out: bool,
}

impl Connector {
    /// For all connections of a workload.
    pub fn new(workload: &Workload) -> io::Result<Self> {
        let tcp = match &workload.target.addresses {
            // A name such as localhost has both kinds of address. More servers listen on IPv4.
            Addresses::Tcp(all) => all.iter().find(|a| a.is_ipv4()).or(all.first()),
            Addresses::Unix(_) => None,
        };
        let address = match (&workload.target.addresses, tcp) {
            (_, Some(address)) => SockAddr::from(*address),
            (Addresses::Unix(path), None) => SockAddr::unix(path)?,
            (Addresses::Tcp(_), None) => unreachable!("a server has an address"),
        };
        let total = workload.connections + workload.neighbours.connections();
        let sources = match tcp {
            Some(SocketAddr::V4(address)) if address.ip().is_loopback() => {
                match workload.source_addresses {
                    0 if total <= PORTS_PER_SOURCE => 0,
                    0 => total.div_ceil(PORTS_PER_SOURCE),
                    sources => sources,
                }
            }
            _ => 0,
        };
        let stamps = match workload.timestamps {
            Timestamps::Sampled | Timestamps::Kernel if workload.can_be_stamped() => {
                let keeper = Socket::new(address.domain(), Type::STREAM, None)?;
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
            address,
            sources,
            hand_out: stamps.is_some() && workload.timestamps == Timestamps::Kernel,
            stamps,
        })
    }

    /// Whether the kernel stamps what arrives.
    pub fn stamps(&self) -> bool {
        self.stamps.is_some()
    }

    /// Begins to connect. When that has succeeded or failed, the socket is writable and `take_error` tells which.
    pub fn connect(&self, number: usize) -> io::Result<Socket> {
        let socket = Socket::new(self.address.domain(), Type::STREAM.nonblocking(), None)?;
        if self.address.domain() != Domain::UNIX {
            // Send small requests at once, without waiting for an acknowledgement.
            socket.set_tcp_nodelay(true)?;
        }
        if self.hand_out {
            let hand_out = TimestampingFlag::SOF_TIMESTAMPING_SOFTWARE;
            setsockopt(&socket, sockopt::Timestamping, &hand_out)?;
        }
        if self.sources > 0 {
            // Without this option bind() takes a port away from all other source addresses.
            setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
            socket.bind(&SockAddr::from(source(number % self.sources)))?;
        }
        match socket.connect(&self.address) {
            Err(error)
                if Errno::from_raw(error.raw_os_error().unwrap_or(0)) == Errno::EINPROGRESS =>
            {
                Ok(socket)
            }
            result => result.map(|()| socket),
        }
    }
}

/// The n-th address of 127.0.0.0/8, from 127.0.0.1 on.
fn source(n: usize) -> SocketAddrV4 {
    let first = u32::from(Ipv4Addr::LOCALHOST);
    SocketAddrV4::new(Ipv4Addr::from(first + n as u32), 0)
}

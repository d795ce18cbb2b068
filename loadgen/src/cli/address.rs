//! A server as the user names it.

use std::net::{SocketAddr, ToSocketAddrs};

use socket2::SockAddr;

use crate::workload::load::Target;

/// A server as the user names it.
#[derive(Debug, Clone)]
pub struct Address {
    /// Where it listens.
    pub target: Target,
    /// The text if it is a name; HTTP servers with several hosts need it.
    pub host: Option<String>,
}

pub fn parse_address(text: &str) -> Result<Address, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        if path.is_empty() {
            return Err("unix: needs the path of a socket".to_owned());
        }
        SockAddr::unix(path).map_err(|error| error.to_string())?;
        return Ok(Address {
            target: Target::Unix(path.into()),
            host: None,
        });
    }
    let addresses: Vec<SocketAddr> = text
        .to_socket_addrs()
        .map_err(|error| format!("{error}; give host:port, [v6]:port or unix:PATH"))?
        .collect();
    // A name such as localhost has both kinds of address. More servers listen on IPv4.
    addresses
        .iter()
        .find(|address| address.is_ipv4())
        .or(addresses.first())
        .map(|address| Address {
            target: Target::Tcp(*address),
            host: text.parse::<SocketAddr>().is_err().then(|| text.to_owned()),
        })
        .ok_or_else(|| "this name has no address".to_owned())
}

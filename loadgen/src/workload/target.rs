//! A server's addresses, and the name that the user gave it.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

/// A server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// How the user named it.
    pub scheme: Scheme,
    /// Its name or its IP address, without port, brackets and zone; empty for a Unix-domain socket.
    pub host: String,
    /// Where it listens.
    pub addresses: Addresses,
}

/// How the user named a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// `host:port` or `unix:PATH`: the flags say what is spoken.
    Plain,
    /// `http://`
    Http,
    /// `https://`
    Https,
}

impl Scheme {
    /// The port of a URL that names none.
    pub fn default_port(self) -> Option<u16> {
        match self {
            Self::Plain => None,
            Self::Http => Some(80),
            Self::Https => Some(443),
        }
    }
}

/// The addresses of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Addresses {
    /// At least one; all have the same port.
    Tcp(Vec<SocketAddr>),
    /// The path of a Unix-domain stream socket.
    Unix(PathBuf),
}

impl From<SocketAddr> for Target {
    fn from(address: SocketAddr) -> Self {
        Self {
            scheme: Scheme::Plain,
            host: address.ip().to_string(),
            addresses: Addresses::Tcp(vec![address]),
        }
    }
}

impl Target {
    /// The TCP port.
    pub fn port(&self) -> Option<u16> {
        match &self.addresses {
            Addresses::Tcp(addresses) => addresses.first().map(SocketAddr::port),
            Addresses::Unix(_) => None,
        }
    }

    /// The value of an HTTP Host field: the host, and the port unless it is the URL's default.
    pub fn authority(&self) -> String {
        let Some(port) = self.port() else {
            return "localhost".to_owned();
        };
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        if self.scheme.default_port() == Some(port) {
            host
        } else {
            format!("{host}:{port}")
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match (self.scheme, &self.addresses) {
            (_, Addresses::Unix(path)) => return write!(f, "unix:{}", path.display()),
            (Scheme::Plain, _) => "",
            (Scheme::Http, _) => "http://",
            (Scheme::Https, _) => "https://",
        };
        write!(f, "{scheme}{}", self.authority())
    }
}

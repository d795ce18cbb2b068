//! How the connections of a load are encrypted.

use rustls::pki_types::{CertificateDer, ServerName};

/// TLS 1.2 or 1.3, whichever the server prefers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The name that the server's certificate must bear. It is sent to the server too (SNI) if it is no IP address.
    pub server_name: ServerName<'static>,
    /// Whose certificates are accepted.
    pub trust: Trust,
    /// New connections go on with sessions of earlier ones. Otherwise each handshake is a full one.
    pub resumption: bool,
}

/// Whose certificates are accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// Those of the authorities that the system trusts.
    System,
    /// Those of these authorities, and these certificates themselves.
    Authorities(Vec<CertificateDer<'static>>),
    /// Any.
    Anyone,
}

//! Why a connection cannot go on: what is counted, and what the user is told.

use std::fmt;
use std::io;
use std::time::{Duration, UNIX_EPOCH};

use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, Error, HandshakeType};

use super::trust::WAY_OUT;
use crate::protocol::error::{CertificateFault, ErrorKind};

/// Names that are shown of a certificate.
const SHOWN_NAMES: usize = 3;

/// Why a connection cannot go on.
#[derive(Debug)]
pub enum Fault {
    /// The socket's error.
    Socket(io::Error),
    /// It was not there after the time that `--connect-timeout` allows.
    TooSlow(Duration),
    /// The peer closed its side in the middle of the handshake.
    HandshakeClosed,
    /// The peer closed its side without a word, so nobody knows whether it had sent all.
    Truncated,
    /// What the peer sent in the handshake is not TLS.
    NotTls,
    /// What rustls complains of.
    Tls(Error),
}

impl Fault {
    /// An error of a connection that is or is not in its handshake.
    pub fn of(error: Error, handshaking: bool) -> Self {
        match error {
            Error::InvalidMessage(_) if handshaking => Self::NotTls,
            // An echo server sends the client's own greeting back.
            Error::InappropriateHandshakeMessage {
                got_type: HandshakeType::ClientHello,
                ..
            } => Self::NotTls,
            error => Self::Tls(error),
        }
    }

    /// The socket has nothing to read at the moment.
    pub fn would_block(&self) -> bool {
        matches!(self, Self::Socket(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// What is counted.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Socket(error) => ErrorKind::of(error),
            Self::TooSlow(_) => ErrorKind::ConnectTimeout,
            Self::HandshakeClosed => ErrorKind::HandshakeClosed,
            Self::Truncated => ErrorKind::Truncated,
            Self::NotTls => ErrorKind::NotTls,
            Self::Tls(Error::AlertReceived(alert)) => ErrorKind::Alert(u8::from(*alert)),
            Self::Tls(Error::InvalidCertificate(error)) => {
                ErrorKind::Certificate(certificate_fault(error))
            }
            Self::Tls(_) => ErrorKind::Tls,
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Socket(error)
    }
}

impl std::error::Error for Fault {}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(error) => error.fmt(f),
            Self::TooSlow(limit) => write!(f, "no connection within {limit:?} (--connect-timeout)"),
            Self::HandshakeClosed => f.write_str(
                "it closed the connection in the TLS handshake; if it does not speak TLS, leave out --tls",
            ),
            Self::Truncated => f.write_str("it closed the connection without a TLS close_notify"),
            Self::NotTls => f.write_str("it does not speak TLS: leave out --tls, or use http:// in place of https://"),
            Self::Tls(Error::InvalidCertificate(error)) => certificate(error, f),
            Self::Tls(
                Error::NoApplicationProtocol
                | Error::AlertReceived(AlertDescription::NoApplicationProtocol),
            ) => f.write_str("it does not offer http/1.1 over TLS (ALPN)"),
            Self::Tls(Error::AlertReceived(alert)) => write!(
                f,
                "it refused the TLS handshake with the alert {}",
                ErrorKind::Alert(u8::from(*alert))
            ),
            Self::Tls(Error::PeerIncompatible(why)) => {
                write!(f, "it and loadgen have no version or cipher of TLS in common: {why:?}")
            }
            Self::Tls(error) => write!(f, "the TLS handshake failed: {error}"),
        }
    }
}

fn certificate_fault(error: &CertificateError) -> CertificateFault {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            CertificateFault::Expired
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            CertificateFault::NotYetValid
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            CertificateFault::WrongName
        }
        _ => CertificateFault::NotTrusted,
    }
}

/// Says what is wrong with a certificate, and what to do.
fn certificate(error: &CertificateError, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match error {
        CertificateError::ExpiredContext { not_after, .. } => write!(
            f,
            "its certificate expired at {}: renew it, or accept any certificate with --insecure",
            date(*not_after)
        ),
        CertificateError::NotValidYetContext { not_before, .. } => write!(
            f,
            "its certificate is valid from {} on: check the clock of this machine, or accept any certificate with --insecure",
            date(*not_before)
        ),
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => {
            let names: Vec<&str> = presented
                .iter()
                .take(SHOWN_NAMES)
                .map(|name| bare(name))
                .collect();
            let names = match names.as_slice() {
                [] => "no name".to_owned(),
                names if presented.len() > SHOWN_NAMES => names.join(", ") + " and others",
                names => names.join(", "),
            };
            write!(
                f,
                "its certificate is for {names}, not for {}: give that name with --server-name NAME, or accept any \
                 certificate with --insecure",
                expected.to_str()
            )
        }
        // Another authority may have the name of a known one. A self-signed certificate is no server's certificate
        // to webpki.
        CertificateError::UnknownIssuer
        | CertificateError::BadSignature
        | CertificateError::Other(_) => write!(
            f,
            "its certificate is not trusted, as it is self-signed or of an unknown authority: {WAY_OUT}"
        ),
        error => write!(f, "its certificate is not accepted ({error}): {WAY_OUT}"),
    }
}

/// The name in `DnsName("example.org")`.
fn bare(name: &str) -> &str {
    let inner = name.split_once('(').map_or(name, |(_, inner)| inner);
    inner.trim_end_matches(')').trim_matches('"')
}

fn date(time: UnixTime) -> humantime::Rfc3339Timestamp {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(time.as_secs()))
}

//! What goes wrong on a connection.

use std::fmt;

use nix::errno::Errno;
use rustls::AlertDescription;

/// Why a request failed or a connection broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ErrorKind {
    /// The connection was refused.
    Refused,
    /// The backlog of a Unix socket has no room; TCP tries again by itself.
    BacklogFull,
    /// The server reset the connection.
    Reset,
    /// The server closed it before the answer was whole.
    ClosedEarly,
    /// The server closed the connection in the TLS handshake.
    HandshakeClosed,
    /// The server closed a TLS connection without `close_notify`: it may have sent more.
    Truncated,
    /// What came in the TLS handshake is not TLS.
    NotTls,
    /// The server answered a request in clear text with an alert of TLS, or said that it wants TLS.
    SpeaksTls,
    /// The server sent this alert of TLS.
    Alert(u8),
    /// The server's certificate is not accepted.
    Certificate(CertificateFault),
    /// Another error of TLS.
    Tls,
    /// The request had no answer after the time that `--timeout` allows.
    RequestTimeout,
    /// The connection was not there after the time that `--connect-timeout` allows.
    ConnectTimeout,
    /// The kernel gave up on the peer.
    TimedOut,
    /// The generator had no port or descriptor left for a connection.
    NoResources,
    /// Bytes differ from those expected.
    Mismatch,
    /// Bytes came that no request had asked for.
    Unasked,
    /// Not HTTP.
    Malformed,
    /// The head of an HTTP answer is longer than 256 KiB.
    HeadTooLong,
    /// The head of an HTTP answer has more than 500 fields.
    TooManyFields,
    /// HTTP where another protocol was expected.
    SpeaksHttp,
    /// The request itself came back where an HTTP answer was expected.
    Echoes,
    /// 101 Switching Protocols: what follows is no HTTP.
    SwitchedProtocols,
    /// An HTTP status outside of 200 to 399.
    Status(u16),
    /// Another error of the operating system, by its number.
    Os(i32),
}

/// Why a certificate is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CertificateFault {
    /// It has expired.
    Expired,
    /// It is not valid yet.
    NotYetValid,
    /// It is for other names.
    WrongName,
    /// No trusted authority has signed it, or it is malformed.
    NotTrusted,
}

impl ErrorKind {
    /// Sorts an error of a socket.
    pub fn of(error: &std::io::Error) -> Self {
        match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ECONNREFUSED | Errno::ENOENT) => Self::Refused,
            Some(Errno::EAGAIN) => Self::BacklogFull,
            Some(Errno::ECONNRESET | Errno::EPIPE | Errno::ECONNABORTED) => Self::Reset,
            Some(Errno::ETIMEDOUT) => Self::TimedOut,
            Some(
                Errno::EMFILE
                | Errno::ENFILE
                | Errno::ENOBUFS
                | Errno::ENOMEM
                | Errno::EADDRNOTAVAIL,
            ) => Self::NoResources,
            other => Self::Os(other.map_or(0, |errno| errno as i32)),
        }
    }

    /// Whether the server gave an answer, and a wrong one.
    pub fn is_wrong_answer(self) -> bool {
        match self {
            Self::Mismatch
            | Self::Malformed
            | Self::HeadTooLong
            | Self::TooManyFields
            | Self::SwitchedProtocols
            | Self::SpeaksHttp
            | Self::Echoes
            | Self::Status(_) => true,
            Self::Refused
            | Self::BacklogFull
            | Self::Reset
            | Self::ClosedEarly
            | Self::HandshakeClosed
            | Self::Truncated
            | Self::NotTls
            | Self::SpeaksTls
            | Self::Alert(_)
            | Self::Certificate(_)
            | Self::Tls
            | Self::RequestTimeout
            | Self::ConnectTimeout
            | Self::TimedOut
            | Self::NoResources
            | Self::Unasked
            | Self::Os(_) => false,
        }
    }
}

impl ErrorKind {
    /// What a user has to change if the first answer shows that the server speaks another protocol.
    pub fn advice(self) -> Option<&'static str> {
        match self {
            Self::SpeaksHttp => Some("this server speaks HTTP: add --mode http"),
            Self::SpeaksTls => Some("this server speaks TLS: add --tls, or use https://"),
            Self::Echoes => Some("this server sends back what it gets: use --mode echo"),
            _ => None,
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("refused"),
            Self::BacklogFull => f.write_str("backlog-full"),
            Self::Reset => f.write_str("reset"),
            Self::ClosedEarly => f.write_str("closed-early"),
            Self::HandshakeClosed => f.write_str("tls-handshake-closed"),
            Self::Truncated => f.write_str("tls-truncated"),
            Self::NotTls => f.write_str("not-tls"),
            Self::SpeaksTls => f.write_str("speaks-tls"),
            Self::Alert(number) => match AlertDescription::from(*number).as_str() {
                Some(name) => write!(f, "tls-alert{}", kebab(name)),
                None => write!(f, "tls-alert-{number}"),
            },
            Self::Certificate(fault) => f.write_str(match fault {
                CertificateFault::Expired => "certificate-expired",
                CertificateFault::NotYetValid => "certificate-not-yet-valid",
                CertificateFault::WrongName => "certificate-wrong-name",
                CertificateFault::NotTrusted => "certificate-not-trusted",
            }),
            Self::Tls => f.write_str("tls-error"),
            Self::RequestTimeout => f.write_str("request-timeout"),
            Self::ConnectTimeout => f.write_str("connect-timeout"),
            Self::TimedOut => f.write_str("timed-out"),
            Self::NoResources => f.write_str("no-resources"),
            Self::Mismatch => f.write_str("mismatch"),
            Self::Unasked => f.write_str("unasked-bytes"),
            Self::Malformed => f.write_str("malformed"),
            Self::HeadTooLong => f.write_str("head-too-long"),
            Self::TooManyFields => f.write_str("too-many-fields"),
            Self::SpeaksHttp => f.write_str("speaks-http"),
            Self::Echoes => f.write_str("echoes"),
            Self::SwitchedProtocols => f.write_str("switched-protocols"),
            Self::Status(code) => write!(f, "status-{code}"),
            Self::Os(number) => write!(f, "{:?}", Errno::from_raw(*number)),
        }
    }
}

/// `-handshake-failure` of `HandshakeFailure`.
fn kebab(name: &str) -> String {
    name.chars()
        .flat_map(|letter| {
            let dash = letter.is_ascii_uppercase().then_some('-');
            dash.into_iter().chain([letter.to_ascii_lowercase()])
        })
        .collect()
}

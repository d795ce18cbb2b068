//! One TLS connection without its socket: bytes in, bytes out. It keeps no buffer as long as records come whole and the
//! socket takes all.

use std::sync::Arc;

use rustls::client::{ClientConfig, UnbufferedClientConnection};
use rustls::pki_types::ServerName;
use rustls::unbuffered::{ConnectionState, EncodeError, UnbufferedStatus};
use rustls::{Error, HandshakeKind};

use super::fault::Fault;

/// The most bytes of a record, and the most that are encrypted at once.
pub const RECORD: usize = 16 * 1024;
/// Room for what a record has beside its data, and for alerts.
pub const OVERHEAD: usize = 1024;

/// A client's side of a TLS connection.
pub struct Session {
    connection: UnbufferedClientConnection,
    /// The beginning of a record or of a message, of which the rest has not arrived.
    partial: Vec<u8>,
    /// Encrypted, and not taken by the kernel.
    pending: Vec<u8>,
    peer_closed: bool,
    /// `close_notify` or an alert was sent: nothing follows.
    closed: bool,
}

/// What came out of a reading.
pub struct Opened {
    /// Bytes of data.
    pub bytes: usize,
    /// The last byte of the reading was the last one of the data's record.
    pub exact: bool,
    /// Why nothing can be read behind the data.
    pub fault: Option<Fault>,
}

impl Session {
    /// Before the handshake.
    pub fn new(config: Arc<ClientConfig>, name: ServerName<'static>) -> Result<Self, Fault> {
        let connection = UnbufferedClientConnection::new(config, name)
            .map_err(|error| Fault::of(error, true))?;
        Ok(Self {
            connection,
            partial: Vec::new(),
            pending: Vec::new(),
            peer_closed: false,
            closed: false,
        })
    }

    pub fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Whether the handshake went on with an earlier session.
    pub fn is_resumed(&self) -> bool {
        self.connection.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// The peer has said that it sends no more.
    pub fn peer_closed(&self) -> bool {
        self.peer_closed
    }

    /// What the kernel has not taken.
    pub fn pending(&self) -> &[u8] {
        &self.pending
    }

    /// How much more data may be encrypted, so that little is kept if the socket takes nothing.
    pub fn room(&self) -> usize {
        RECORD.saturating_sub(self.pending.len())
    }

    /// Moves what was kept of the last reading to the front of `incoming`; returns its length.
    pub fn restore(&mut self, incoming: &mut [u8]) -> usize {
        let kept = std::mem::take(&mut self.partial);
        incoming[..kept.len()].copy_from_slice(&kept);
        kept.len()
    }

    /// Keeps the beginning of a record for the next reading.
    pub fn keep(&mut self, partial: &[u8]) {
        self.partial = partial.to_vec();
    }

    /// Decrypts the records in `incoming` to `plain`, which is as long at least. Data that came before a fault are good.
    pub fn open(&mut self, incoming: &mut [u8], plain: &mut [u8]) -> Opened {
        let handshaking = self.is_handshaking();
        let mut opened = Opened {
            bytes: 0,
            exact: false,
            fault: None,
        };
        let result = self.decrypt(incoming, plain, &mut opened);
        opened.fault = result.err().map(|error| Fault::of(error, handshaking));
        opened
    }

    fn decrypt(
        &mut self,
        incoming: &mut [u8],
        plain: &mut [u8],
        opened: &mut Opened,
    ) -> Result<(), Error> {
        let mut start = 0;
        loop {
            let length = incoming.len();
            let UnbufferedStatus { mut discard, state } =
                self.connection.process_tls_records(&mut incoming[start..]);
            let mut waits = false;
            match state? {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        discard += record.discard;
                        plain[opened.bytes..][..record.payload.len()]
                            .copy_from_slice(record.payload);
                        opened.bytes += record.payload.len();
                    }
                    opened.exact = start + discard == length;
                }
                ConnectionState::EncodeTlsData(mut data) => {
                    if let Err(EncodeError::InsufficientSize(needed)) = data.encode(&mut []) {
                        let end = self.pending.len();
                        self.pending.resize(end + needed.required_size, 0);
                        let encoded = data.encode(&mut self.pending[end..]);
                        encoded.expect("it has the room that it asked for");
                    }
                }
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::PeerClosed => self.peer_closed = true,
                // The end of what has arrived.
                _ => waits = true,
            }
            start += discard;
            if waits {
                break;
            }
        }
        if !self.peer_closed {
            self.keep(&incoming[start..]);
        }
        Ok(())
    }

    /// Writes to `out` what is pending, and behind it `plain`, encrypted; returns the length. The caller says with
    /// [`Session::unsent`] what the kernel did not take of that.
    pub fn seal(&mut self, plain: &[u8], out: &mut [u8]) -> Result<usize, Fault> {
        let pending = self.pending.len();
        out[..pending].copy_from_slice(&self.pending);
        if plain.is_empty() {
            return Ok(pending);
        }
        match self.connection.process_tls_records(&mut []).state {
            Ok(ConnectionState::WriteTraffic(mut traffic)) => traffic
                .encrypt(plain, &mut out[pending..])
                .map(|length| pending + length)
                .map_err(|_| Fault::Tls(Error::EncryptError)),
            Ok(_) => Err(Fault::Tls(Error::HandshakeNotComplete)),
            Err(error) => Err(Fault::of(error, false)),
        }
    }

    /// What the kernel did not take of a sealed record.
    pub fn unsent(&mut self, rest: &[u8]) {
        if !(rest.is_empty() && self.pending.is_empty()) {
            self.pending = rest.to_vec();
        }
    }

    /// Writes to `out` what is pending and, once, the end: the alert after an error, otherwise `close_notify`.
    /// Returns the length.
    pub fn farewell(&mut self, out: &mut [u8]) -> usize {
        if std::mem::replace(&mut self.closed, true) {
            return 0;
        }
        let mut end = self.pending.len();
        out[..end].copy_from_slice(&self.pending);
        match self.connection.process_tls_records(&mut []).state {
            Ok(ConnectionState::EncodeTlsData(mut alert)) => {
                end += alert.encode(&mut out[end..]).unwrap_or(0);
            }
            Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                end += traffic.queue_close_notify(&mut out[end..]).unwrap_or(0);
            }
            _ => {}
        }
        end
    }
}

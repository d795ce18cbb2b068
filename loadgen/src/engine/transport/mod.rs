//! The layer between a socket and a protocol: clear text, or TLS.

mod fault;
mod session;
mod tickets;
mod trust;

use std::io;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use socket2::Socket;

pub use fault::Fault;
use session::{OVERHEAD, Opened, RECORD, Session};

use crate::engine::socket;
use crate::workload::load::Workload;

/// Bytes of a reading, and of a writing in clear text.
pub const BUFFER: usize = 64 * 1024;

/// The buffers that all connections of a thread share.
pub struct Buffers {
    /// Data that was received.
    pub input: Box<[u8]>,
    /// Data to be sent.
    pub output: Box<[u8]>,
    incoming: Box<[u8]>,
    outgoing: Box<[u8]>,
}

impl Buffers {
    /// Those that the connections of such a workload need.
    pub fn new(workload: &Workload) -> Self {
        // What was kept of the last readings is decrypted with the next one.
        let (input, incoming, outgoing) = match workload.tls {
            None => (BUFFER, 0, 0),
            Some(_) => (3 * BUFFER, 3 * BUFFER, RECORD + 2 * OVERHEAD),
        };
        let buffer = |length| vec![0; length].into_boxed_slice();
        Self {
            input: buffer(input),
            output: buffer(BUFFER),
            incoming: buffer(incoming),
            outgoing: buffer(outgoing),
        }
    }
}

/// How TLS connections are made.
#[derive(Debug)]
pub struct Security {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Security {
    /// What a workload asks for; `None`: clear text.
    ///
    /// # Errors
    /// When it cannot be known whose certificates are to be accepted.
    pub fn new(workload: &Workload) -> anyhow::Result<Option<Self>> {
        let Some(tls) = &workload.tls else {
            return Ok(None);
        };
        Ok(Some(Self {
            config: Arc::new(trust::config(workload, tls)?),
            name: tls.server_name.clone(),
        }))
    }
}

/// Whether a server answered a request in clear text as one that wants TLS: with an alert, or with a status that says so
/// in the words of nginx and Go, or of Apache.
pub fn speaks_tls(answer: &[u8]) -> bool {
    const ALERT_LENGTH: usize = 7;
    let says = |words: &[u8]| answer.windows(words.len()).any(|part| part == words);
    match answer {
        [0x15, 0x03, _, 0x00, 0x02, ..] => answer.len() == ALERT_LENGTH,
        [
            b'H',
            b'T',
            b'T',
            b'P',
            b'/',
            b'1',
            b'.',
            _,
            b' ',
            b'4',
            b'0',
            b'0',
            ..,
        ] => says(b"HTTPS") || says(b"SSL-enabled"),
        _ => false,
    }
}

/// A connection as a protocol sees it: bytes to and from the server.
pub struct Transport {
    /// Its socket.
    pub socket: Socket,
    /// A connection in clear text needs no memory for it.
    session: Option<Box<Session>>,
}

/// What came in.
pub struct Received {
    /// Bytes of data in [`Buffers::input`].
    pub bytes: usize,
    /// The kernel's stamp of the last byte of the reading.
    pub stamp: Option<i64>,
    /// The last byte of the reading was the last one of the data, and nothing is left to be read.
    pub exact: bool,
    /// The reading filled the buffer: there may be more to be read.
    pub more: bool,
    /// The server sends no more.
    pub ended: bool,
    /// Why nothing can be read behind the data.
    pub fault: Option<Fault>,
}

/// What went out.
pub struct Sent {
    /// Bytes of data that need not be sent again.
    pub bytes: usize,
    /// The socket takes no more at the moment.
    pub blocked: bool,
}

impl Transport {
    /// A socket whose bytes are the data.
    pub fn new(socket: Socket) -> Self {
        Self {
            socket,
            session: None,
        }
    }

    /// Begins the TLS handshake: the socket is connected. Goes on with [`Transport::shake`].
    pub fn secure(&mut self, security: &Security, buffers: &mut Buffers) -> Result<(), Fault> {
        let session = Session::new(security.config.clone(), security.name.clone())?;
        let session = self.session.insert(Box::new(session));
        match session.open(&mut [], &mut buffers.input).fault {
            Some(fault) => Err(fault),
            None => self.send(0, buffers).map(drop),
        }
    }

    /// Goes on with the handshake: the socket has something to read, or takes more. When it is over returns what came
    /// behind it; its last bytes may still have to be sent, with the first data.
    pub fn shake(&mut self, buffers: &mut Buffers) -> Result<Option<Received>, Fault> {
        let received = self.receive(buffers, |socket, buffer| {
            Ok((socket::receive(socket, buffer)?, None))
        });
        match received {
            Ok(received) if !self.is_handshaking() => return Ok(Some(received)),
            Err(Fault::Truncated) | Ok(Received { ended: true, .. }) => {
                return Err(Fault::HandshakeClosed);
            }
            Err(fault) if !fault.would_block() => return Err(fault),
            _ => {}
        }
        self.send(0, buffers)?;
        Ok(None)
    }

    fn is_handshaking(&self) -> bool {
        self.session
            .as_ref()
            .is_some_and(|session| session.is_handshaking())
    }

    /// Whether the handshake went on with an earlier session.
    pub fn is_resumed(&self) -> bool {
        self.session
            .as_ref()
            .is_some_and(|session| session.is_resumed())
    }

    /// Whether there are bytes of TLS that the kernel has not taken.
    pub fn is_pending(&self) -> bool {
        self.session
            .as_ref()
            .is_some_and(|session| !session.pending().is_empty())
    }

    /// The most bytes of [`Buffers::output`] that can be sent at once.
    pub fn room(&self) -> usize {
        self.session
            .as_ref()
            .map_or(BUFFER, |session| session.room())
    }

    /// Receives data to [`Buffers::input`]; `read` reads from the socket, and returns the kernel's stamp if it has one.
    pub fn receive(
        &mut self,
        buffers: &mut Buffers,
        read: impl FnOnce(&Socket, &mut [u8]) -> io::Result<(usize, Option<i64>)>,
    ) -> Result<Received, Fault> {
        let Some(session) = &mut self.session else {
            let (bytes, stamp) = read(&self.socket, &mut buffers.input)?;
            let more = bytes == buffers.input.len();
            return Ok(Received {
                bytes,
                stamp,
                exact: !more,
                more,
                ended: bytes == 0,
                fault: None,
            });
        };
        let Buffers {
            input, incoming, ..
        } = buffers;
        let kept = session.restore(incoming);
        let end = incoming.len().min(kept + BUFFER);
        let result = read(&self.socket, &mut incoming[kept..end]);
        let (count, stamp) = match result {
            Ok((0, _)) if session.peer_closed() => (0, None),
            Ok((0, _)) => return Err(Fault::Truncated),
            Ok(read) => read,
            Err(error) => {
                session.keep(&incoming[..kept]);
                return Err(error.into());
            }
        };
        let Opened {
            bytes,
            exact,
            fault,
        } = session.open(&mut incoming[..kept + count], input);
        let more = kept + count == end;
        match fault {
            Some(fault) if bytes == 0 => Err(fault),
            fault => Ok(Received {
                bytes,
                stamp,
                exact: exact && !more,
                more,
                ended: session.peer_closed(),
                fault,
            }),
        }
    }

    /// Sends the first `length` bytes of [`Buffers::output`], at most as many as there is room for.
    pub fn send(&mut self, length: usize, buffers: &mut Buffers) -> Result<Sent, Fault> {
        let would_block = |error: &io::Error| error.kind() == io::ErrorKind::WouldBlock;
        let Some(session) = &mut self.session else {
            return match socket::send(&self.socket, &buffers.output[..length]) {
                Ok(bytes) => Ok(Sent {
                    bytes,
                    blocked: bytes < length,
                }),
                Err(error) if would_block(&error) => Ok(Sent {
                    bytes: 0,
                    blocked: true,
                }),
                Err(error) => Err(error.into()),
            };
        };
        let sealed = session.seal(&buffers.output[..length], &mut buffers.outgoing)?;
        let sealed = &buffers.outgoing[..sealed];
        if sealed.is_empty() {
            return Ok(Sent {
                bytes: 0,
                blocked: false,
            });
        }
        let written = match socket::send(&self.socket, sealed) {
            Err(error) if would_block(&error) => 0,
            result => result?,
        };
        session.unsent(&sealed[written..]);
        Ok(Sent {
            bytes: length,
            blocked: written < sealed.len(),
        })
    }

    /// Tells a TLS server that this side closes the connection, or why it gives up.
    pub fn close(mut self, buffers: &mut Buffers) {
        self.farewell(buffers);
    }

    /// The same, while the socket stays open. Some servers do not close theirs before they receive it.
    pub fn farewell(&mut self, buffers: &mut Buffers) {
        if let Some(session) = &mut self.session {
            let length = session.farewell(&mut buffers.outgoing);
            // It is closed whatever becomes of these bytes.
            let _ = socket::send(&self.socket, &buffers.outgoing[..length]);
        }
    }
}

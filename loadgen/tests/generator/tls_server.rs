//! A TLS server that behaves as a test asks it to: one blocking thread for each connection, and certificates of its own.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{
    HandshakeKind, ProtocolVersion, ServerConfig, ServerConnection, StreamOwned,
    SupportedProtocolVersion,
};
use socket2::SockRef;

/// What is done on a TLS connection.
#[derive(Debug, Clone, Copy)]
pub enum TlsScript {
    /// All bytes come back.
    Echo,
    /// This many come back, then the connection ends as TLS demands.
    CloseAfter(usize),
    /// This many come back, then it ends without `close_notify`.
    TruncateAfter(usize),
    /// The first bytes come back, with an alert in the same write.
    EchoAndAlert,
    /// A greeting for the first bytes, then the end.
    Once(&'static [u8]),
    /// The same, and the connection stays open until the client has said that this is its end.
    OnceBothEnd(&'static [u8]),
    /// The same answer to each request, which ends with an empty line; after `Connection: close` the end.
    Http(&'static [u8]),
    /// The answer to the first request, then the end.
    HttpUntilClose(&'static [u8]),
    /// The same without `close_notify`.
    HttpTruncated(&'static [u8]),
    /// These bytes with the last word of the handshake, then the end.
    Greets(&'static [u8]),
    /// All bytes come back; who does not speak TLS is let go without a word, as Node does.
    EchoOrNothing,
    /// Closed when the client's greeting has come.
    CloseInHandshake,
    /// The client's greeting gets no answer, on all connections but the first few.
    StallAfter(usize),
}

/// A certificate and its key.
pub struct Identity {
    pub certificate: CertificateDer<'static>,
    pub pem: String,
    key: KeyPair,
}

/// For the address that servers of tests have.
pub fn parameters() -> CertificateParams {
    CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap()
}

impl Identity {
    /// Signed by itself.
    pub fn new(parameters: &CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.self_signed(&key).unwrap();
        Self {
            certificate: certificate.der().clone(),
            pem: certificate.pem(),
            key,
        }
    }

    /// Signed by an authority, whose certificate comes with it.
    pub fn signed(parameters: &CertificateParams) -> (Self, CertificateDer<'static>) {
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority
            .distinguished_name
            .push(DnType::CommonName, "an authority");
        let authority_key = KeyPair::generate().unwrap();
        let root = authority.self_signed(&authority_key).unwrap();
        let issuer = Issuer::from_params(&authority, &authority_key);
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.signed_by(&key, &issuer).unwrap();
        let identity = Self {
            certificate: certificate.der().clone(),
            pem: certificate.pem(),
            key,
        };
        (identity, root.der().clone())
    }

    /// What a server is made with that has this identity and speaks these versions.
    pub fn config(&self, versions: &[&'static SupportedProtocolVersion]) -> ServerConfig {
        let key = PrivateKeyDer::try_from(self.key.serialize_der()).unwrap();
        ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate.clone()], key)
            .unwrap()
    }
}

/// What a handshake came to, as the server saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handshake {
    pub version: ProtocolVersion,
    pub resumed: bool,
    pub server_name: Option<String>,
    pub protocol: Option<Vec<u8>>,
}

/// A running server; its threads end with the connections they serve.
pub struct TlsServer {
    pub address: SocketAddr,
    handshakes: Arc<Mutex<Vec<Handshake>>>,
    clean_ends: Arc<Mutex<usize>>,
}

impl TlsServer {
    pub fn start(config: ServerConfig, script: TlsScript) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        SockRef::from(&listener).listen(4096).unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            handshakes: Arc::default(),
            clean_ends: Arc::default(),
        };
        let config = Arc::new(config);
        let (handshakes, clean_ends) = (server.handshakes.clone(), server.clean_ends.clone());
        thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                let Ok(stream) = stream else { return };
                let (config, handshakes) = (config.clone(), handshakes.clone());
                let clean_ends = clean_ends.clone();
                // A client that breaks its connection ends this thread and nothing else.
                thread::spawn(move || {
                    if serve(number, stream, config, script, &handshakes).is_ok() {
                        *clean_ends.lock().unwrap() += 1;
                    }
                });
            }
        });
        server
    }

    pub fn handshakes(&self) -> Vec<Handshake> {
        self.handshakes.lock().unwrap().clone()
    }

    /// Connections that the client ended with `close_notify`.
    pub fn clean_ends(&self) -> usize {
        *self.clean_ends.lock().unwrap()
    }
}

type Stream = StreamOwned<ServerConnection, TcpStream>;

fn serve(
    number: usize,
    mut socket: TcpStream,
    config: Arc<ServerConfig>,
    script: TlsScript,
    handshakes: &Mutex<Vec<Handshake>>,
) -> io::Result<()> {
    socket.set_nodelay(true)?;
    match script {
        TlsScript::CloseInHandshake => {
            return socket.read(&mut [0; 4096]).map(drop);
        }
        TlsScript::EchoOrNothing => {
            let mut first = [0];
            socket.peek(&mut first)?;
            // The type of a handshake record.
            if first != [22] {
                return socket.read(&mut [0; 4096]).map(drop);
            }
        }
        TlsScript::StallAfter(most) if number >= most => {
            while socket.read(&mut [0; 4096])? > 0 {}
            return Ok(());
        }
        _ => {}
    }
    let mut connection = ServerConnection::new(config).map_err(io::Error::other)?;
    if let TlsScript::Greets(greeting) = script {
        connection.writer().write_all(greeting)?;
    }
    while connection.is_handshaking() {
        connection.complete_io(&mut socket)?;
    }
    handshakes.lock().unwrap().push(Handshake {
        version: connection.protocol_version().unwrap(),
        resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
        server_name: connection.server_name().map(str::to_owned),
        protocol: connection.alpn_protocol().map(<[u8]>::to_vec),
    });
    talk(&mut StreamOwned::new(connection, socket), script)
}

/// Says that the connection ends, and waits for the client's end, or the close would be a reset.
fn end(stream: &mut Stream) -> io::Result<()> {
    stream.conn.send_close_notify();
    stream.flush()?;
    cut(stream)
}

/// Ends the connection without a word.
fn cut(stream: &mut Stream) -> io::Result<()> {
    stream.sock.shutdown(Shutdown::Write)?;
    while stream.sock.read(&mut [0; 4096])? > 0 {}
    Ok(())
}

fn talk(stream: &mut Stream, script: TlsScript) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    let mut total = 0;
    let mut request = Vec::new();
    if let TlsScript::Greets(_) = script {
        return end(stream);
    }
    loop {
        // Fails if the client does not say that this is its end.
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        let data = &buffer[..count];
        match script {
            TlsScript::Echo
            | TlsScript::EchoOrNothing
            | TlsScript::Greets(_)
            | TlsScript::StallAfter(_)
            | TlsScript::CloseInHandshake => {
                stream.write_all(data)?;
            }
            TlsScript::CloseAfter(most) | TlsScript::TruncateAfter(most) => {
                let left = (most - total).min(count);
                stream.write_all(&data[..left])?;
                total += left;
                if total == most {
                    return match script {
                        TlsScript::CloseAfter(_) => end(stream),
                        _ => cut(stream),
                    };
                }
            }
            TlsScript::EchoAndAlert => {
                stream.conn.writer().write_all(data)?;
                // What nobody has encrypted: an alert is the answer.
                let mut record = [0; 37];
                record[..5].copy_from_slice(&[23, 3, 3, 0, 32]);
                stream.conn.read_tls(&mut &record[..])?;
                stream.conn.process_new_packets().unwrap_err();
                let mut out = Vec::new();
                while stream.conn.wants_write() {
                    stream.conn.write_tls(&mut out)?;
                }
                stream.sock.write_all(&out)?;
                return cut(stream);
            }
            TlsScript::Once(answer) => {
                stream.write_all(answer)?;
                return end(stream);
            }
            TlsScript::OnceBothEnd(answer) => {
                stream.write_all(answer)?;
                stream.conn.send_close_notify();
                stream.flush()?;
            }
            TlsScript::Http(answer)
            | TlsScript::HttpUntilClose(answer)
            | TlsScript::HttpTruncated(answer) => {
                request.extend_from_slice(data);
                while let Some(end_of_head) = request.windows(4).position(|w| w == b"\r\n\r\n") {
                    let head: Vec<u8> = request.drain(..end_of_head + 4).collect();
                    stream.write_all(answer)?;
                    match script {
                        TlsScript::HttpTruncated(_) => return cut(stream),
                        TlsScript::HttpUntilClose(_) => return end(stream),
                        _ if head.windows(17).any(|w| w == b"Connection: close") => {
                            return end(stream);
                        }
                        _ => {}
                    }
                }
            }
        }
        stream.flush()?;
    }
}

/// A time in which servers end what clients have ended.
pub const SOON: Duration = Duration::from_secs(10);

//! Connects before the load begins, to find out at which addresses nobody listens.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::bail;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use rustls::pki_types::ServerName;
use socket2::Socket;

use super::connector::Connector;
use super::observer::{ASK_EVERY, Interrupted};
use super::transport::{Buffers, Transport};
use crate::workload::load::Workload;
use crate::workload::target::Addresses;
use crate::workload::tls::{Tls, Trust};

/// How long a connection may take, and each answer in its TLS handshake, unless `--connect-timeout` says so.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Makes a connection and closes it, to find out before the load that nobody listens, or why TLS is not possible.
///
/// # Errors
/// [`Interrupted`] when `cancelled` says so; otherwise why it cannot be made.
pub fn probe(
    connector: &Connector,
    workload: &Workload,
    cancelled: &mut dyn FnMut() -> bool,
) -> anyhow::Result<()> {
    let timeout = workload.client.connect_timeout.unwrap_or(TIMEOUT);
    let mut transport = Transport::new(connect(connector, 0, timeout, cancelled)?);
    let Some(security) = connector.security() else {
        return Ok(());
    };
    let mut buffers = Buffers::new(workload);
    let mut result = transport.secure(security, &mut buffers).map(|()| None);
    while let Ok(None) = result {
        if !wait(&transport.socket, PollFlags::POLLIN, timeout, cancelled)? {
            bail!(
                "no answer in the TLS handshake for {timeout:?}: if the server does not speak TLS, leave out --tls"
            );
        }
        result = transport.shake(&mut buffers);
    }
    transport.close(&mut buffers);
    result?;
    Ok(())
}

/// Whether a server that closes connections in clear text speaks TLS. Some close them without a word.
pub fn speaks_tls(workload: &Workload) -> bool {
    let Ok(server_name) = ServerName::try_from(workload.target.host.clone()) else {
        return false;
    };
    let with_tls = Workload {
        tls: Some(Tls {
            server_name,
            trust: Trust::Anyone,
            resumption: false,
        }),
        ..workload.clone()
    };
    Connector::new(&with_tls)
        .and_then(|connector| probe(&connector, &with_tls, &mut || false))
        .is_ok()
}

/// Makes connection `number`.
fn connect(
    connector: &Connector,
    number: usize,
    timeout: Duration,
    cancelled: &mut dyn FnMut() -> bool,
) -> anyhow::Result<Socket> {
    let socket = connector.connect(number)?;
    if !wait(&socket, PollFlags::POLLOUT, timeout, cancelled)? {
        let text = format!("the server did not answer within {timeout:?} (--connect-timeout)");
        return Err(io::Error::new(io::ErrorKind::TimedOut, text).into());
    }
    match socket.take_error()? {
        Some(error) => Err(error.into()),
        None => Ok(socket),
    }
}

/// Whether the socket is ready in time.
fn wait(
    socket: &Socket,
    flags: PollFlags,
    timeout: Duration,
    cancelled: &mut dyn FnMut() -> bool,
) -> anyhow::Result<bool> {
    let deadline = Instant::now() + timeout;
    let mut fds = [PollFd::new(socket.as_fd(), flags)];
    while nix::poll::poll(&mut fds, PollTimeout::try_from(ASK_EVERY)?)? == 0 {
        if cancelled() {
            return Err(Interrupted.into());
        }
        if Instant::now() >= deadline {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Leaves out the addresses of a name at which nobody listens. Returns each with the reason. If nobody listens at any,
/// all stay, and the trial says why it cannot connect.
///
/// # Errors
/// [`Interrupted`] when `cancelled` says so; when the kernel has no sockets.
pub fn leave_out_refusing(
    workload: &mut Workload,
    cancelled: &mut dyn FnMut() -> bool,
) -> anyhow::Result<Vec<String>> {
    let Addresses::Tcp(all) = &workload.target.addresses else {
        return Ok(Vec::new());
    };
    if all.len() == 1 {
        return Ok(Vec::new());
    }
    let connector = Connector::new(workload)?;
    let timeout = workload.client.connect_timeout.unwrap_or(TIMEOUT);
    let mut kept = Vec::new();
    let mut left_out = Vec::new();
    for (number, address) in all.iter().enumerate() {
        match connect(&connector, number, timeout, cancelled) {
            Ok(_) => kept.push(*address),
            Err(error) if error.is::<Interrupted>() => return Err(error),
            Err(error) => left_out.push(format!("{address}: {error}")),
        }
    }
    if kept.is_empty() {
        return Ok(Vec::new());
    }
    workload.target.addresses = Addresses::Tcp(kept);
    Ok(left_out)
}

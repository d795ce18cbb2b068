//! Connects before the load begins, to notice where nobody listens.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout};

use super::connector::Connector;
use super::observer::{ASK_EVERY, Interrupted};
use crate::workload::load::Workload;
use crate::workload::target::Addresses;

/// How long a connection may take.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Makes connection `number` and closes it.
///
/// # Errors
/// [`Interrupted`] when `cancelled` says so; otherwise why it cannot be made.
pub fn probe(
    connector: &Connector,
    number: usize,
    cancelled: &mut dyn FnMut() -> bool,
) -> anyhow::Result<()> {
    let socket = connector.connect(number)?;
    let deadline = Instant::now() + TIMEOUT;
    let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
    while nix::poll::poll(&mut fds, PollTimeout::try_from(ASK_EVERY)?)? == 0 {
        if cancelled() {
            return Err(Interrupted.into());
        }
        if Instant::now() >= deadline {
            let text = format!("no answer within {TIMEOUT:?}");
            return Err(io::Error::new(io::ErrorKind::TimedOut, text).into());
        }
    }
    match socket.take_error()? {
        Some(error) => Err(error.into()),
        None => Ok(()),
    }
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
    let mut kept = Vec::new();
    let mut left_out = Vec::new();
    for (number, address) in all.iter().enumerate() {
        match probe(&connector, number, cancelled) {
            Ok(()) => kept.push(*address),
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

//! Tokio's accept, with its errors sorted.

use std::os::fd::AsRawFd;

use serverkit::accept::{self, Accepted, Blocking, RETRY};
use serverkit::{Context, memory, trace};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::timeout;

/// Waits for the next client. When the server has run out of descriptors or memory, it tries again
/// after a notification of `left` or after [`RETRY`]. An error means that the listener is of no
/// more use.
pub async fn accept(
    context: &Context,
    listener: &TcpListener,
    left: &Notify,
) -> anyhow::Result<TcpStream> {
    loop {
        if !memory::suffices_beside(context.stats.open()) {
            let _ = timeout(RETRY, left.notified()).await;
            continue;
        }
        match listener.accept().await {
            Ok((stream, _)) => {
                context.stats.accept();
                trace!(context, "accept: client {}", stream.as_raw_fd());
                return Ok(stream);
            }
            Err(error) => {
                context.stats.accept_error();
                trace!(context, "accept: {error}");
            }
        }
        // The error may be epoll_ctl's, which follows accept4: then one client is lost, and that is
        // all. So accept4 is asked alone, and says whether there is more to it.
        match accept::accept(context, listener, Blocking::No)? {
            Accepted::Client(socket) => {
                if let Some(stream) = register(context, socket) {
                    return Ok(stream);
                }
            }
            Accepted::None => {}
            Accepted::Overloaded => drop(timeout(RETRY, left.notified()).await),
        }
    }
}

/// Takes the next client of the backlog without waiting; `None` if there is none. It asks the
/// kernel itself: Tokio may not have heard of the latest clients.
pub fn try_accept(context: &Context, listener: &TcpListener) -> anyhow::Result<Option<TcpStream>> {
    loop {
        let Accepted::Client(socket) = accept::accept(context, listener, Blocking::No)? else {
            return Ok(None);
        };
        if let Some(stream) = register(context, socket) {
            return Ok(Some(stream));
        }
    }
}

/// Enters the socket of a new client into Tokio's epoll. If that fails, this client alone is lost.
fn register(context: &Context, socket: std::net::TcpStream) -> Option<TcpStream> {
    let fd = socket.as_raw_fd();
    TcpStream::from_std(socket)
        .inspect_err(|error| {
            trace!(context, "client {fd}: {error}");
            context.stats.close(0, 0, true);
        })
        .ok()
}

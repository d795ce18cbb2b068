//! Tokio's accept, with its errors sorted.

use std::os::fd::AsRawFd;

use serverkit::accept::{self, Accepted, Blocking, RETRY, Socket};
use serverkit::trace::{self, Event};
use serverkit::{Context, memory};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::timeout;

/// A client, and its number.
pub type Client = (TcpStream, u64);

/// Waits for the next client. When the server has run out of descriptors or memory, it tries again
/// after a notification of `left` or after [`RETRY`]. An error means that the listener is of no
/// more use.
pub async fn accept(
    context: &Context,
    listener: &TcpListener,
    left: &Notify,
) -> anyhow::Result<Client> {
    loop {
        if !memory::suffices_beside(context.stats.open()) {
            let _ = timeout(RETRY, left.notified()).await;
            continue;
        }
        match listener.accept().await {
            Ok((stream, _)) => {
                let client = context.stats.accept();
                let fd = stream.as_raw_fd();
                trace::tell(|| Event::Accept {
                    call: "accept4",
                    client,
                    fd,
                });
                return Ok((stream, client));
            }
            Err(error) => {
                context.stats.accept_error();
                trace::note(None, || format!("accept has failed: {error}"));
            }
        }
        // The error may be epoll_ctl's, which follows accept4: then one client is lost, and that is
        // all. So accept4 is asked alone, and says whether there is more to it.
        match accept::accept(context, listener, Blocking::None)? {
            Accepted::Client(socket) => {
                if let Some(client) = register(context, socket) {
                    return Ok(client);
                }
            }
            Accepted::None => {}
            Accepted::Overloaded => drop(timeout(RETRY, left.notified()).await),
        }
    }
}

/// Takes the next client of the backlog without waiting; `None` if there is none. It asks the
/// kernel itself: Tokio may not have heard of the latest clients.
pub fn try_accept(context: &Context, listener: &TcpListener) -> anyhow::Result<Option<Client>> {
    loop {
        let Accepted::Client(socket) = accept::accept(context, listener, Blocking::None)? else {
            return Ok(None);
        };
        if let Some(client) = register(context, socket) {
            return Ok(Some(client));
        }
    }
}

/// Enters the socket of a new client into Tokio's epoll. If that fails, this client alone is lost.
fn register(context: &Context, socket: Socket) -> Option<Client> {
    let number = socket.number();
    TcpStream::from_std(socket.into_stream())
        .inspect_err(|error| {
            let why = error.to_string();
            trace::tell(|| Event::Close {
                client: number,
                why: &why,
            });
            context.stats.close(0, 0, true);
        })
        .map(|stream| (stream, number))
        .ok()
}

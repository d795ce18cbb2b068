//! # epoll: the kernel keeps the list
//!
//! `select` and `poll` hand the whole list of descriptors to the kernel with every call. Here the
//! kernel keeps the list: a descriptor is entered once, and each wait returns only those that are
//! ready. So silent clients cost nothing.
//!
//! ```text
//!   clients --> sockets --> [ interest set ]      in the kernel, changed by epoll_ctl
//!                                  |
//!                            [ ready list ]
//!                                  | epoll_wait
//!                  listener? accept     client? read, answer, write
//! ```
//!
//! * System calls: `epoll_create1`, `epoll_ctl`, `epoll_wait`; `accept4`, `recvfrom`, `sendto`.
//! * The report is level-triggered: the kernel reports a descriptor as long as it is ready. If the
//!   server leaves bytes in a socket, they are reported again. So the server must change the entry
//!   when a client's interest changes: a client that is entered for writing and has nothing to send
//!   would wake every wait. `epoll-edge` shows the other way.
//! * Closing a socket takes it out of the set.
//! * What breaks it: a handler that takes long, because all clients wait for it. And a ready entry
//!   that nobody handles, because each wait then returns at once. So while there is no room for a
//!   client, the server does not ask about the listener.
//! * A client that sends without a pause would keep the loop for itself. Its turn ends early, and
//!   it is due again in the next turn, whatever the kernel says.
//!
//! Source: epoll(7); Davide Libenzi, "Improving (network) I/O performance", 2002.
#![forbid(unsafe_code)]

use std::net::TcpListener;
use std::process::ExitCode;

use anyhow::Context as _;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use serverkit::accept::{Accepted, Blocking, accept};
use serverkit::clients::{ACCEPTS_PER_TURN, Clients, LISTENER, STOP};
use serverkit::deadlines::millis;
use serverkit::nonblocking::{Next, Trigger};
use serverkit::session::{Interest, READ};
use serverkit::stop::StopSignal;
use serverkit::{Context, Model, NoFlags, listener};

const MODEL: Model<NoFlags> = Model {
    name: "epoll",
    family: "readiness",
    summary: "One thread waits with epoll: the kernel keeps the list and reports the ready sockets",
    limits: |context, _| context.descriptor_limits(),
};

fn main() -> ExitCode {
    serverkit::main(&MODEL, serve)
}

fn serve(context: &'static Context, _: NoFlags) -> anyhow::Result<()> {
    let stop_signal = StopSignal::new()?;
    let listener = listener::bind(&context.options)?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("epoll_create1")?;
    epoll
        .add(&stop_signal, event(READ, STOP))
        .and_then(|()| epoll.add(&listener, event(READ, LISTENER)))
        .context("epoll_ctl")?;
    listener::announce(listener.local_addr()?)?;
    Server {
        context,
        stop_signal,
        listener: Some(listener),
        listens: true,
        epoll,
        clients: Clients::new(context, context.max_connections()),
    }
    .run()
}

struct Server {
    context: &'static Context,
    stop_signal: StopSignal,
    /// `None` once the server is stopping.
    listener: Option<TcpListener>,
    /// The kernel is asked about the listener.
    listens: bool,
    epoll: Epoll,
    clients: Clients,
}

impl Server {
    fn run(&mut self) -> anyhow::Result<()> {
        let mut ready = Vec::new();
        while self.listener.is_some() || !self.clients.is_empty() {
            self.wait(&mut ready)?;
            // A client may be both ready and due: it gets one turn, not two.
            ready.extend(self.clients.due());
            ready.sort_unstable();
            ready.dedup();
            for token in ready.drain(..) {
                match token {
                    STOP => self.stop()?,
                    LISTENER => self.accept(ACCEPTS_PER_TURN)?,
                    key => self.step(key),
                }
            }
        }
        Ok(())
    }

    /// The one place where this server blocks. Adds what is ready to an empty list.
    fn wait(&mut self, ready: &mut Vec<usize>) -> anyhow::Result<()> {
        if let Some(listener) = &self.listener
            && self.listens != self.clients.have_room()
        {
            let interest = Interest {
                read: !self.listens,
                write: false,
            };
            match self.epoll.modify(listener, &mut event(interest, LISTENER)) {
                Ok(()) => self.listens = !self.listens,
                // accept is tried again in a moment.
                Err(_) => self.clients.overloaded(),
            }
        }

        let mut events = [EpollEvent::empty(); 512];
        let most = self.clients.timeout();
        let timeout = millis(most).map_or(EpollTimeout::NONE, EpollTimeout::from);
        let waiting =
            self.clients
                .wait("epoll_wait", most, self.listener.is_some() && self.listens);
        let count = match self.epoll.wait(&mut events, timeout) {
            Err(Errno::EINTR) => return Ok(()),
            result => result.context("epoll_wait")?,
        };
        ready.extend(events[..count].iter().map(|event| event.data() as usize));
        waiting.woke(|| self.clients.names(ready));
        Ok(())
    }

    /// Accepts at most `most` of the clients that wait, while there is room for them.
    fn accept(&mut self, most: usize) -> anyhow::Result<()> {
        let Some(listener) = &self.listener else {
            return Ok(());
        };
        for _ in 0..most {
            if !self.clients.have_room() {
                break;
            }
            match accept(self.context, listener, Blocking::None)? {
                Accepted::Client(socket) => {
                    let key = self.clients.insert(socket);
                    let client = &self.clients[key];
                    if let Err(errno) = self.epoll.add(client, event(READ, key)) {
                        self.clients.fail(key, errno);
                    }
                }
                Accepted::None => break,
                Accepted::Overloaded => self.clients.overloaded(),
            }
        }
        Ok(())
    }

    /// Moves the bytes of one client. The next wait reports what is left in its socket.
    fn step(&mut self, key: usize) {
        let before = self.clients[key].interest();
        if self.clients.step(key, Trigger::Level) == Next::Closed {
            return;
        }
        let client = &self.clients[key];
        let interest = client.interest();
        if interest != before
            && let Err(errno) = self.epoll.modify(client, &mut event(interest, key))
        {
            self.clients.fail(key, errno);
        }
    }

    /// Accepts the clients that still wait, closes the listener, and lets each client's input end with what
    /// has arrived.
    fn stop(&mut self) -> anyhow::Result<()> {
        if self.stop_signal.take()? {
            self.accept(usize::MAX)?;
            self.listener = None;
            self.clients.stop();
        }
        Ok(())
    }
}

/// An entry of the interest set.
fn event(interest: Interest, token: usize) -> EpollEvent {
    let mut flags = EpollFlags::empty();
    flags.set(EpollFlags::EPOLLIN, interest.read);
    flags.set(EpollFlags::EPOLLOUT, interest.write);
    EpollEvent::new(flags, token as u64)
}

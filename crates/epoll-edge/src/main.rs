//! # epoll-edge: the kernel reports each arrival once
//!
//! As with `epoll` the kernel keeps the list. But it reports a descriptor only when something new
//! arrives for it: bytes, room to write, the client's end. An entry of the interest set never
//! changes. If the server leaves reported work undone, the kernel does not report it again.
//!
//! ```text
//!   clients --> sockets --> [ interest set ]      in the kernel: each socket is entered once
//!                                  |
//!                            [ ready list ]       an arrival puts a socket here, epoll_wait
//!                                  | epoll_wait   takes it out
//!                  listener? accept     client? read until EAGAIN, answer, write
//! ```
//!
//! * System calls: `epoll_create1`, `epoll_ctl` once for each client, `epoll_wait`; `accept4`,
//!   `recvfrom` until it says EAGAIN, `sendto`. So a request costs one `recvfrom` more than with
//!   `epoll`. A client that stops reading costs no `epoll_ctl`.
//! * What breaks it: a server that stops before EAGAIN and forgets it. The client then hangs. So
//!   here a client whose turn ends early is due again in the next turn. The same holds for the
//!   listener: after a full turn of new clients, or when there is room again, this server accepts
//!   without a report.
//! * A handler that takes long lets all clients wait, as in every loop of one thread.
//!
//! Source: epoll(7), "Level-triggered and edge-triggered"; Davide Libenzi, "Improving (network)
//! I/O performance", 2002.
#![forbid(unsafe_code)]

use std::net::TcpListener;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use serverkit::accept::{Accepted, Blocking, accept};
use serverkit::clients::{ACCEPTS_PER_TURN, Clients, LISTENER, STOP};
use serverkit::deadlines::millis;
use serverkit::nonblocking::Trigger;
use serverkit::session::Interest;
use serverkit::stop::StopSignal;
use serverkit::{Context, Model, NoFlags, listener};

const MODEL: Model<NoFlags> = Model {
    name: "epoll-edge",
    family: "readiness",
    summary: "One thread waits with epoll, and the kernel reports each arrival once",
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
        .add(&stop_signal, event(STOP))
        .and_then(|()| epoll.add(&listener, event(LISTENER)))
        .context("epoll_ctl")?;
    listener::announce(listener.local_addr()?)?;
    Server {
        context,
        stop_signal,
        listener: Some(listener),
        arrivals: false,
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
    /// The listener was reported, and accept has not said EAGAIN since.
    arrivals: bool,
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
            if self.may_accept() {
                ready.push(LISTENER);
            }
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
        let mut events = [EpollEvent::empty(); 512];
        let most = match self.clients.timeout() {
            _ if self.may_accept() => Some(Duration::ZERO),
            most => most,
        };
        let timeout = millis(most).map_or(EpollTimeout::NONE, EpollTimeout::from);
        let waiting = self
            .clients
            .wait("epoll_wait", most, self.listener.is_some());
        let count = match self.epoll.wait(&mut events, timeout) {
            Err(Errno::EINTR) => return Ok(()),
            result => result.context("epoll_wait")?,
        };
        ready.extend(events[..count].iter().map(|event| event.data() as usize));
        waiting.woke(|| {
            self.clients
                .names_ready(events[..count].iter().map(reported))
        });
        Ok(())
    }

    /// Clients wait at the listener, and no event will report them.
    fn may_accept(&self) -> bool {
        self.arrivals && self.listener.is_some() && self.clients.have_room()
    }

    /// Accepts at most `most` of the clients that wait, while there is room for them.
    fn accept(&mut self, most: usize) -> anyhow::Result<()> {
        let Some(listener) = &self.listener else {
            return Ok(());
        };
        self.arrivals = true;
        for _ in 0..most {
            if !self.clients.have_room() {
                break;
            }
            match accept(self.context, listener, Blocking::None)? {
                Accepted::Client(socket) => {
                    let key = self.clients.insert(socket);
                    let client = &self.clients[key];
                    if let Err(errno) = self.epoll.add(client, event(key)) {
                        self.clients.fail(key, errno);
                    }
                }
                Accepted::None => {
                    self.arrivals = false;
                    break;
                }
                Accepted::Overloaded => self.clients.overloaded(),
            }
        }
        Ok(())
    }

    /// Moves the bytes of one client, until its socket is empty.
    fn step(&mut self, key: usize) {
        self.clients.step(key, Trigger::Edge);
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

/// An entry of the interest set, the same for as long as it is there.
fn event(token: usize) -> EpollEvent {
    let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
    EpollEvent::new(flags, token as u64)
}

/// What the kernel has reported, for the trace. An error and a hang-up are found by reading.
fn reported(event: &EpollEvent) -> (usize, Option<Interest>) {
    let write = event.events().contains(EpollFlags::EPOLLOUT);
    let read = !write || event.events().contains(EpollFlags::EPOLLIN);
    (event.data() as usize, Some(Interest { read, write }))
}

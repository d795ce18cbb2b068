//! # reactors: a loop for each core
//!
//! One epoll loop uses one core. Here are several loops, each with a thread, an epoll, a listener
//! and clients of its own. A client stays with the loop that accepted it, and while it is served
//! nothing is shared and nothing is locked.
//!
//! ```text
//!                      one port, SO_REUSEPORT: the kernel
//!                 spreads the clients by a hash of their addresses
//!                  |                     |                     |
//!              listener              listener              listener
//!            epoll, clients        epoll, clients        epoll, clients
//!               core 0                core 1                core 2
//! ```
//!
//! * System calls: those of `epoll` in each loop, and `setsockopt` with `SO_REUSEPORT`.
//! * `--wake exclusive` and `--wake herd` have one listener for all loops instead (`wake.rs`).
//! * What breaks it: an uneven hash. With few clients one loop may have most of them while another
//!   has nothing to do, and the clients cannot move. Then `epoll-workers` still uses all cores, but
//!   it needs a lock and one more system call for each request.
//! * Each listener has its own backlog. When a listener closes, the clients in its backlog are
//!   reset. So all listeners open before the ready line, and close only at the stop.
//! * The loops share two things. One is the limit of clients: a loop needs a permit for each
//!   (`semaphore.rs`). The other is the stop: an eventfd that all loops wait for and nobody reads.
//!
//! Source: Tom Herbert, "soreuseport", Linux 3.9, 2013; Douglas Schmidt, "Reactor", 1995.
#![forbid(unsafe_code)]

use std::net::TcpListener;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use serverkit::accept::{Accepted, Blocking, accept};
use serverkit::clients::{ACCEPTS_PER_TURN, Clients, LISTENER, PERMIT, STOP};
use serverkit::context::pin;
use serverkit::deadlines::millis;
use serverkit::nonblocking::{Next, Trigger};
use serverkit::session::{Interest, READ};
use serverkit::{Context, Limits, Model, listener, options, workers};

mod semaphore;
mod wake;
use {semaphore::Permits, wake::Wake};

const MODEL: Model<Flags> = Model {
    name: "reactors",
    family: "readiness",
    summary: "Several threads have an epoll loop and a listener each, and the kernel spreads the clients",
    limits: |context, flags| Limits {
        clients: flags.max_connections(context),
        ..context.descriptor_limits()
    },
};

#[derive(Debug, Clone, Copy, clap::Args)]
struct Flags {
    /// Loops, each with a thread; --cpu pins them to its cores in turn [default: the number of cores]
    #[arg(long, value_name = "N", value_parser = options::workers)]
    workers: Option<usize>,

    /// Which loops wake for a new client
    #[arg(long, value_enum, default_value_t = Wake::Reuseport)]
    wake: Wake,
}

impl Flags {
    fn workers(self) -> usize {
        self.workers.unwrap_or_else(options::cores)
    }

    fn max_connections(self, context: &Context) -> usize {
        // A loop has a listener, an epoll and an eventfd.
        let left = context.descriptors.saturating_sub(3 * self.workers());
        context.max_connections().min(left)
    }
}

fn main() -> ExitCode {
    serverkit::main(&MODEL, serve)
}

fn serve(context: &'static Context, flags: Flags) -> anyhow::Result<()> {
    let workers = flags.workers();
    let max_connections = flags.max_connections(context);
    let stopping = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC).context("eventfd")?);
    let listeners = flags.wake.listeners(&context.options, workers)?;
    let address = listeners[0].local_addr()?;
    let permits = Permits::shared(max_connections, workers)?;
    let mut loops = Vec::new();
    for (worker, (listener, permits)) in listeners.into_iter().zip(permits).enumerate() {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("epoll_create1")?;
        let once = EpollFlags::EPOLLIN | EpollFlags::EPOLLONESHOT;
        epoll
            .add(&*stopping, EpollEvent::new(once, STOP as u64))
            .and_then(|()| epoll.add(permits.granted(), event(READ, PERMIT)))
            .and_then(|()| epoll.add(&listener, flags.wake.event(LISTENER)))
            .context("epoll_ctl")?;
        let mut reactor = Reactor {
            context,
            worker,
            listener: Some(listener),
            listens: true,
            wake: flags.wake,
            epoll,
            clients: Clients::new(context, max_connections),
            permits,
        };
        loops.push(move || reactor.run());
    }
    // It fails only after 2^64 - 2 calls.
    let stop = move || _ = stopping.write(1);
    workers::run(context, loops, || listener::announce(address), stop)
}

/// One loop.
struct Reactor {
    context: &'static Context,
    worker: usize,
    /// `None` once the server is stopping.
    listener: Option<TcpListener>,
    /// The kernel is asked about the listener.
    listens: bool,
    wake: Wake,
    epoll: Epoll,
    clients: Clients,
    permits: Permits,
}

impl Reactor {
    fn run(&mut self) -> anyhow::Result<()> {
        let cores = self.context.options.cpu.iter().cloned().flatten();
        if let Some(core) = cores.cycle().nth(self.worker) {
            pin([core]).context("--cpu")?;
        }
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
                    LISTENER | PERMIT => self.accept(ACCEPTS_PER_TURN)?,
                    key => self.step(key),
                }
            }
            self.permits.release_unused(self.clients.len())?;
        }
        Ok(())
    }

    /// The one place where a loop blocks. Adds what is ready to an empty list.
    fn wait(&mut self, ready: &mut Vec<usize>) -> anyhow::Result<()> {
        if let Some(listener) = &self.listener
            && self.listens != (self.clients.have_room() && !self.permits.is_waiting())
        {
            let changed = if self.listens {
                self.epoll.delete(listener)
            } else {
                self.epoll.add(listener, self.wake.event(LISTENER))
            };
            match changed {
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
        self.permits.receive()?;
        let Some(listener) = &self.listener else {
            return Ok(());
        };
        for _ in 0..most {
            if !self.clients.have_room() || !self.permits.acquire_for(self.clients.len() + 1) {
                break;
            }
            match accept(self.context, listener, Blocking::None)? {
                Accepted::Client(socket) => {
                    self.context.stats.took(self.worker);
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
        self.accept(usize::MAX)?;
        if let Some(listener) = self.listener.take() {
            // Other loops may use it still. This fails if it is not in the interest set.
            let _ = self.epoll.delete(&listener);
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

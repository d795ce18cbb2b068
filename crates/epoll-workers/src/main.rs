//! # epoll-workers: threads share one epoll
//!
//! One loop can use only one core. Here several threads wait with the same epoll, and the kernel
//! gives each ready client to one of them. So there is one queue, and several threads serve it.
//!
//! ```text
//!   clients --> sockets --> [ interest set ] --> [ ready list ]
//!                                ^                |    |    |  epoll_wait
//!                                |              worker 1  2  3
//!                            epoll_ctl: armed again ---'
//! ```
//!
//! * System calls: `epoll_wait` and `epoll_ctl` per event; `accept4`, `recvfrom`, `sendto`;
//!   `futex`.
//! * What breaks it: two workers that serve one client at once. Its bytes would come out in any
//!   order. So every entry is `EPOLLONESHOT`: the kernel reports it once and disarms it. The worker
//!   that got the report arms it again when it is done. The kernel then looks at the socket anew,
//!   so nothing is lost.
//! * When a client's time is over or the server stops, a second worker may want to serve the
//!   client. It does not wait for the first worker, but sets a flag for it (`shared.rs`).
//! * An event can be older than its client: before a worker handles it, another worker may close
//!   the client, and a new client may get the same key. So a token is a key with a generation.
//! * A worker takes one event at a time, so that the next event can go to another worker. No worker
//!   is special: a timer in the interest set tells any of them when a client is due.
//!
//! Source: epoll(7), on `EPOLLONESHOT`; Marek Majkowski, "Epoll is fundamentally broken", 2017.
#![forbid(unsafe_code)]

use std::os::fd::AsFd;
use std::process::ExitCode;
use std::sync::{Mutex, MutexGuard};

use anyhow::Context as _;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use serverkit::accept::{Accepted, Blocking, accept};
use serverkit::clients::ACCEPTS_PER_TURN;
use serverkit::nonblocking::{Next, Trigger};
use serverkit::session::{Interest, READ};
use serverkit::{Context, Model, listener, options, trace, workers};

use crate::shared::{FINISHED, LISTENER, STOP, Shared, TIMER};

mod shared;

const MODEL: Model<Flags> = Model {
    name: "epoll-workers",
    family: "readiness",
    summary: "Several threads wait on one epoll, and each client that is ready goes to one of them",
    limits: |context, _| context.descriptor_limits(),
};

#[derive(Debug, Clone, Copy, clap::Args)]
struct Flags {
    /// Threads that wait on the epoll [default: the number of cores]
    #[arg(long, value_name = "N", value_parser = options::workers)]
    workers: Option<usize>,
}

fn main() -> ExitCode {
    serverkit::main(&MODEL, serve)
}

fn serve(context: &'static Context, flags: Flags) -> anyhow::Result<()> {
    let workers = flags.workers.unwrap_or_else(options::cores);
    let listener = listener::bind(&context.options)?;
    let address = listener.local_addr()?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("epoll_create1")?;
    let stopping = EventFd::from_flags(EfdFlags::EFD_CLOEXEC).context("eventfd")?;
    let mut shared = Shared::new(context)?;
    let each_time = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
    epoll
        .add(&listener, once(READ, LISTENER))
        .and_then(|()| epoll.add(&stopping, once(READ, STOP)))
        .and_then(|()| epoll.add(shared.timer(), EpollEvent::new(each_time, TIMER)))
        .context("epoll_ctl")?;
    shared.listener = Some(listener);
    let server: &'static Server = Box::leak(Box::new(Server {
        context,
        epoll,
        stopping,
        shared: Mutex::new(shared),
    }));
    let workers = (0..workers).map(|worker| move || server.run(worker));
    // It fails only after 2^64 - 2 calls.
    let stop = || _ = server.stopping.write(1);
    workers::run(context, workers, || listener::announce(address), stop)
}

struct Server {
    context: &'static Context,
    epoll: Epoll,
    /// Readable from the stop on.
    stopping: EventFd,
    /// Nobody serves a client while it has the lock.
    shared: Mutex<Shared>,
}

impl Server {
    fn run(&self, worker: usize) -> anyhow::Result<()> {
        loop {
            match self.wait()? {
                STOP => self.stop(worker)?,
                FINISHED => return Ok(()),
                TIMER => self.step_due()?,
                LISTENER => self.accept(worker, ACCEPTS_PER_TURN)?,
                token => self.step(token)?,
            }
        }
    }

    /// The one place where a worker blocks.
    fn wait(&self) -> anyhow::Result<u64> {
        let mut events = [EpollEvent::empty()];
        loop {
            let waiting = trace::wait("epoll_wait", None, || self.lock().awaited());
            match self.epoll.wait(&mut events, EpollTimeout::NONE) {
                Err(Errno::EINTR) => {}
                result => {
                    result.context("epoll_wait")?;
                    let token = events[0].data();
                    waiting.woke(|| vec![self.lock().name(token)]);
                    return Ok(token);
                }
            }
        }
    }

    /// Accepts at most `most` of the clients that wait, while there is room for them.
    fn accept(&self, worker: usize, most: usize) -> anyhow::Result<()> {
        for _ in 0..most {
            // The lock is taken anew for each client, so that the other workers can go on.
            let shared = &mut *self.lock();
            let Some(listener) = &shared.listener else {
                break;
            };
            if !shared.have_room() {
                break;
            }
            match accept(self.context, listener, Blocking::None)? {
                Accepted::Client(socket) => {
                    self.context.stats.took(worker);
                    let (token, client) = shared.insert(socket)?;
                    if let Err(errno) = self.epoll.add(client, once(READ, token)) {
                        shared.fail(token, errno);
                    }
                }
                Accepted::None => break,
                Accepted::Overloaded => shared.overloaded()?,
            }
        }
        let shared = &mut *self.lock();
        shared.listens = false;
        self.arrange(shared)
    }

    /// Moves the bytes of one client, and arms it again. Then the kernel reports what is left in
    /// its socket.
    fn step(&self, token: u64) -> anyhow::Result<()> {
        let mut mine = self.lock().take(token);
        while let Some(mut client) = mine {
            let mut next = client.step(Trigger::Level);
            if next == Next::Wait {
                let mut armed = once(client.interest(), token);
                if let Err(errno) = self.epoll.modify(&client, &mut armed) {
                    client.fail(errno);
                    next = Next::Closed;
                }
            }
            if next == Next::Closed {
                self.close(client);
                let shared = &mut *self.lock();
                shared.remove(token);
                return self.arrange(shared);
            }
            let shared = &mut *self.lock();
            mine = shared.put_back(token, client, next)?;
            self.arrange(shared)?;
        }
        Ok(())
    }

    /// Serves one client that is due. If there are more, the timer fires again, for any worker.
    fn step_due(&self) -> anyhow::Result<()> {
        let mut shared = self.lock();
        let due = shared.due()?;
        self.arrange(&mut shared)?;
        drop(shared);
        due.map_or(Ok(()), |token| self.step(token))
    }

    /// Accepts the clients that still wait, closes the listener, and lets each client's input end with what
    /// has arrived.
    fn stop(&self, worker: usize) -> anyhow::Result<()> {
        self.accept(worker, usize::MAX)?;
        let shared = &mut *self.lock();
        if let Some(listener) = shared.listener.take() {
            self.close(listener);
            shared.stop()?;
        }
        self.arrange(shared)
    }

    /// To be called after each change: tells the kernel which events are wanted next.
    fn arrange(&self, shared: &mut Shared) -> anyhow::Result<()> {
        if let Some(listener) = &shared.listener
            && !shared.listens
            && shared.have_room()
        {
            let armed = self.epoll.modify(listener, &mut once(READ, LISTENER));
            shared.listens = armed.is_ok();
            if armed.is_err() {
                shared.overloaded()?;
            }
        }
        if shared.is_finished() {
            // This entry is not EPOLLONESHOT: every worker gets the event.
            let mut all = EpollEvent::new(EpollFlags::EPOLLIN, FINISHED);
            let told = self.epoll.modify(&self.stopping, &mut all);
            told.context("epoll_ctl")?;
        }
        Ok(())
    }

    /// Takes a socket out of the interest set and closes it. If another worker is looking at it
    /// inside of `epoll_wait`, close alone would take effect only when that call returns.
    fn close(&self, socket: impl AsFd) {
        // It fails if the socket was never entered.
        let _ = self.epoll.delete(&socket);
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().expect("workers do not panic")
    }
}

/// An entry of the interest set that is reported once.
fn once(interest: Interest, token: u64) -> EpollEvent {
    let mut flags = EpollFlags::EPOLLONESHOT;
    flags.set(EpollFlags::EPOLLIN, interest.read);
    flags.set(EpollFlags::EPOLLOUT, interest.write);
    EpollEvent::new(flags, token)
}

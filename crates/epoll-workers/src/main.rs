//! # epoll-workers: threads share one epoll
//!
//! One loop keeps one core busy. Here several threads wait on the same epoll, and whichever is
//! free takes the next client that is ready: a queue with many counters.
//!
//! ```text
//!   clients --> sockets --> [ interest set ] --> [ ready list ]
//!                                ^                |    |    |  epoll_wait
//!                                |              worker 0  1  2
//!                             epoll_ctl: armed again ---'
//! ```
//!
//! * System calls: `epoll_wait`, `epoll_ctl` for each event; `accept4`, `read`, `write`.
//! * What breaks it: two workers serve one client at once, and its bytes come out in any order.
//!   Every entry is therefore `EPOLLONESHOT`: the kernel tells of it once and disarms it, and
//!   whoever was told arms it again when done. Arming asks the socket anew, so what came in
//!   between is told, and no wake-up is lost. (`EPOLLEXCLUSIVE` is another thing: it wakes one of
//!   several epolls, and the kernel does not allow it together with `EPOLLONESHOT`.)
//! * A client may also be stepped because the server stops or its time is over. So a lock goes
//!   with each connection, which is free whenever only its one event is at work.
//! * An event may be older than its client: while a worker was on its way, another dropped the
//!   client for being idle, and a new one took its place. Every client has a number of its own,
//!   and an event for a number that is gone is nobody's.
//! * A worker takes one event at a time. With more, the later ones would wait for that worker
//!   while others have nothing to do.
//! * Nobody is in charge: whoever is told of the stop signal sees to the stop, and whoever sets a
//!   deadline wakes for it, or finds that another has been there before.
//!
//! Source: epoll(7), on `EPOLLONESHOT`; Marek Majkowski, "Epoll is fundamentally broken", 2017.
#![forbid(unsafe_code)]

use std::os::fd::AsRawFd;
use std::process::ExitCode;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::socket::{Shutdown, shutdown};
use serverkit::accept::{Accepted, Blocking, accept};
use serverkit::clients::ACCEPTS_PER_TURN;
use serverkit::deadlines::millis;
use serverkit::listener::{Listener, announce};
use serverkit::nonblocking::{Connection, Next, Until};
use serverkit::session::Interest;
use serverkit::stop::StopSignal;
use serverkit::{Context, Model, options, trace, workers};

use crate::clients::{Clients, FINISHED, LISTENER, STOP};

mod clients;
mod leave;

const MODEL: Model<Flags> = Model {
    name: "epoll-workers",
    family: "readiness",
    summary: "Several threads wait on one epoll, and each client that is ready goes to one of them",
    descriptors: None,
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
    context.stats.set_workers(workers);
    // Blocked before there are threads that could take them.
    let stop = StopSignal::new()?;
    let listener = Listener::bind(&context.options)?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let finished = EventFd::from_flags(EfdFlags::EFD_CLOEXEC)?;
    epoll.add(&stop, once(EpollFlags::EPOLLIN, STOP))?;
    epoll.add(&listener, once(EpollFlags::EPOLLIN, LISTENER))?;
    epoll.add(&finished, EpollEvent::new(EpollFlags::EPOLLIN, FINISHED))?;
    let address = listener.address();
    let server = &Server {
        context,
        epoll,
        stop,
        finished,
        clients: Mutex::new(Clients::new(context, listener)),
    };
    workers::run(
        (0..workers).map(|worker| move || server.run(worker)),
        || announce(address),
        || server.finish(),
    )
}

/// What the workers share. Who holds the lock of one client may take that of all of them, never
/// the other way round.
struct Server {
    context: &'static Context,
    epoll: Epoll,
    stop: StopSignal,
    /// Readable for ever when there is nothing more to do: it wakes every worker.
    finished: EventFd,
    clients: Mutex<Clients>,
}

impl Server {
    fn run(&self, worker: usize) -> anyhow::Result<()> {
        loop {
            let timeout = self.expire()?;
            match self.wait(worker, timeout)? {
                None => {}
                Some(LISTENER) => self.accept(worker)?,
                Some(STOP) => self.begin_stop()?,
                Some(FINISHED) => return Ok(()),
                Some(number) => self.step(number)?,
            }
        }
    }

    /// The one place where a worker blocks.
    fn wait(&self, worker: usize, timeout: Option<Duration>) -> nix::Result<Option<u64>> {
        let mut events = [EpollEvent::empty()];
        let timeout = EpollTimeout::from(millis(timeout));
        let ready = match self.epoll.wait(&mut events, timeout) {
            Err(Errno::EINTR) => 0,
            result => result?,
        };
        let what = events[..ready].first().map(EpollEvent::data);
        trace!(
            self.context,
            "worker {worker}: epoll_wait: {}",
            self.clients().name(what)
        );
        Ok(what)
    }

    /// Moves the bytes of one client, and arms it again.
    fn step(&self, number: u64) -> nix::Result<()> {
        let Some(client) = self.clients().find(number) else {
            return Ok(());
        };
        let mut place = client.lock();
        let Some(connection) = place.as_mut() else {
            return Ok(());
        };
        if connection.step(Until::ShortRead) == Next::Closed {
            return self.close(number, &mut place);
        }
        if let Some(deadline) = connection.deadline() {
            self.clients().set_deadline(number, deadline);
        }
        let mut armed = once(flags(connection.interest()), number);
        if let Err(errno) = self.epoll.modify(&*connection, &mut armed) {
            connection.abort(errno);
            return self.close(number, &mut place);
        }
        Ok(())
    }

    /// Closes a client's socket, which takes it out of the epoll, and makes room for the next.
    fn close(&self, number: u64, place: &mut Option<Connection>) -> nix::Result<()> {
        if let Some(connection) = place.take() {
            // Another worker may be looking at this socket inside of `epoll_wait`. Then the kernel
            // lets go of it only when that call returns: the client must not have to wait for it.
            let _ = shutdown(connection.as_raw_fd(), Shutdown::Both);
        }
        let mut clients = self.clients();
        clients.remove(number);
        self.settle(&mut clients)
    }

    fn accept(&self, worker: usize) -> anyhow::Result<()> {
        self.clients().listening = false;
        for _ in 0..ACCEPTS_PER_TURN {
            // Locked for each one, so that the other workers get on.
            let mut clients = self.clients();
            let Some(listener) = clients.open_listener() else {
                break;
            };
            match accept(self.context, listener, Blocking::No)? {
                Accepted::None => break,
                Accepted::Overloaded => clients.overloaded(),
                Accepted::Client(socket) => {
                    self.context.stats.took(worker);
                    let mut connection = Connection::new(self.context, socket);
                    let number = clients.next_number();
                    let armed = once(flags(connection.interest()), number);
                    match self.epoll.add(&connection, armed) {
                        Ok(()) => clients.enter(number, connection),
                        Err(errno) => connection.abort(errno),
                    }
                }
            }
        }
        Ok(self.settle(&mut self.clients())?)
    }

    /// Arms the listener if there is room, or else it would wake a worker for nothing; ends the
    /// workers when all is done.
    fn settle(&self, clients: &mut Clients) -> nix::Result<()> {
        if !clients.listening
            && let Some(listener) = clients.open_listener()
        {
            self.epoll
                .modify(listener, &mut once(EpollFlags::EPOLLIN, LISTENER))?;
            clients.listening = true;
        }
        if clients.is_finished() {
            self.finish();
        }
        Ok(())
    }

    fn clients(&self) -> MutexGuard<'_, Clients> {
        self.clients.lock().expect("workers do not panic")
    }
}

/// An entry of the interest set that is told of once.
fn once(flags: EpollFlags, what: u64) -> EpollEvent {
    EpollEvent::new(flags | EpollFlags::EPOLLONESHOT, what)
}

fn flags(interest: Interest) -> EpollFlags {
    let mut flags = EpollFlags::empty();
    flags.set(EpollFlags::EPOLLIN, interest.read);
    flags.set(EpollFlags::EPOLLOUT, interest.write);
    flags
}

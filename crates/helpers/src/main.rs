//! # helpers: one loop for the clients, threads for what takes time
//!
//! A handler that takes long stops a loop for everybody. A thread for each client is idle most of
//! the time. So here a loop owns all sockets, and a request that computes or blocks goes to a pool
//! of threads, the helpers. So the number of threads depends on the requests in progress, not on
//! the clients.
//!
//! ```text
//!   sockets <--> epoll loop --- request ---> [ channel ] ---> helpers: compute, block
//!                    ^                                            |
//!                    +-- eventfd <-- done --- [ channel ] <-------+
//! ```
//!
//! * System calls: those of `epoll`. For a request that helpers work on also `futex`, and a `write`
//!   and a `read` of the eventfd. Requests that finish together share these.
//! * What breaks it: a lost wake-up, because a helper writes to the eventfd only if the loop has
//!   not been told yet (`pool.rs`). And more slow requests than helpers: others wait in the
//!   channel.
//! * A client has one request in progress at a time. Meanwhile the loop does not read from it. So
//!   its answers keep their order, and neither queue is longer than the number of clients.
//! * If the kernel reports such a client all the same, the client leaves the interest set until its
//!   answer is there. So the server does not notice before then if the client has gone.
//!
//! Source: Douglas Schmidt, Charles Cranor, "Half-Sync/Half-Async", 1995; Vivek Pai, "Flash", 1999.
#![forbid(unsafe_code)]

use std::mem::replace;
use std::net::TcpListener;
use std::process::ExitCode;

use anyhow::Context as _;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use serverkit::accept::{Accepted, Blocking, accept};
use serverkit::clients::{ACCEPTS_PER_TURN, Clients, LISTENER, POOL, STOP};
use serverkit::deadlines::millis;
use serverkit::nonblocking::{Next, Trigger};
use serverkit::session::{Interest, READ};
use serverkit::stop::StopSignal;
use serverkit::{Context, Limits, Model, limits, listener, options};

mod pool;
use pool::Pool;

const MODEL: Model<Flags> = Model {
    name: "helpers",
    family: "readiness",
    summary: "One epoll loop owns all sockets, and threads do the requests that take time",
    limits: |context, flags| Limits {
        why: format!(
            "one descriptor for each client (ulimit -Hn), or --max-connections; with {} requests \
             that work or block at once (--helpers), further ones wait",
            flags.helpers(context)
        ),
        ..context.descriptor_limits()
    },
};

#[derive(Debug, Clone, Copy, clap::Args)]
struct Flags {
    /// Threads for the requests that work or block
    #[arg(long, value_name = "N", default_value = "64", value_parser = options::workers)]
    helpers: usize,
}

impl Flags {
    fn helpers(self, context: &Context) -> usize {
        self.helpers.min(limits::threads(context))
    }
}

fn main() -> ExitCode {
    serverkit::main(&MODEL, serve)
}

fn serve(context: &'static Context, flags: Flags) -> anyhow::Result<()> {
    limits::share_one_heap();
    let stop_signal = StopSignal::new()?;
    let listener = listener::bind(&context.options)?;
    let pool = Pool::start(flags.helpers(context))?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("epoll_create1")?;
    epoll
        .add(&stop_signal, event(READ, STOP))
        .and_then(|()| epoll.add(&listener, event(READ, LISTENER)))
        .and_then(|()| epoll.add(&pool, event(READ, POOL)))
        .context("epoll_ctl")?;
    listener::announce(listener.local_addr()?)?;
    Server {
        context,
        stop_signal,
        listener: Some(listener),
        listens: true,
        epoll,
        pool,
        clients: Clients::new(context, context.max_connections()),
        asked: Vec::new(),
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
    pool: Pool,
    clients: Clients,
    /// What the kernel is asked about each client, by key; `None`: it is not in the interest set.
    asked: Vec<Option<Interest>>,
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
                    POOL => self.finish()?,
                    key => self.step(key)?,
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
            let read = !self.listens;
            let interest = Interest { read, write: false };
            match self.epoll.modify(listener, &mut event(interest, LISTENER)) {
                Ok(()) => self.listens = !self.listens,
                // accept is tried again in a moment.
                Err(_) => self.clients.overloaded(),
            }
        }

        let mut events = [EpollEvent::empty(); 512];
        let most = self.clients.timeout();
        let timeout = millis(most).map_or(EpollTimeout::NONE, EpollTimeout::from);
        let listens = self.listener.is_some() && self.listens;
        let waiting = self.clients.wait("epoll_wait", most, listens);
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
                    self.asked.resize(self.asked.len().max(key + 1), None);
                    self.asked[key] = Some(READ);
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

    /// Moves the bytes of one client, and gives a request that takes time to the helpers.
    fn step(&mut self, key: usize) -> anyhow::Result<()> {
        let mut job = None;
        let next = self.clients.step_by(key, Trigger::Level, |client, most| {
            let (answered, demanded) = client.answer_apart(most);
            job = job.or(demanded);
            answered
        });
        match job {
            _ if next == Next::Closed => {}
            Some(job) => self.pool.give(key, job),
            None => self.ask(key)?,
        }
        Ok(())
    }

    /// Goes on with the clients whose requests the helpers have done.
    fn finish(&mut self) -> anyhow::Result<()> {
        for key in self.pool.done()? {
            self.clients.finish(key);
            self.step(key)?;
        }
        Ok(())
    }

    /// Changes what the kernel is asked about a client. Of one whose request is in progress a report
    /// would come again and again.
    fn ask(&mut self, key: usize) -> anyhow::Result<()> {
        let client = &self.clients[key];
        let interest = (!client.is_held()).then(|| client.interest());
        let changed = match (replace(&mut self.asked[key], interest), interest) {
            (asked, wanted) if asked == wanted => Ok(()),
            (_, None) => return self.epoll.delete(client).context("epoll_ctl"),
            (None, Some(interest)) => self.epoll.add(client, event(interest, key)),
            (_, Some(interest)) => self.epoll.modify(client, &mut event(interest, key)),
        };
        if let Err(errno) = changed {
            self.clients.fail(key, errno);
        }
        Ok(())
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

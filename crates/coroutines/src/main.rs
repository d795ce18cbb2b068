//! # coroutines: the stack is parked in place of the thread
//!
//! Blocking code is easy to read, but costs a thread for each client. A loop is cheap, but it cuts
//! the code into pieces: the program must keep the state of each client by hand between two turns.
//! Here each client has a stack, but all share one thread. A read that would block switches to the
//! loop's own stack. When the socket is ready, the loop switches back, and the read returns.
//!
//! ```text
//!   stack of client 7   read ...parked...       --+
//!   stack of client 8   write ...parked...      --+--> loop: epoll_wait, switch to a stack
//!   stack of client 9   read, answer, write     --+     <-- switch back: it would block
//! ```
//!
//! * System calls: those of `epoll`; `mmap` and `mprotect` for a stack. A switch is no system call:
//!   it saves the registers in use and loads others.
//! * `async` does the same without stacks: there the compiler keeps the state in a struct, and each
//!   function on the way to an `await` must be async. Here any function can park.
//! * What breaks it: code that really blocks, or computes for long, because all clients wait. And a
//!   stack that grows too deep: it meets a guard page, which ends the process (`stacks.rs`).
//! * A stack takes two mappings, and a long message may take a third for its buffer. The kernel
//!   grants a process a limited number. A stack also takes all pages that it has ever used: one or
//!   two (4 KiB each) for a client, silent or not. If there is no stack for another client, the
//!   server does not accept one.
//!
//! Source: Rob von Behren et al., "Capriccio: Scalable Threads for Internet Services", SOSP 2003;
//! goroutines in Go, there on several threads.
#![forbid(unsafe_code)]

mod clients;
mod conversation;
mod stacks;
mod stream;

use std::net::TcpListener;
use std::process::ExitCode;

use anyhow::Context as _;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use serverkit::accept::{Accepted, Blocking, accept};
use serverkit::clients::{ACCEPTS_PER_TURN, LISTENER, STOP};
use serverkit::deadlines::millis;
use serverkit::session::{Interest, READ};
use serverkit::stop::StopSignal;
use serverkit::{Context, Limits, Model, NoFlags, limits, listener};

use crate::clients::Clients;
use crate::conversation::converse;
use crate::stacks::STACK;

const MODEL: Model<NoFlags> = Model {
    name: "coroutines",
    family: "runtime",
    summary: "Each client has a stack, which is parked in a loop over epoll when it would block",
    limits: |context, _| Limits {
        clients: context.max_connections().min(stack_limit(context)),
        why: format!(
            "a stack for each client: {} fit into the mappings and addresses of a process \
             (vm.max_map_count, ulimit -v); one descriptor (ulimit -Hn), or --max-connections; a \
             stuck client holds up nobody else",
            stack_limit(context)
        ),
    },
};

/// How many clients can have a stack.
fn stack_limit(context: &Context) -> usize {
    limits::parked_stacks(context, STACK)
}

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
    let stacks = stack_limit(context);
    if stacks < context.max_connections() {
        context.complain(format_args!(
            "clients at once: {stacks} at most, for each may take three mappings (vm.max_map_count), and addresses \
             (ulimit -v)"
        ));
    }
    listener::announce(listener.local_addr()?)?;
    Server {
        context,
        stop_signal,
        listener: Some(listener),
        listens: true,
        epoll,
        clients: Clients::new(context, stacks),
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
            let Some(stack) = self.clients.stack() else {
                break;
            };
            match accept(self.context, listener, Blocking::None)? {
                Accepted::Client(socket) => {
                    let key = self.clients.insert(socket, stack, converse);
                    if let Err(errno) = self.epoll.add(&self.clients[key], event(READ, key)) {
                        self.clients.fail(key, errno);
                    }
                }
                Accepted::None => {
                    self.clients.give_back(stack);
                    break;
                }
                Accepted::Overloaded => {
                    self.clients.give_back(stack);
                    self.clients.overloaded();
                }
            }
        }
        Ok(())
    }

    /// Goes on with one client's conversation, until it would block. The next wait reports what is
    /// left in its socket.
    fn step(&mut self, key: usize) {
        let Some(before) = self.clients.get(key).map(|client| client.interest) else {
            return;
        };
        self.clients.resume(key);
        if let Some(client) = self.clients.get(key)
            && client.interest != before
            && let Err(errno) = self.epoll.modify(client, &mut event(client.interest, key))
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

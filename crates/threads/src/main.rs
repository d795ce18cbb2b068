//! # threads: a thread for each client
//!
//! Each client gets a thread that blocks for it alone, and the kernel's scheduler does the
//! waiting: of ten thousand threads only those run whose client has sent something. The code of
//! one client stays as simple as in `sequential`.
//!
//! ```text
//!                     +-- spawn --> thread: recv, send, recv ...   client 1
//!   accept (main) ----+-- spawn --> thread: recv, send, recv ...   client 2
//!      ^              +-- spawn --> thread: recv, send, recv ...   client 3
//!      +-- unpark ----------------- a thread has ended: room for another client
//! ```
//!
//! * System calls: `accept4`, `clone3` (with `mmap` for the stack), `recv`, `send`, `futex`.
//! * What it costs: a stack, which is small here, and a kernel thread for each client, also for
//!   those that sleep; a switch to another thread for each message.
//! * What breaks it: there may be no thread to be had, now that the client is already accepted.
//!   Then the client is kept, and no other is accepted until its thread could be made. (`room.rs`
//!   looks after the one case in which a thread that cannot be made ends the process.)
//! * To stop, each thread is interrupted in its blocking call, answers what has arrived, and ends.
//!
//! Source: W. Richard Stevens, "UNIX Network Programming", volume 1, chapter 26; Paul Tyma,
//! "Thousands of Threads and Blocking I/O", 2008.
#![deny(unsafe_code)]

mod room;

use std::collections::{HashSet, VecDeque};
use std::net::TcpStream;
use std::process::ExitCode;
use std::sync::{Mutex, MutexGuard};
use std::thread::{self, Thread};

use anyhow::Context as _;
use nix::sys::pthread::{Pthread, pthread_self};
use serverkit::accept::{Accepted, Blocking, RETRY, accept};
use serverkit::listener::Listener;
use serverkit::{Context, Limits, Model, NoFlags, blocking, stop, trace};

const MODEL: Model<NoFlags> = Model {
    name: "threads",
    family: "blocking",
    summary: "A thread for each client, which blocks for that client alone",
    descriptors: None,
    limits: |context, _| {
        let room = room::for_clients(context);
        if context.max_connections() <= room {
            return context.descriptor_limits();
        }
        Limits {
            clients: Some(room),
            why:
                "two stacks for each client in the address space (vm.max_map_count, ulimit -v); a \
                  stuck client holds its own thread and nobody else's"
                    .to_owned(),
        }
    },
};

fn main() -> ExitCode {
    serverkit::main(&MODEL, serve)
}

fn serve(context: &'static Context, _: NoFlags) -> anyhow::Result<()> {
    room::share_one_heap();
    let server: &Server = Box::leak(Box::new(Server {
        context,
        listener: Listener::bind(&context.options)?.blocking()?,
        acceptor: thread::current(),
        capacity: context.max_connections().min(room::for_clients(context)),
        clients: Mutex::default(),
    }));
    stop::watch(|| {
        server.listener.close();
        server.acceptor.unpark();
    })
    .context("no thread to wait for the stop signals")?;
    server.listener.announce();
    server.accept_clients()?;
    server.interrupt_clients();
    Ok(())
}

/// What the threads share; it lives as long as the process.
struct Server {
    context: &'static Context,
    listener: Listener,
    /// The main thread.
    acceptor: Thread,
    /// Clients at once, at most.
    capacity: usize,
    clients: Mutex<Clients>,
}

#[derive(Default)]
struct Clients {
    /// Accepted and not yet closed.
    open: usize,
    /// Those of them whose thread has not yet begun. A thread takes the first one: were the
    /// client handed over with the call that makes the thread, it would be lost when that fails.
    waiting: VecDeque<TcpStream>,
    /// The threads that serve the others.
    threads: HashSet<Pthread>,
}

impl Server {
    fn accept_clients(&'static self) -> anyhow::Result<()> {
        while !stop::requested() {
            if self.clients().open >= self.capacity {
                trace!(self.context, "full: waiting for a client to leave");
                thread::park();
                continue;
            }
            trace!(self.context, "accept: waiting for a client");
            match accept(self.context, &self.listener, Blocking::Yes) {
                Ok(Accepted::Client(client)) => self.start_thread(client),
                Ok(Accepted::None) => {}
                Ok(Accepted::Overloaded) => thread::park_timeout(RETRY),
                Err(_) if stop::requested() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Starts a thread for the client, as soon as there is one to be had.
    fn start_thread(&'static self, client: TcpStream) {
        let mut clients = self.clients();
        clients.open += 1;
        clients.waiting.push_back(client);
        drop(clients);
        let start = || {
            thread::Builder::new()
                .stack_size(room::STACK)
                .spawn(|| self.serve_client())
        };
        while let Err(error) = start() {
            if stop::requested() {
                self.clients().waiting.pop_back();
                self.context.stats.refuse();
                return;
            }
            trace!(self.context, "no thread: {error}; the client is kept");
            thread::park_timeout(RETRY);
        }
    }

    /// A thread, from its beginning to its end.
    fn serve_client(&self) {
        let this = pthread_self();
        let mut clients = self.clients();
        let client = clients.waiting.pop_front();
        clients.threads.insert(this);
        drop(clients);
        if let Some(client) = client {
            blocking::serve(self.context, &client);
        }
        let mut clients = self.clients();
        clients.threads.remove(&this);
        clients.open -= 1;
        drop(clients);
        self.acceptor.unpark();
    }

    /// Lets the threads notice the stop, until the last has ended or the grace is over.
    fn interrupt_clients(&self) {
        let patience = self.context.options.grace + stop::ALLOWANCE;
        loop {
            let clients = self.clients();
            if clients.open == 0 || stop::overdue(patience) {
                return;
            }
            // While the lock is held, none of these threads can end.
            clients.threads.iter().copied().for_each(stop::interrupt);
            drop(clients);
            thread::sleep(stop::INTERRUPT_AGAIN);
        }
    }

    fn clients(&self) -> MutexGuard<'_, Clients> {
        self.clients
            .lock()
            .expect("no thread panics while it holds the lock")
    }
}

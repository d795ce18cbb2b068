//! # threads: a thread for each client
//!
//! Each client gets a thread that blocks for it alone. The kernel's scheduler does the rest: of ten
//! thousand threads only those run whose client has sent something. The code for one client stays
//! as simple as in `sequential`.
//!
//! ```text
//!                     +-- spawn --> thread: recv, send, recv ...   client 1
//!   accept (main) ----+-- spawn --> thread: recv, send, recv ...   client 2
//!      ^              +-- spawn --> thread: recv, send, recv ...   client 3
//!      +-- unpark ----------------- a thread has ended: there is room for another client
//! ```
//!
//! * System calls: `accept4`, `clone3` (with `mmap` for the stack), `recvfrom`, `sendto`, `futex`.
//! * What it costs: a kernel thread and a stack (small here) for each client, even a silent one,
//!   and a switch to another thread for each message.
//! * What breaks it: no thread can be created for a client that is already accepted. Then this
//!   server keeps the socket and tries again. Until that succeeds, it accepts nobody else. It
//!   computes beforehand for how many threads the memory has room (`serverkit::limits`).
//! * At a stop the clients in the backlog get their threads, too. A signal interrupts each thread
//!   in its blocking call. The thread answers what has arrived, and ends.
//!
//! Source: W. Richard Stevens, "UNIX Network Programming", volume 1, chapter 26; Paul Tyma,
//! "Thousands of Threads and Blocking I/O", 2008.
#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::net::TcpListener;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, Thread};
use std::time::Duration;

use nix::sys::pthread::{Pthread, pthread_self};
use serverkit::accept::{Accepted, Blocking, RETRY, Socket, accept, refuse};
use serverkit::trace::{self, Event};
use serverkit::workers::watch;
use serverkit::{Context, Limits, Model, NoFlags, blocking, limits, listener, stop};

const MODEL: Model<NoFlags> = Model {
    name: "threads",
    family: "blocking",
    summary: "A thread for each client, which blocks for that client alone",
    limits: |context, _| {
        let threads = limits::threads(context);
        if context.max_connections() <= threads {
            return context.descriptor_limits();
        }
        Limits {
            clients: threads,
            why: "two stacks for each client in the address space (vm.max_map_count, ulimit -v); \
                  a stuck client holds its own thread and nobody else's"
                .to_owned(),
        }
    },
};

fn main() -> ExitCode {
    serverkit::main(&MODEL, serve)
}

fn serve(context: &'static Context, _: NoFlags) -> anyhow::Result<()> {
    limits::share_one_heap();
    let listener = listener::bind(&context.options)?;
    listener.set_nonblocking(false)?;
    let server: &Server = Box::leak(Box::new(Server {
        context,
        listener,
        acceptor: (thread::current(), pthread_self()),
        capacity: context.max_connections().min(limits::threads(context)),
        clients: Mutex::default(),
    }));
    watch(context, || server.interrupt())?;
    listener::announce(server.listener.local_addr()?)?;
    server.run()
}

/// What the threads share; it lives as long as the process.
struct Server {
    context: &'static Context,
    listener: TcpListener,
    /// The main thread.
    acceptor: (Thread, Pthread),
    /// Clients at once, at most.
    capacity: usize,
    clients: Mutex<Clients>,
}

#[derive(Default)]
struct Clients {
    /// Accepted and not yet closed.
    open: usize,
    /// The threads that serve them.
    threads: HashSet<Pthread>,
}

impl Server {
    fn run(&'static self) -> anyhow::Result<()> {
        while !stop::requested() {
            if self.is_full() {
                wait_for_leave(None);
                continue;
            }
            match accept(self.context, &self.listener, Blocking::Both)? {
                Accepted::Client(client) => self.start_thread(client),
                Accepted::None => {}
                Accepted::Overloaded => wait_for_leave(Some(RETRY)),
            }
        }
        self.stop()
    }

    fn is_full(&self) -> bool {
        self.clients().open >= self.capacity
    }

    /// Starts a thread for the client, as soon as one can be made.
    fn start_thread(&'static self, client: Socket) {
        // A failed spawn drops what was to move into the thread. So it is not the only owner.
        let client = Arc::new(client);
        let spawn = |client: Arc<Socket>| {
            thread::Builder::new()
                .stack_size(limits::STACK)
                .spawn(move || self.serve_client(client))
        };
        while !stop::overdue(self.context.options.grace) {
            self.clients().open += 1;
            let Err(error) = spawn(Arc::clone(&client)) else {
                return trace::spawned("clone3", "thread", client.number() as usize);
            };
            self.clients().open -= 1;
            trace::note(Some(client.number()), || {
                format!("no thread: {error}; it is kept")
            });
            wait_for_leave(Some(RETRY));
        }
        refuse(self.context, client.number(), "no thread");
    }

    /// A thread, from its beginning to its end.
    fn serve_client(&self, client: Arc<Socket>) {
        trace::i_am("thread", client.number() as usize);
        let this = pthread_self();
        self.clients().threads.insert(this);
        blocking::serve(self.context, &client);
        drop(client);
        let mut clients = self.clients();
        clients.threads.remove(&this);
        clients.open -= 1;
        drop(clients);
        trace::tell(|| Event::Exit {
            why: "its client has gone",
        });
        self.acceptor.0.unpark();
    }

    /// Accepts the clients that still wait, closes the listener, and waits until the last thread has ended.
    fn stop(&'static self) -> anyhow::Result<()> {
        let grace = self.context.options.grace;
        self.listener.set_nonblocking(true)?;
        let mut waiting = Vec::new();
        while let Accepted::Client(client) = accept(self.context, &self.listener, Blocking::Client)?
        {
            waiting.push(client);
        }
        listener::shut_down(&self.listener);
        for client in waiting {
            while self.is_full() && !stop::overdue(grace) {
                wait_for_leave(None);
            }
            self.start_thread(client);
        }
        while self.clients().open > 0 {
            wait_for_leave(None);
        }
        Ok(())
    }

    /// After a stop signal, again and again: no thread stays in a blocking call.
    fn interrupt(&self) {
        let (acceptor, its_pthread) = &self.acceptor;
        acceptor.unpark();
        stop::interrupt(*its_pthread);
        // While the lock is held, none of these threads can end.
        let clients = self.clients();
        clients.threads.iter().copied().for_each(stop::interrupt);
    }

    fn clients(&self) -> MutexGuard<'_, Clients> {
        self.clients
            .lock()
            .expect("no thread panics while it holds the lock")
    }
}

/// The acceptor waits until a thread has ended, for at most this time.
fn wait_for_leave(most: Option<Duration>) {
    let waiting = trace::wait("futex", most, || vec!["a client to leave".to_owned()]);
    most.map_or_else(thread::park, thread::park_timeout);
    let another = || vec!["another thread".to_owned()];
    waiting.woke(|| most.map_or_else(another, |_| Vec::new()));
}

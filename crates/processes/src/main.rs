//! # processes: a process for each client
//!
//! The oldest way to serve many: the parent accepts, forks, and forgets the client. The child has a
//! copy of the connection, serves it with blocking calls and exits. The kernel keeps the clients
//! apart: a client that crashes its process harms no other client.
//!
//! ```text
//!                          +-- fork --> child: recv, send, recv ...   client 1
//!   poll, accept (parent) -+-- fork --> child: recv, send, recv ...   client 2
//!     ^                    +-- fork --> child: recv, send, recv ...   client 3
//!     +---- SIGCHLD ------------------- exit
//!     +---- waitpid: the child leaves the table of processes
//! ```
//!
//! * System calls of the parent: `poll`, `accept4`, `fork` (Linux calls it `clone`), `close`; at a
//!   child's end `poll`, `read` (the signals come from a descriptor) and `wait4`. Of the child:
//!   `prctl`, `rt_sigaction`, `recvfrom`, `sendto`, `exit_group`.
//! * What it costs: for each client the kernel copies the parent's page tables, and later frees
//!   them.
//! * What breaks it: zombies. A child that has ended stays in the table of processes until its
//!   parent waits for it. Signals are not queued, so one SIGCHLD may stand for many children. And
//!   each side must close its copy of the connection, or the client never sees the end. If no
//!   process can be created for a client that is already accepted, the parent keeps the client and
//!   tries again.
//! * Not every process that ends has served a client: a shell that became this server by `exec` may
//!   have had children.
//! * At a stop the parent signals the children, which answer what has arrived and exit. It also
//!   forks for the clients that still wait.
//!
//! Source: W. Richard Stevens, "UNIX Network Programming", volume 1, chapters 5 and 30.
#![deny(unsafe_code)]

use std::collections::VecDeque;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serverkit::accept::{Accepted, Blocking, RETRY, Socket, accept, refuse};
use serverkit::child::{Ended, Parent, lose};
use serverkit::{Context, Limits, Model, NoFlags, blocking, listener, stop, trace};

const MODEL: Model<NoFlags> = Model {
    name: "processes",
    family: "blocking",
    summary: "A forked process for each client, which blocks for that client alone",
    limits: |context, _| Limits {
        clients: context.max_connections(),
        why: "a process for each client, by default as many as the parent may have descriptors; a \
              stuck client holds its own process and nobody else's"
            .to_owned(),
    },
};

fn main() -> ExitCode {
    serverkit::main(&MODEL, serve)
}

#[allow(unsafe_code, reason = "a promise about threads")]
fn serve(context: &'static Context, _: NoFlags) -> anyhow::Result<()> {
    // SAFETY: there is one thread, this one, and it starts no other.
    let parent = unsafe { Parent::new(context) }?;
    let listener = listener::bind(&context.options)?;
    listener::announce(listener.local_addr()?)?;
    let mut server = Server {
        context,
        parent,
        listener: Some(listener),
        waiting: VecDeque::new(),
        retry_at: None,
    };
    let result = server.run();
    server.parent.kill();
    result
}

/// The parent.
struct Server {
    context: &'static Context,
    parent: Parent,
    /// `None` once nobody is accepted any more.
    listener: Option<TcpListener>,
    /// Accepted, and there was no process for them yet.
    waiting: VecDeque<Socket>,
    /// When to try again, after memory, a process or a descriptor was missing.
    retry_at: Option<Instant>,
}

impl Server {
    fn run(&mut self) -> anyhow::Result<()> {
        while self.listener.is_some() || self.parent.running() + self.waiting.len() > 0 {
            if self.wait()? {
                self.accept()?;
            }
            while self.can_start()
                && let Some(client) = self.waiting.pop_front()
            {
                self.start_child(client);
            }
        }
        Ok(())
    }

    /// The one place where the parent blocks. Tells whether a client waits.
    fn wait(&mut self) -> anyhow::Result<bool> {
        let can_start = self.can_start();
        let listener = self.listener.iter().filter(|_| can_start);
        let listener = listener.map(|listener| (trace::LISTENER, listener.as_fd()));
        let timeout = self.retry_in();
        let news = self.parent.wait(listener, timeout)?;
        self.count(&news.ended);
        if news.stop {
            self.stop()?;
        }
        if stop::overdue(self.context.options.grace) {
            for client in self.waiting.drain(..) {
                refuse(self.context, client.number(), "no process in time");
            }
        }
        Ok(!news.ready.is_empty())
    }

    /// There may be a process for another client.
    fn can_start(&self) -> bool {
        self.parent.running() < self.context.max_connections() && self.retry_in().is_none()
    }

    fn retry_in(&self) -> Option<Duration> {
        self.retry_at?.checked_duration_since(Instant::now())
    }

    /// Accepts one of the clients that wait. The next wait reports the others.
    fn accept(&mut self) -> anyhow::Result<()> {
        if let Some(listener) = &self.listener {
            match accept(self.context, listener, Blocking::Client)? {
                Accepted::Client(client) => self.waiting.push_back(client),
                Accepted::None => {}
                Accepted::Overloaded => self.retry_at = Some(Instant::now() + RETRY),
            }
        }
        Ok(())
    }

    /// Forks a child for the client. The parent's copy of the connection is closed, except where
    /// no process can be made.
    fn start_child(&mut self, client: Socket) {
        let number = client.number() as usize - 1;
        let started = self.parent.start(number, || {
            // The child closes its copies. Otherwise they would stay open as long as it lives.
            self.listener = None;
            self.waiting.clear();
            blocking::serve(self.context, &client);
            Ok(())
        });
        if let Err(errno) = started {
            trace::note(Some(client.number()), || {
                format!("no process: {errno}; it is kept")
            });
            self.waiting.push_front(client);
            self.retry_at = Some(Instant::now() + RETRY);
        }
    }

    /// Counts the clients of children that failed before they could count them.
    fn count(&mut self, ended: &[Ended]) {
        for child in ended.iter().filter(|child| !child.status.success()) {
            lose(self.context, 1 + child.number as u64);
        }
        if !ended.is_empty() {
            // What was missing, memory or a process, may be available now.
            self.retry_at = None;
        }
    }

    /// Accepts the clients that still wait, closes the listener, and has the children answer what has
    /// arrived.
    fn stop(&mut self) -> anyhow::Result<()> {
        self.parent.stop();
        if let Some(listener) = self.listener.take() {
            while let Accepted::Client(client) = accept(self.context, &listener, Blocking::Client)?
            {
                self.waiting.push_back(client);
            }
        }
        Ok(())
    }
}

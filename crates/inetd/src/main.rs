//! # inetd: a program for each client
//!
//! The parent accepts and starts a program, with the connection as its standard input and output.
//! The program knows nothing of listening. So one parent can serve any protocol, and any program
//! that reads and writes is a server. Here the program is this server itself, with a hidden flag.
//!
//! ```text
//!                           +-- posix_spawn --> program: recv, send, recv ...   client 1
//!   poll, accept (parent) --+-- posix_spawn --> program: recv, send, recv ...   client 2
//!     ^                     +-- posix_spawn --> program: recv, send, recv ...   client 3
//!     +---- SIGCHLD -------------------- exit
//! ```
//!
//! * System calls: a request costs `recvfrom` and `sendto`, as in `processes`. A new client costs
//!   about 220 system calls in its process: 125 in `posix_spawn`, which resets each signal, then
//!   `execve`, and 85 until the program is loaded and reads.
//! * `posix_spawn` is `clone3(CLONE_VM | CLONE_VFORK)`: the child borrows the parent's memory until
//!   `execve`. So no page table is copied, but the parent waits meanwhile.
//! * Parent and program share no memory, except what a descriptor passes on: here the counters.
//! * What breaks it: all that breaks `processes`, a descriptor that the program inherits by mistake
//!   (so all others close at `execve`), and a missing program. In that case the client is closed.
//! * `/proc/self/exe` is the file that runs now, even if it has been removed or replaced. With a
//!   path, parent and program could be of two versions.
//!
//! Source: 4.3BSD, 1986, `inetd(8)`; W. Richard Stevens, "UNIX Network Programming", volume 1,
//! chapter 13.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::io;
use std::mem::replace;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::errno::Errno;
use serverkit::accept::{Accepted, Blocking, RETRY, Socket, accept, refuse};
use serverkit::child::{Children, Ended, NOBODY, lose, set_up_program, tell_end};
use serverkit::{Context, Limits, Model, ProgramFlags, blocking, listener, stop, trace};

const MODEL: Model<ProgramFlags> = Model {
    name: "inetd",
    family: "blocking",
    summary: "A program for each client, with the connection as its standard input and output",
    limits: |context, _| Limits {
        clients: context.max_connections(),
        why: "a process for each client, by default as many as the parent may have descriptors; a \
              stuck client holds its own process and nobody else's"
            .to_owned(),
    },
};

/// Descriptors that the start of a program needs, and some more.
const SPARE: usize = 4;

fn main() -> ExitCode {
    serverkit::main_of_programs(&MODEL, serve, serve_client)
}

/// What the program does: it serves the client that is its standard input.
fn serve_client(context: &'static Context, number: u64) -> anyhow::Result<()> {
    set_up_program(context, number)?;
    if number != NOBODY {
        let client = io::stdin().as_fd().try_clone_to_owned().context("stdin")?;
        blocking::serve(context, &Socket::new(client.into(), number));
        tell_end(true);
    }
    Ok(())
}

/// The program for a client.
fn program(context: &Context, number: u64) -> Command {
    let mut program = context.program();
    program.args(["--client", &number.to_string()]);
    program.stdin(Stdio::null());
    program
}

/// What the parent does.
fn serve(context: &'static Context) -> anyhow::Result<()> {
    let children = Children::of_programs(context, &mut program(context, NOBODY))?;
    let listener = listener::bind(&context.options)?;
    listener::announce(listener.local_addr()?)?;
    let mut server = Server {
        context,
        children,
        listener: Some(listener),
        waiting: VecDeque::new(),
        retry_at: None,
        is_missing: false,
    };
    let result = server.run();
    server.children.kill();
    result
}

/// The parent.
struct Server {
    context: &'static Context,
    children: Children,
    /// `None` once nobody is accepted any more.
    listener: Option<TcpListener>,
    /// Accepted, and there was no process for them yet.
    waiting: VecDeque<Socket>,
    /// When to try again, after memory, a process or a descriptor was missing.
    retry_at: Option<Instant>,
    /// The last program could not be started, and that was reported.
    is_missing: bool,
}

impl Server {
    fn run(&mut self) -> anyhow::Result<()> {
        while self.listener.is_some() || self.children.running() + self.waiting.len() > 0 {
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
        let listener = listener.map(|listener| ("listener", listener.as_fd()));
        let timeout = self.retry_in();
        let news = self.children.wait(listener, timeout)?;
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
        self.children.running() < self.context.max_connections() && self.retry_in().is_none()
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

    /// Starts a program for the client. The parent's copy of the connection is closed, except where
    /// no process can be made.
    fn start_child(&mut self, client: Socket) {
        let Err(error) = self.spawn(&client) else {
            self.is_missing = false;
            return;
        };
        let number = client.number();
        let errno = error.raw_os_error().map(Errno::from_raw);
        if let Some(Errno::EAGAIN | Errno::ENOMEM | Errno::EMFILE | Errno::ENFILE) = errno {
            trace::note(Some(number), || format!("no process: {error}; it is kept"));
            self.waiting.push_front(client);
            self.retry_at = Some(Instant::now() + RETRY);
            return;
        }
        // It is reported once, not for each client.
        if !replace(&mut self.is_missing, true) {
            self.context.complain(format_args!(
                "clients are closed: their program cannot be started (/proc/self/exe): {error}"
            ));
        }
        refuse(self.context, number, "its program cannot be started");
    }

    /// The connection becomes the standard input and output. The program lives longer than this
    /// call.
    fn spawn(&mut self, client: &Socket) -> io::Result<()> {
        let connection = || client.as_fd().try_clone_to_owned();
        let mut program = program(self.context, client.number());
        program.stdin(connection()?).stdout(connection()?);
        let number = client.number() as usize - 1;
        self.children.start_program(number, &mut program)
    }

    /// Counts the clients of programs that failed before they could count them.
    fn count(&mut self, ended: &[Ended]) {
        for child in ended.iter().filter(|child| !child.status.success()) {
            lose(self.context, 1 + child.number as u64);
        }
        if !ended.is_empty() {
            // What was missing, memory or a process, may be available now.
            self.retry_at = None;
        }
    }

    /// Accepts the clients that still wait, closes the listener, and has the programs answer what has
    /// arrived.
    fn stop(&mut self) -> anyhow::Result<()> {
        self.children.stop();
        if let Some(listener) = self.listener.take() {
            // Those who are accepted must not take the descriptors with which their programs are started.
            let spare = [(); SPARE].map(|()| listener.as_fd().try_clone_to_owned());
            while let Accepted::Client(client) = accept(self.context, &listener, Blocking::Client)?
            {
                self.waiting.push_back(client);
            }
            drop(spare);
        }
        Ok(())
    }
}

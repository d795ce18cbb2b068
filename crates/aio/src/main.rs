//! # aio: operations in batches
//!
//! This is the interface for batches that Linux had before `io_uring`. The server makes a list of
//! requests and submits it with one system call. It reads the results from a ring in memory,
//! without a system call.
//!
//! ```text
//!   poll, read, write --> [ list of requests ]-- io_submit --+
//!                                                            |
//!     ready? read? written?  <-- [ ring of events ] <--------+
//! ```
//!
//! * System calls: `io_submit`, once for the requests of all clients in a turn; `io_getevents` if
//!   the ring is empty. With 100 busy clients a request costs 0.04 calls, with one client three or
//!   four. Also `accept4`, `shutdown`; `io_cancel` at a deadline and at a stop.
//! * A read does not wait: on a socket it happens while it is submitted. So each client is first
//!   polled. A poll is one-shot, and is submitted again after each answer.
//! * What breaks it: the limit `fs.aio-max-nr` for the requests of all programs together. A ring
//!   reserves its share when it is made, so the ring limits the number of clients.
//! * A poll in flight keeps its socket open, even after the program has closed it. So when a
//!   client's time is over, its poll is cancelled first, and the client is closed when the poll has
//!   completed. The same holds for the listener.
//! * A signalfd does not work here: the kernel completes a poll in a thread of its own, which
//!   cannot see the server's signals. So a stop interrupts the wait instead.
//!
//! Source: Suparna Bhattacharya and others, "Asynchronous I/O Support in Linux 2.5", 2003;
//! Christoph Hellwig, `IOCB_CMD_POLL`, Linux 4.18; `io_submit(2)`.
#![deny(unsafe_code)]

mod ring;

use std::io;
use std::net::{Shutdown, TcpListener};
use std::process::ExitCode;
use std::time::Instant;

use nix::errno::Errno;
use serverkit::accept::{Accepted, Admission, Blocking, accept};
use serverkit::clients::ACCEPTS_PER_TURN;
use serverkit::nonblocking::REQUESTS_PER_TURN;
use serverkit::{Context, Limits, Model, listener, stop};

use ring::{Client, Completion, OWN_REQUESTS, Operation, Ring};

const MODEL: Model<Flags> = Model {
    name: "aio",
    family: "completion",
    summary: "One thread submits the operations of all clients in one list, and reads what was done from a ring",
    limits: |context, flags| Limits {
        clients: flags.clients(context),
        why: "a request in flight for each client (--entries, which all programs share: sysctl \
              fs.aio-max-nr), or the descriptors, or --max-connections; a stuck client holds up \
              nobody else"
            .to_owned(),
    },
};

#[derive(Debug, Clone, Copy, clap::Args)]
struct Flags {
    /// Requests in flight, at most: one for each client, and one for the listener
    #[arg(long, value_name = "N", default_value = "1024", value_parser = clap::value_parser!(u32).range(2..=1 << 22))]
    entries: u32,
}

impl Flags {
    fn clients(self, context: &Context) -> usize {
        let entries = self.entries - OWN_REQUESTS;
        context.max_connections().min(entries as usize)
    }
}

fn main() -> ExitCode {
    serverkit::main(&MODEL, serve)
}

fn serve(context: &'static Context, flags: Flags) -> anyhow::Result<()> {
    stop::interrupt_blocking_calls()?;
    let mut ring = Ring::new(flags.entries)?;
    let listener = listener::bind(&context.options)?;
    ring.await_client(&listener);
    ring.start()?;
    listener::announce(listener.local_addr()?)?;
    Server {
        context,
        listener: Some(listener),
        admission: Admission::new(flags.clients(context)),
        ring,
        clients: 0,
        stop_at: None,
    }
    .run()
}

struct Server {
    context: &'static Context,
    /// `None` once the server is stopping and the listener is not polled.
    listener: Option<TcpListener>,
    admission: Admission,
    ring: Ring,
    /// The number of clients. Each is in flight, or has its turn.
    clients: usize,
    /// The end of the grace, once the server is stopping.
    stop_at: Option<Instant>,
}

impl Server {
    fn run(&mut self) -> anyhow::Result<()> {
        let mut completions = Vec::new();
        while self.listener.is_some() || self.clients > 0 {
            self.wait(&mut completions)?;
            if stop::requested() && self.stop_at.is_none() {
                self.stop()?;
            }
            for completion in completions.drain(..) {
                match completion {
                    Completion::Listener => {
                        self.accept(ACCEPTS_PER_TURN)?;
                        self.close_listener()?;
                    }
                    Completion::PauseIsOver => self.admission.retry(),
                    Completion::End => return Ok(()),
                    Completion::Done(client, did, result) => self.step(client, did, result),
                }
            }
        }
        Ok(())
    }

    /// The one place where this server blocks. Adds what was done to an empty list.
    fn wait(&mut self, completions: &mut Vec<Completion>) -> io::Result<()> {
        if let Some(listener) = &self.listener
            && self.admission.is_open(self.clients)
        {
            self.ring.await_client(listener);
        }
        self.ring.wait(completions)
    }

    /// Accepts at most `most` of the clients that wait, while there is room for them.
    fn accept(&mut self, most: usize) -> anyhow::Result<()> {
        for _ in 0..most {
            let Some(listener) = &self.listener else {
                break;
            };
            if !self.admission.is_open(self.clients) {
                break;
            }
            match accept(self.context, listener, Blocking::None)? {
                Accepted::Client(socket) => {
                    self.clients += 1;
                    self.next(Client::new(self.context, socket));
                }
                Accepted::None => break,
                Accepted::Overloaded => {
                    self.admission.overloaded();
                    self.ring.pause();
                }
            }
        }
        Ok(())
    }

    /// An operation of a client has completed.
    fn step(&mut self, mut client: Box<Client>, did: Operation, result: Result<usize, Errno>) {
        let connection = &mut client.connection;
        match (did, result) {
            // Or its deadline has passed, or the server is stopping. Bytes may have come before that.
            (Operation::AwaitInput, Ok(_)) => return self.ring.submit(client, Operation::Read),
            (Operation::AwaitRoom, Ok(_)) => {}
            (Operation::Read, Ok(n)) => {
                connection.did_read(n);
                client.may_have_more = connection.may_have_more();
                if connection.more_space().is_some() {
                    return self.ring.submit(client, Operation::Read);
                }
            }
            (Operation::Write, Ok(n)) => connection.did_write(n),
            // The socket is empty.
            (Operation::Read, Err(Errno::EAGAIN)) => {
                connection.found_no_input();
                client.may_have_more = false;
            }
            // It is full.
            (Operation::Write, Err(Errno::EAGAIN)) if !connection.is_overdue() => {
                return self.ring.submit(client, Operation::AwaitRoom);
            }
            (_, Err(errno)) => {
                connection.fail(errno);
                return self.remove(client);
            }
        }
        self.next(client);
    }

    /// Answers what a client has sent, and submits what is to be done next for it.
    fn next(&mut self, mut client: Box<Client>) {
        let connection = &mut client.connection;
        if let Some(at) = self.stop_at {
            connection.stop(at);
        }
        connection.answer(REQUESTS_PER_TURN);
        if connection.take_shutdown() {
            // It fails if the client has gone. The next read reports that.
            let _ = client.socket.shutdown(Shutdown::Write);
        }
        if !connection.pending().is_empty() {
            self.ring.submit(client, Operation::Write);
        } else if connection.is_done() || connection.is_overdue() {
            self.remove(client);
        } else if client.may_have_more || connection.is_stopping() && !connection.is_lingering() {
            // What a client has sent before a stop is read, and nothing else is awaited.
            self.ring.submit(client, Operation::Read);
        } else {
            connection.rest(0);
            self.ring.submit(client, Operation::AwaitInput);
        }
    }

    fn remove(&mut self, client: Box<Client>) {
        drop(client);
        self.clients -= 1;
        // What ran out, memory or descriptors, may be available again.
        self.admission.retry();
    }

    /// Cancels all polls, so that each client has its turn.
    fn stop(&mut self) -> anyhow::Result<()> {
        let at = Instant::now() + self.context.options.grace;
        self.stop_at = Some(at);
        self.ring.cancel_all(at + stop::ALLOWANCE);
        self.close_listener()
    }

    /// When a server that is stopping does not poll the listener any more, it takes those who still
    /// wait, and closes the listener.
    fn close_listener(&mut self) -> anyhow::Result<()> {
        if self.stop_at.is_some() && !self.ring.awaits_client() {
            self.accept(usize::MAX)?;
            if let Some(listener) = self.listener.take() {
                // The kernel may still hold it for a moment.
                listener::shut_down(&listener);
            }
        }
        Ok(())
    }
}

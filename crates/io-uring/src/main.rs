//! # io-uring: the kernel is told what to do and reports what it did
//!
//! Most other models ask when a socket is ready, and then make a system call for each operation.
//! Here the server writes operations into one queue, and the kernel writes the results into
//! another. One system call submits all queued operations and waits for a result.
//!
//! ```text
//!   accept, receive, send, cancel --> [ submission queue ]--+
//!                                                           | io_uring_enter
//!     accepted? received? sent?  <-- [ completion queue ] <-+
//! ```
//!
//! * System calls: `io_uring_setup`, `io_uring_enter`; `shutdown`; at a stop `accept4`.
//! * Each client has one operation in flight. When it completes, the client has its turn.
//! * What breaks it: memory that is freed or changed while the kernel uses it. So an operation owns
//!   its client, from the submission to the completion (`ring.rs`).
//! * A receive that waits holds a buffer, however long the client is silent. So this buffer is small.
//!   When it is full, the rest is received into a larger one without waiting, and sent at once. A
//!   client that has said nothing, or whose last message was long, is polled, and has no buffer.
//! * A timeout is an operation, too. It is linked to another operation, and cancels it at the
//!   client's deadline. A stop cancels everything. A cancelled receive is done once more without
//!   waiting.
//!
//! Source: Jens Axboe, "Efficient IO with `io_uring`", 2019; `io_uring_enter(2)`.
#![deny(unsafe_code)]

mod ring;

use std::io::{self, ErrorKind};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::ExitCode;
use std::time::Instant;

use nix::errno::Errno;
use serverkit::accept::{Accepted, Admission, Blocking, accept, accepted, count_error};
use serverkit::nonblocking::REQUESTS_PER_TURN;
use serverkit::stop::StopSignal;
use serverkit::{Context, Model, listener};

use ring::{Client, Completion, Operation, Ring};

const MODEL: Model<Flags> = Model {
    name: "io-uring",
    family: "completion",
    summary: "One thread submits each operation to the kernel, and gets a report when it is done",
    limits: |context, _| context.descriptor_limits(),
};

#[derive(Debug, Clone, Copy, clap::Args)]
struct Flags {
    /// Length of the submission queue; the completion queue is twice as long
    // With 256, the completions of 5,000 clients overflow. That costs a tenth of the rate.
    #[arg(long, value_name = "N", default_value = "1024", value_parser = clap::value_parser!(u32).range(2..=32768))]
    entries: u32,
}

/// Accepts in flight, at most: a storm of clients must not starve those who are already served.
const ACCEPTS: usize = 16;

fn main() -> ExitCode {
    serverkit::main(&MODEL, serve)
}

fn serve(context: &'static Context, flags: Flags) -> anyhow::Result<()> {
    let stop_signal = StopSignal::new()?;
    let mut ring = Ring::new(flags.entries)?;
    ring.await_stop(&stop_signal)?;
    // It blocks: io_uring then waits for clients, and would say EAGAIN otherwise.
    let listener = listener::bind(&context.options)?;
    listener.set_nonblocking(false)?;
    listener::announce(listener.local_addr()?)?;
    Server {
        context,
        stop_signal,
        listener: Some(listener),
        accepts: 0,
        admission: Admission::new(context.max_connections()),
        ring,
        clients: 0,
        stop_at: None,
    }
    .run()
}

struct Server {
    context: &'static Context,
    stop_signal: StopSignal,
    /// `None` once the server is stopping and no accept is in flight.
    listener: Option<TcpListener>,
    /// Accepts in flight.
    accepts: usize,
    admission: Admission,
    ring: Ring,
    /// The number of clients. Each is in flight, or has its turn.
    clients: usize,
    /// The end of the grace, once the server is stopping.
    stop_at: Option<Instant>,
}

impl Server {
    fn run(&mut self) -> anyhow::Result<()> {
        let mut completions = Vec::with_capacity(self.ring.most_completions());
        while self.listener.is_some() || self.clients > 0 {
            self.wait(&mut completions)?;
            for completion in completions.drain(..) {
                match completion {
                    Completion::StopSignal => self.stop()?,
                    Completion::Accepted(result) => self.accept(result)?,
                    Completion::PauseIsOver => self.admission.retry(),
                    Completion::Done(client, did, result) => self.step(client, did, result)?,
                }
            }
        }
        Ok(())
    }

    /// The one place where this server blocks. Adds what was done to an empty list.
    fn wait(&mut self, completions: &mut Vec<Completion>) -> io::Result<()> {
        if let Some(listener) = &self.listener
            && self.stop_at.is_none()
        {
            // Each of them may bring a client.
            while self.accepts < ACCEPTS && self.admission.is_open(self.clients + self.accepts) {
                self.ring.accept(listener)?;
                self.accepts += 1;
            }
        }
        self.ring.wait(completions)
    }

    /// An accept has completed.
    fn accept(&mut self, result: Result<TcpStream, Errno>) -> anyhow::Result<()> {
        self.accepts -= 1;
        match result {
            Ok(socket) => {
                let socket = accepted(self.context, socket, "ACCEPT");
                self.clients += 1;
                self.next(Client::new(self.context, socket))?;
            }
            Err(Errno::ECANCELED) => {}
            Err(errno) => {
                // Whatever the error is: a server whose accept fails time after time must not spin.
                count_error(self.context, errno)?;
                self.admission.overloaded();
                self.ring.pause()?;
            }
        }
        self.close_listener()
    }

    /// An operation of a client has completed.
    fn step(
        &mut self,
        mut client: Box<Client>,
        did: Operation,
        result: Result<usize, Errno>,
    ) -> io::Result<()> {
        let connection = &mut client.connection;
        match (did, result) {
            // There is input: now the client costs memory.
            (Operation::AwaitInput, Ok(_)) => return self.receive(client, Operation::RECEIVE_NOW),
            (Operation::Receive(_), Ok(n)) => {
                client.received(n);
                if client.connection.more_space().is_some() {
                    return self.receive(client, Operation::RECEIVE_NOW);
                }
            }
            (Operation::Send, Ok(n)) => connection.did_write(n),
            // The socket is empty.
            (Operation::Receive(_), Err(Errno::EAGAIN)) => client.found_no_input(),
            // Its deadline has passed, or the server is stopping. Bytes may have come before that.
            (Operation::AwaitInput | Operation::Receive(_), Err(Errno::ECANCELED)) => {
                return self.receive(client, Operation::RECEIVE_NOW);
            }
            (Operation::Send, Err(Errno::ECANCELED)) if !connection.is_overdue() => {}
            (_, Err(errno)) => {
                connection.fail(errno);
                self.remove(client);
                return Ok(());
            }
        }
        self.next(client)
    }

    /// Answers what a client has sent, and submits what is to be done next for it.
    fn next(&mut self, mut client: Box<Client>) -> io::Result<()> {
        let connection = &mut client.connection;
        if let Some(at) = self.stop_at {
            connection.stop(at);
        }
        connection.answer(REQUESTS_PER_TURN);
        if connection.take_shutdown() {
            // It fails if the client has gone. The next receive reports that.
            let _ = client.socket.shutdown(Shutdown::Write);
        }
        if !connection.pending().is_empty() {
            self.ring.submit(client, Operation::Send)
        } else if connection.is_done() || connection.is_overdue() {
            self.remove(client);
            Ok(())
        } else {
            let receive = client.next_receive();
            self.receive(client, receive)
        }
    }

    fn receive(&mut self, mut client: Box<Client>, receive: Operation) -> io::Result<()> {
        if let Operation::Receive(wait) = receive
            && client.space(wait).is_empty()
        {
            client.connection.fail(ErrorKind::OutOfMemory);
            self.remove(client);
            return Ok(());
        }
        self.ring.submit(client, receive)
    }

    fn remove(&mut self, client: Box<Client>) {
        drop(client);
        self.clients -= 1;
        // What ran out, memory or descriptors, may be available again.
        self.admission.retry();
    }

    /// Cancels everything, so that each client has its turn.
    fn stop(&mut self) -> anyhow::Result<()> {
        self.stop_signal.take()?;
        self.stop_at = Some(Instant::now() + self.context.options.grace);
        self.ring.cancel_all()?;
        self.close_listener()
    }

    /// When a server that is stopping has no accept in flight, it takes those who still wait, and
    /// closes the listener.
    fn close_listener(&mut self) -> anyhow::Result<()> {
        if self.stop_at.is_some()
            && self.accepts == 0
            && let Some(listener) = self.listener.take()
        {
            listener.set_nonblocking(true)?;
            while self.admission.is_open(self.clients)
                && let Accepted::Client(socket) = accept(self.context, &listener, Blocking::Client)?
            {
                self.clients += 1;
                self.next(Client::new(self.context, socket))?;
            }
        }
        Ok(())
    }
}

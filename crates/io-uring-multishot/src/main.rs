//! # io-uring-multishot: one submission, many completions
//!
//! `io-uring` submits each operation by itself. Here one accept goes on accepting, and one receive
//! of each client goes on receiving, until they are cancelled. A receive does not name memory: when
//! bytes have come, the kernel writes them into a buffer from a ring of buffers, and says which
//! buffer it was. So a silent client needs no buffer at all.
//!
//! ```text
//!   accept and receive until further notice, send --> [ submission queue ]--+
//!                                                                           | io_uring_enter
//!     accepted? buffer 7 is filled? sent? <-- [ completion queue ] <------+
//!                      | copy, give back
//!                [ buffer ring ]   memory that the kernel chooses from
//! ```
//!
//! * System calls: `io_uring_setup`, `io_uring_register`, `io_uring_enter`; `shutdown` where the
//!   server closes first. At a stop `accept4`, and `recvfrom` to peek at silent clients.
//! * What breaks it, and how these files answer that:
//!   * memory that is freed or changed while the kernel uses it: an operation owns what it names
//!     (`ring.rs`, `buffers.rs`);
//!   * bytes for which there is no room, since a multishot receive brings all that comes. The
//!     server copies them, so that the buffers go back to the ring at once and no client can keep
//!     them from the others. Then it cancels the receive (`client.rs`);
//!   * long messages, which would be copied from many buffers. A client that sends them is polled,
//!     and receives into memory of its own (`client.rs`);
//!   * a multishot that ends by itself, because the buffer ring is empty (ENOBUFS) or the
//!     completion queue is full. Then the client receives into memory of its own until its socket
//!     is empty. If the server only submitted the multishot again, the same clients could take
//!     all buffers each time;
//!   * more clients than there is room for. The accept is multishot only if the clients of one wait
//!     cannot fill the server. Closer to the limit each accept brings one client (`acceptor.rs`).
//!
//! Source: Jens Axboe, "Efficient IO with `io_uring`", 2019; `io_uring_enter(2)`;
//! `io_uring_register_buf_ring(3)`.
#![deny(unsafe_code)]

mod acceptor;
mod buffers;
mod client;
mod ring;

use std::io;
use std::net::TcpStream;
use std::process::ExitCode;
use std::time::Instant;

use nix::errno::Errno;
use serverkit::accept::{Accepted, RETRY, Socket, refuse};
use serverkit::deadlines::Deadlines;
use serverkit::stop::StopSignal;
use serverkit::{Context, Model, listener};
use slab::Slab;

use acceptor::Acceptor;
use buffers::BufferRing;
use client::Client;
use ring::{Completion, More, Ring};

const MODEL: Model<Flags> = Model {
    name: "io-uring-multishot",
    family: "completion",
    summary: "One thread tells the kernel once what to do, and gets a report each time that it was done",
    limits: |context, _| context.descriptor_limits(),
};

#[derive(Debug, Clone, Copy, clap::Args)]
struct Flags {
    /// Buffers of the ring, a power of two; the kernel uses all of them in turn, so more buffers
    /// fit less well in the processor's cache
    #[arg(long, value_name = "N", default_value = "64", value_parser = buffers::power_of_two)]
    ring_buffers: u16,

    /// Length of the submission queue; the completion queue is twice as long
    #[arg(long, value_name = "N", default_value = "256", value_parser = clap::value_parser!(u32).range(1..=32768))]
    entries: u32,
}

/// The most bytes of one buffer of the ring. A client that floods fills several buffers before its
/// receive is cancelled, and their bytes are kept for it. Small buffers limit that.
const BUFFER_BYTES: usize = 4096;

// What a deadline is for: this, or else the client whose key comes before the number.
const ACCEPT_AGAIN: usize = 0;

fn main() -> ExitCode {
    serverkit::main(&MODEL, serve)
}

fn serve(context: &'static Context, flags: Flags) -> anyhow::Result<()> {
    let stop_signal = StopSignal::new()?;
    let mut ring = Ring::new(flags.entries)?;
    let size = context.options.buffer_size.min(BUFFER_BYTES);
    let buffers = ring.register_buffers(flags.ring_buffers, size)?;
    ring.await_stop(&stop_signal)?;
    let listener = listener::bind(&context.options)?;
    listener.set_nonblocking(false)?;
    listener::announce(listener.local_addr()?)?;
    Server {
        context,
        stop_signal,
        acceptor: Acceptor::new(context, listener),
        ring,
        buffers,
        clients: Slab::new(),
        deadlines: Deadlines::default(),
        stop_at: None,
    }
    .run()
}

struct Server {
    context: &'static Context,
    stop_signal: StopSignal,
    acceptor: Acceptor,
    ring: Ring,
    buffers: BufferRing,
    clients: Slab<Client>,
    deadlines: Deadlines,
    /// The end of the grace, once the server is stopping.
    stop_at: Option<Instant>,
}

impl Server {
    fn run(&mut self) -> anyhow::Result<()> {
        let mut completions = Vec::with_capacity(self.ring.most_completions());
        let mut receivers = Vec::with_capacity(self.ring.most_completions());
        while !(self.acceptor.is_closed() && self.clients.is_empty()) {
            self.wait(&mut completions)?;
            for completion in completions.drain(..) {
                match completion {
                    Completion::StopSignal => self.stop()?,
                    Completion::Accepted(result, more) => self.accept(result, more)?,
                    Completion::Brought(key, filled, result, more) => {
                        let client = &mut self.clients[key];
                        if let Some(filled) = filled {
                            self.buffers.consume(filled, |bytes| client.brought(bytes));
                        }
                        if more == More::No {
                            client.receive_many_ended(result);
                        }
                        receivers.push(key);
                    }
                    Completion::InputAwaited(key, result) => {
                        self.clients[key].input_awaited(result);
                        self.step(key)?;
                    }
                    Completion::Received(key, connection, result) => {
                        self.clients[key].received(connection, result);
                        self.step(key)?;
                    }
                    Completion::Sent(key, connection, result) => {
                        self.clients[key].sent(connection, result);
                        self.step(key)?;
                    }
                }
            }
            // What several completions have brought is answered at once.
            for key in receivers.drain(..) {
                self.step(key)?;
            }
            self.expire()?;
        }
        Ok(())
    }

    /// The one place where this server blocks. Adds what was done to an empty list.
    fn wait(&mut self, completions: &mut Vec<Completion>) -> io::Result<()> {
        if self.stop_at.is_none() {
            self.acceptor.arm(&mut self.ring, self.clients.len())?;
        }
        let timeout = self.deadlines.timeout(Instant::now());
        self.ring.wait(timeout, completions)
    }

    /// An accept has completed.
    fn accept(&mut self, result: Result<TcpStream, Errno>, more: More) -> anyhow::Result<()> {
        match self.acceptor.completed(result, more)? {
            Accepted::Client(socket) => self.insert(socket)?,
            Accepted::Overloaded => self.deadlines.set(ACCEPT_AGAIN, Instant::now() + RETRY),
            Accepted::None => {}
        }
        self.sweep()
    }

    fn insert(&mut self, socket: Socket) -> io::Result<()> {
        if !client::reserve_one(&mut self.clients) {
            refuse(self.context, socket.number(), "no memory for it");
            return Ok(());
        }
        let entry = self.clients.vacant_entry();
        let key = entry.key();
        entry.insert(Client::new(self.context, socket, key));
        self.step(key)
    }

    /// Submits what is next for one client.
    fn step(&mut self, key: usize) -> io::Result<()> {
        let Some(client) = self.clients.get_mut(key) else {
            return Ok(());
        };
        client.advance(&mut self.ring, self.stop_at)?;
        if client.is_over() {
            self.clients.remove(key);
            self.acceptor.retry();
        } else if let Some(at) = client.deadline() {
            self.deadlines.set(1 + key, at);
        }
        Ok(())
    }

    /// Does what is to be done when nothing completes.
    fn expire(&mut self) -> io::Result<()> {
        if self.deadlines.is_empty() {
            return Ok(());
        }
        let now = Instant::now();
        while let Some(number) = self.deadlines.expired(now) {
            if number == ACCEPT_AGAIN {
                self.acceptor.retry();
            } else if let Some(client) = self.clients.get_mut(number - 1) {
                match client.deadline() {
                    Some(at) if at > now => self.deadlines.set(number, at),
                    Some(_) => client.cancel(&mut self.ring)?,
                    None => {}
                }
            }
        }
        Ok(())
    }

    /// Cancels everything, so that each client has its turn.
    fn stop(&mut self) -> anyhow::Result<()> {
        self.stop_signal.take()?;
        self.stop_at = Some(Instant::now() + self.context.options.grace);
        self.ring.cancel_all()?;
        self.sweep()
    }

    /// A server that is stopping takes those who still wait.
    fn sweep(&mut self) -> anyhow::Result<()> {
        if self.stop_at.is_some() {
            while let Some(socket) = self.acceptor.sweep(self.clients.len())? {
                self.insert(socket)?;
            }
        }
        Ok(())
    }
}

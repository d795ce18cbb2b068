//! # io-uring: the kernel is told what to do and reports what it did
//!
//! All other models ask when a socket is ready, and then make a system call for each thing to be
//! done. Here the things to be done are written into a queue that the kernel reads, and what it
//! did into another that the server reads. One system call hands over all that was queued and
//! waits for something to complete: the busier the server, the fewer calls for each request.
//!
//! ```text
//!   accept, receive, send, cancel --> [ submission queue ]--+
//!                                                           | io_uring_enter
//!     accepted? received? sent?  <-- [ completion queue ] <-+
//!                      | copy, give back
//!                [ buffer ring ]   memory that the kernel chooses from when bytes have come
//! ```
//!
//! * System calls: `io_uring_setup`, `io_uring_register`, `io_uring_enter`.
//! * `--completions single`: one submission for each operation. A receive that waits holds the
//!   client's buffer for as long as the client is silent, so before its first byte it is polled.
//! * `--completions multishot`: one accept brings all clients, one receive all bytes of a client,
//!   each in a buffer that the kernel takes from the ring at that moment.
//! * What breaks it, and what is done about it:
//!   * memory that is freed or changed while the kernel uses it: the rules stand in `ring.rs`, and
//!     `connection.rs` keeps them. A client that ends is cancelled first, and stays until the last
//!     completion of what it had in flight;
//!   * bytes that nobody has room for, since a multishot receive brings all that comes: it is
//!     cancelled until the client has read its answers. Buffers go back to the ring at once,
//!     whatever becomes of the bytes, so no client can keep them from the others;
//!   * an empty buffer ring (ENOBUFS) and a full completion queue: either ends a multishot, which
//!     is then submitted anew; whoever went short comes first;
//!   * accepting more than there is room for: multishot only while one wait cannot fill the
//!     server. Closer to its limit it asks for as many clients as it has places.
//!
//! Source: Jens Axboe, "Efficient IO with `io_uring`", 2019; `io_uring_enter(2)`;
//! `io_uring_register_buf_ring(3)`.
#![deny(unsafe_code)]

mod acceptor;
mod buffers;
mod clients;
mod connection;
mod ring;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use serverkit::listener::Listener;
use serverkit::stop::StopSignal;
use serverkit::{Context, Model, trace};

use acceptor::Acceptor;
use buffers::BufferRing;
use clients::Clients;
use ring::{Completion, Operation, Ring};

const MODEL: Model<Flags> = Model {
    name: "io-uring",
    family: "completion",
    summary: "One thread tells the kernel what to do and is told what was done",
    descriptors: None,
    limits: |context, _| context.descriptor_limits(),
};

/// Bytes of one buffer of the ring, at most. A flood fills several before its receive is
/// cancelled, and what is in them is kept for the client: small ones bound that.
const BUFFER_BYTES: usize = 4096;

#[derive(Debug, Clone, Copy, clap::Args)]
struct Flags {
    /// Whether an operation is submitted for each completion, or goes on until further notice
    #[arg(long, value_enum, default_value_t = Completions::Multishot)]
    completions: Completions,

    /// Buffers that multishot receives choose from, a power of two
    #[arg(long, value_name = "N", default_value = "1024", value_parser = power_of_two)]
    ring_buffers: u16,

    /// Length of the submission queue; the completion queue is twice as long
    #[arg(long, value_name = "N", default_value = "256", value_parser = clap::value_parser!(u32).range(1..=32768))]
    entries: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Completions {
    Single,
    Multishot,
}

fn power_of_two(text: &str) -> Result<u16, String> {
    match text.parse::<u16>() {
        Ok(n) if n.is_power_of_two() => Ok(n),
        _ => Err("expected a power of two from 1 to 32768".to_owned()),
    }
}

fn main() -> ExitCode {
    serverkit::main(&MODEL, serve)
}

fn serve(context: &'static Context, flags: Flags) -> anyhow::Result<()> {
    let stop = StopSignal::new()?;
    let mut ring = Ring::new(context, flags.entries)?;
    let buffers = match flags.completions {
        Completions::Single => None,
        Completions::Multishot => {
            let size = context.options.buffer_size.min(BUFFER_BYTES);
            Some(BufferRing::new(ring.uring(), flags.ring_buffers, size)?)
        }
    };
    let listener = Listener::bind(&context.options)?.blocking()?;
    ring.await_stop(&stop)?;
    listener.announce();
    Server {
        context,
        ring,
        buffers,
        stop,
        acceptor: Acceptor::new(context, flags.completions, listener),
        clients: Clients::new(context, flags.completions),
    }
    .run()
}

struct Server {
    context: &'static Context,
    ring: Ring,
    /// For multishot receives.
    buffers: Option<BufferRing>,
    stop: StopSignal,
    acceptor: Acceptor,
    clients: Clients,
}

impl Server {
    fn run(&mut self) -> anyhow::Result<()> {
        let mut completions = Vec::new();
        while !(self.acceptor.is_closed() && self.clients.len() == 0) {
            self.acceptor.arm(&mut self.ring, self.clients.len())?;
            self.ring.wait(self.timeout(), &mut completions)?;
            for completion in &completions {
                trace!(
                    self.context,
                    "{}: {completion}",
                    self.clients.name(completion.key)
                );
                match completion.operation {
                    Operation::StopSignal => self.begin_stop()?,
                    Operation::Accept | Operation::AcceptMany => self.accepted(completion)?,
                    _ => self.clients.completed(completion, self.buffers.as_mut()),
                }
            }
            self.clients.expire(Instant::now());
            if self.clients.advance(&mut self.ring)? {
                self.acceptor.retry();
            }
        }
        Ok(())
    }

    /// How long nothing has to be done, if nothing completes.
    fn timeout(&self) -> Option<Duration> {
        let now = Instant::now();
        let timeouts = [self.acceptor.timeout(now), self.clients.timeout(now)];
        timeouts.into_iter().flatten().min()
    }

    fn accepted(&mut self, completion: &Completion) -> anyhow::Result<()> {
        if let Some(socket) = self.acceptor.completed(completion)? {
            self.clients.insert(socket);
        }
        // Before anything else is queued: there may be no room for another.
        self.acceptor.arm(&mut self.ring, self.clients.len())?;
        Ok(())
    }

    fn begin_stop(&mut self) -> anyhow::Result<()> {
        if self.stop.take()?.is_some() {
            self.acceptor.stop(&mut self.ring)?;
            self.clients.stop();
        } else {
            self.ring.await_stop(&self.stop)?;
        }
        Ok(())
    }
}

//! # reactors: a loop for each core
//!
//! One epoll loop uses one core. Here are several, each with a thread, an epoll, a listener and
//! clients of its own: a client stays with the loop that accepted it, and while it is served
//! nothing is shared and nothing is locked.
//!
//! ```text
//!                      one port, SO_REUSEPORT: the kernel
//!                 spreads the clients by a hash of their addresses
//!                  |                     |                     |
//!              listener              listener              listener
//!            epoll, clients        epoll, clients        epoll, clients
//!               core 0                core 1                core 2
//! ```
//!
//! * System calls: those of `epoll`, once for each loop; `SO_REUSEPORT`.
//! * What breaks it: luck. The hash does not know how busy a loop is; with few clients one loop
//!   may have most of them while another sleeps, and there they stay. `epoll-workers` has no such
//!   trouble, and pays for it with locks and one more system call for each event.
//! * Each listener has a backlog of its own, and who waits in it belongs to that loop: closing
//!   one resets them. So all are opened before the ready line and closed at the stop only.
//! * The number of clients is limited over all loops together. A loop whose client finds no
//!   place disarms its listener and queues for one, and is woken by an eventfd when it has it.
//! * The first loop, on the main thread, takes the stop signal and tells the others by an eventfd.
//!
//! `reactor.rs` is one loop, and differs little from that of `epoll`; `places.rs` counts the clients
//! of all of them.
//!
//! Source: Tom Herbert, "soreuseport: TCP/UDP implementation", Linux 3.9, 2013; Douglas Schmidt,
//! "Reactor", 1995, for the name of the loop.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use anyhow::ensure;
use nix::sys::eventfd::{EfdFlags, EventFd};
use serverkit::listener::{Listener, announce};
use serverkit::stop::StopSignal;
use serverkit::{Context, Limits, Model, options, workers};

use crate::places::{Places, Share};
use crate::reactor::Reactor;

mod places;
mod reactor;

const MODEL: Model<Flags> = Model {
    name: "reactors",
    family: "readiness",
    summary: "Several threads have an epoll loop and a listener each, and the kernel spreads the clients",
    descriptors: None,
    limits: |context, flags| Limits {
        clients: Some(flags.places(context)),
        ..context.descriptor_limits()
    },
};

#[derive(Debug, Clone, Copy, clap::Args)]
struct Flags {
    /// Loops, each with a thread and a listener; with --cpu each is pinned to one of those cores
    /// in turn [default: the number of cores]
    #[arg(long, value_name = "N", value_parser = options::workers)]
    workers: Option<usize>,
}

impl Flags {
    fn workers(self) -> usize {
        self.workers.unwrap_or_else(options::cores)
    }

    /// Clients that may be open at once.
    fn places(self, context: &Context) -> usize {
        // A listener, an epoll and a bell for each loop; the stop signal and what passes it on.
        context.max_connections_beside(3 * self.workers() + 2)
    }
}

fn main() -> ExitCode {
    serverkit::main(&MODEL, serve)
}

fn serve(context: &'static Context, flags: Flags) -> anyhow::Result<()> {
    let workers = flags.workers();
    let places = flags.places(context);
    ensure!(
        places > 0,
        "the descriptors do not suffice for {workers} workers; try fewer, or raise ulimit -n"
    );
    context.stats.set_workers(workers);
    let places = &Places::new(places, workers)?;
    let stop = &EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
    // Blocked before there are threads that could take them.
    let signal = &StopSignal::new()?;
    let listeners = Listener::bind_shared(&context.options, workers)?;
    let address = listeners[0].address();
    let mut reactors = listeners
        .into_iter()
        .enumerate()
        .map(|(worker, listener)| {
            let share = Share::new(places, worker);
            Reactor::new(context, worker, listener, share, stop)
        })
        .collect::<nix::Result<Vec<_>>>()?;
    reactors[0].take_signal(signal)?;
    workers::run(
        reactors
            .into_iter()
            .map(|mut reactor| move || reactor.run()),
        || announce(address),
        || tell(stop),
    )
}

/// Makes an eventfd readable.
pub fn tell(event: &EventFd) {
    // It fails where it has been done before, very often.
    let _ = event.write(1);
}

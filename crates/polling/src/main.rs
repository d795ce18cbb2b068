//! # polling: ask everybody in turn
//!
//! The sockets do not block: a read of an empty socket returns EAGAIN at once. So one thread can go
//! from client to client, round after round, and ask each whether it has sent something. It never
//! waits for one client.
//!
//! ```text
//!         +--> listener?  client 5?  client 6?  client 7?  ... --+
//!         |    nothing    nothing    5 bytes!   nothing          |
//!         |                          answer                      |
//!         +-------------- sleep for --interval <-----------------+
//! ```
//!
//! * System calls: `accept4` and `recvfrom`, which mostly return EAGAIN; `sendto`;
//!   `clock_nanosleep`.
//! * With `--interval 0`, the default, the server never sleeps: it answers soonest, and uses a
//!   whole core. Each further client makes the round longer by one system call, and all others wait
//!   longer.
//! * A longer interval costs less, but answers later, by half an interval on average. No value is
//!   right for all clients. A loop that waits for all clients at once needs no such value.
//! * What breaks it: the number of clients, busy or not. And timer slack: by default the kernel may
//!   let a thread sleep 50 us longer than it asked for, to wake several threads at once. Here the
//!   slack is set to 1 ns.
//! * The handler of a stop signal sets a flag, which the loop reads in each round. The signal also
//!   ends the sleep.
//!
//! Source: W. Richard Stevens, "UNIX Network Programming", volume 1, sections 6.2 and 16.2.
#![forbid(unsafe_code)]

use std::net::TcpListener;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use nix::sys::prctl::set_timerslack;
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, ClockNanosleepFlags, clock_nanosleep};
use serverkit::accept::{Accepted, Blocking, accept};
use serverkit::clients::{ACCEPTS_PER_TURN, Clients};
use serverkit::nonblocking::Trigger;
use serverkit::{Context, Model, listener, stop, trace};

const MODEL: Model<Flags> = Model {
    name: "polling",
    family: "asking",
    summary: "One thread asks every socket in turn whether it has something, round after round",
    limits: |context, _| context.descriptor_limits(),
};

#[derive(Debug, Clone, Copy, clap::Args)]
struct Flags {
    /// Sleep between two rounds, such as 1ms; 0 spins
    #[arg(long, value_name = "DURATION", default_value = "0", value_parser = serverkit::options::duration)]
    interval: Duration,
}

fn main() -> ExitCode {
    serverkit::main(&MODEL, serve)
}

fn serve(context: &'static Context, flags: Flags) -> anyhow::Result<()> {
    set_timerslack(1).context("cannot set the timer slack")?;
    let listener = listener::bind(&context.options)?;
    stop::interrupt_blocking_calls()?;
    listener::announce(listener.local_addr()?)?;
    Server {
        context,
        interval: flags.interval,
        listener: Some(listener),
        clients: Clients::new(context, context.max_connections()),
    }
    .run()
}

struct Server {
    context: &'static Context,
    interval: Duration,
    /// `None` once the server is stopping.
    listener: Option<TcpListener>,
    clients: Clients,
}

impl Server {
    fn run(&mut self) -> anyhow::Result<()> {
        let mut keys = Vec::new();
        while self.listener.is_some() || !self.clients.is_empty() {
            self.accept(ACCEPTS_PER_TURN)?;
            if stop::requested() {
                self.stop()?;
            }
            // All of them are asked: there is nothing to remember about who is due.
            self.clients.due();
            keys.extend(self.clients.iter().map(|(key, _)| key));
            for key in keys.drain(..) {
                self.step(key);
            }
            self.wait();
        }
        Ok(())
    }

    /// The one place where this server does not use its core.
    fn wait(&self) {
        let time = self
            .clients
            .timeout()
            .map_or(self.interval, |timeout| timeout.min(self.interval));
        if !time.is_zero() {
            let waiting = trace::wait("clock_nanosleep", Some(time), Vec::new);
            // A signal ends it sooner, which is what the error says.
            let slept = clock_nanosleep(
                ClockId::CLOCK_MONOTONIC,
                ClockNanosleepFlags::empty(),
                &TimeSpec::from_duration(time),
            );
            if slept.is_ok() {
                waiting.woke(Vec::new);
            }
        }
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
            match accept(self.context, listener, Blocking::None)? {
                Accepted::Client(socket) => {
                    self.clients.insert(socket);
                }
                Accepted::None => break,
                Accepted::Overloaded => self.clients.overloaded(),
            }
        }
        Ok(())
    }

    /// Moves the bytes of one client, if there are any. What is left in its socket is found in the
    /// next round.
    fn step(&mut self, key: usize) {
        self.clients.step(key, Trigger::Polled);
    }

    /// Accepts the clients that still wait, closes the listener, and lets each client's input end with what
    /// has arrived.
    fn stop(&mut self) -> anyhow::Result<()> {
        if self.listener.is_some() {
            self.accept(usize::MAX)?;
            self.listener = None;
            self.clients.stop();
        }
        Ok(())
    }
}

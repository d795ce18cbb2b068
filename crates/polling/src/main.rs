//! # polling: ask everybody in turn
//!
//! The sockets do not block: a read of an empty one returns at once and says so (EAGAIN). One
//! thread can therefore go from client to client and ask each whether it has something to say,
//! round after round. Nobody is waited for; the milk is looked for at the door every minute.
//!
//! ```text
//!         +--> listener?  client 5?  client 6?  client 7?  ... --+
//!         |    nothing    nothing    5 bytes!   nothing          |
//!         |                          answer                      |
//!         +-------------- sleep for --interval <-----------------+
//! ```
//!
//! * System calls: `accept4` and `read` that say EAGAIN, most of the time; `clock_nanosleep`.
//! * `--interval 0`, the default, spins: the soonest answer of all, for a whole core, and for
//!   one client. Each further client makes the round longer by one system call, and thereby the
//!   wait of all the others.
//! * A longer interval costs less and answers later, by half an interval on average: no value is
//!   right, which is why every other model has itself told instead.
//! * What breaks it: the number of clients, busy or not. And sleeping: by default the kernel may
//!   let a thread sleep 50 us longer than it asked for, to wake several at once (timer slack);
//!   here that is set to 1 ns, so that an interval of 1 ms is one.
//! * A stop signal has no descriptor that could be waited for. Its handler sets a flag, which is
//!   read each round, and the signal ends the sleep.
//!
//! Source: W. Richard Stevens, "UNIX Network Programming", volume 1, sections 6.2 and 16.2.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::Duration;

use nix::sys::prctl::set_timerslack;
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, ClockNanosleepFlags, clock_nanosleep};
use serverkit::clients::{ACCEPTS_PER_TURN, Clients};
use serverkit::listener::Listener;
use serverkit::nonblocking::{Next, Until};
use serverkit::{Context, Model, stop, trace};

const MODEL: Model<Flags> = Model {
    name: "polling",
    family: "asking",
    summary: "One thread asks every socket in turn whether it has something, round after round",
    descriptors: None,
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
    set_timerslack(1)?;
    let listener = Listener::bind(&context.options)?;
    stop::interrupt_blocking_calls(&listener)?;
    listener.announce();
    Server {
        context,
        interval: flags.interval,
        clients: Clients::new(context, listener, context.max_connections()),
    }
    .run()
}

struct Server {
    context: &'static Context,
    interval: Duration,
    clients: Clients,
}

impl Server {
    fn run(&mut self) -> anyhow::Result<()> {
        let mut keys = Vec::new();
        let mut rounds = 0_u64;
        loop {
            if stop::requested() && self.clients.listener().is_some() {
                self.clients.stop();
            }
            self.accept()?;
            keys.extend(self.clients.iter().map(|(key, _)| key));
            let asked = keys.len();
            let busy = keys.drain(..).filter(|&key| self.ask(key)).count();
            // A line for each vain round would bury what happens.
            rounds += 1;
            if busy > 0 {
                trace!(
                    self.context,
                    "{busy} of {asked} clients had something, in round {rounds} since the last"
                );
                rounds = 0;
            }
            self.clients.expire();
            if self.clients.is_finished() {
                return Ok(());
            }
            self.sleep();
        }
    }

    /// Takes who waits at the door, if there is room.
    fn accept(&mut self) -> anyhow::Result<()> {
        for _ in 0..ACCEPTS_PER_TURN {
            let accepted = self.clients.accept();
            // The signal's handler has closed the listener, which is no error then.
            if stop::requested() || accepted?.is_none() {
                break;
            }
        }
        Ok(())
    }

    /// Moves the bytes of one client, if there are any; tells whether there were. What is left
    /// over is asked for in the next round.
    fn ask(&mut self, key: usize) -> bool {
        let before = self.clients[key].bytes_moved();
        self.clients.ask(key, Until::ShortRead) == Next::Closed
            || self.clients[key].bytes_moved() > before
    }

    /// The one place where this server does not use its core.
    fn sleep(&self) {
        let time = self
            .clients
            .timeout()
            .map_or(self.interval, |deadline| deadline.min(self.interval));
        if !time.is_zero() {
            // A signal ends it sooner, which is what the error says.
            let _ = clock_nanosleep(
                ClockId::CLOCK_MONOTONIC,
                ClockNanosleepFlags::empty(),
                &TimeSpec::from_duration(time),
            );
        }
    }
}

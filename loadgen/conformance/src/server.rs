//! A server that runs.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::client::{Client, Slices, pattern};
use crate::outcome::{NotPassed, Outcome, ensure, skipped};
use crate::patience::{Patience, eventually, pause};
use crate::resources::{Activity, Holdings, memory};
use crate::target::{ONLY_AN_ADDRESS, wait_for_end};
use nix::sys::signal::Signal;
use supervisor::{Exit, Group, Process};

/// A server that runs; the process and all its children end when this is dropped.
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    pub patience: Patience,
    pub(crate) process: Option<Process>,
    pub(crate) backlog_may_be_short: bool,
}

impl Server {
    /// A new client.
    pub fn connect(&self) -> Outcome<Client> {
        let client = Client::connect(self.address, self.patience)?;
        if self.backlog_may_be_short {
            client.let_in();
        }
        Ok(client)
    }

    /// This many new clients.
    pub fn connect_many(&self, clients: usize) -> Outcome<Vec<Client>> {
        (0..clients).map(|_| self.connect()).collect()
    }

    /// This many clients that were each served once.
    pub fn served_clients(&self, clients: usize) -> Outcome<Vec<Client>> {
        let mut clients = self.connect_many(clients)?;
        clients
            .iter_mut()
            .try_for_each(|client| client.round_trip(b"hello"))?;
        Ok(clients)
    }

    /// The server's processes.
    pub fn group(&self) -> Outcome<Group> {
        match &self.process {
            Some(process) => Ok(process.group()),
            None => skipped(ONLY_AN_ADDRESS),
        }
    }

    /// Memory of all its processes, bytes.
    pub fn memory(&self) -> Outcome<u64> {
        Ok(memory(self.group()?))
    }

    /// It serves a new client.
    pub fn still_serves(&self) -> Outcome {
        self.connect()?.exchange(&pattern(99, 3_000), Slices::Whole)
    }

    /// What it holds after it has noticed that the last client left: nothing changes any more.
    pub fn holdings_at_rest(&self) -> Outcome<Holdings> {
        let group = self.group()?;
        let mut last = Holdings::of(group);
        let mut same = 0;
        let what = "an idle server whose descriptors, threads and processes stay the same";
        eventually(self.patience, what, || {
            let now = Holdings::of(group);
            same = if now == last { same + 1 } else { 0 };
            last = now;
            same == 20
        })?;
        Ok(last)
    }

    /// Waits until it holds no more than `before`.
    pub fn holds_no_more(&self, before: Holdings) -> Outcome {
        let group = self.group()?;
        let returned = || Holdings::of(group).fits_in(before);
        eventually(self.patience, "", returned).map_err(|_| NotPassed::Failed {
            expected: format!("after the clients left no more than before: {before}"),
            seen: Holdings::of(group).to_string(),
        })
    }

    /// Clients that repeat `bytes` and do not read, until the server takes no more; and how many bytes each has
    /// sent. From now on the server cannot write to any of them.
    pub fn stuck_clients(&self, clients: usize, bytes: &[u8]) -> Outcome<Vec<(Client, usize)>> {
        let mut stuck = Vec::new();
        for client in self.connect_many(clients)? {
            // Large buffers of many clients would use up the memory that the kernel has for TCP.
            client.set_buffers(128 * 1024)?;
            stuck.push((client, 0));
        }
        let mut quiet = Quiet::new(self);
        while !quiet.for_long() {
            for (client, sent) in &mut stuck {
                let n = client.flood_from(bytes, *sent)?;
                if n > 0 {
                    quiet = Quiet::new(self);
                    *sent += n;
                }
            }
            pause();
        }
        Ok(stuck)
    }

    /// Asks it to stop and waits for its end, which must be clean.
    pub fn stop(self) -> Outcome<Exit> {
        self.group()?.signal_leader(Signal::SIGTERM);
        self.ended_cleanly("SIGTERM")
    }

    /// Waits for the end that `cause` brings: exit 0 and no process left behind.
    pub fn ended_cleanly(self, cause: &str) -> Outcome<Exit> {
        let exit = self.wait()?;
        let clean = exit.code() == Some(0) && exit.left_behind == 0;
        ensure(
            clean,
            format!("after {cause} exit 0 and no process left behind"),
            &exit,
        )?;
        Ok(exit)
    }

    /// Waits for its end.
    pub fn wait(self) -> Outcome<Exit> {
        match self.process {
            Some(process) => wait_for_end(process, self.patience),
            None => skipped(ONLY_AN_ADDRESS),
        }
    }
}

/// A time in which a server takes no more from its clients.
struct Quiet {
    /// Its processes, where they can be looked at.
    group: Option<Group>,
    since: Instant,
    /// How long its threads had run at the first look.
    ran: Option<Duration>,
    /// Looks one after the other at which all threads slept.
    asleep: u32,
}

impl Quiet {
    /// It begins now.
    fn new(server: &Server) -> Self {
        Self {
            group: server.group().ok(),
            since: Instant::now(),
            ran: None,
            asleep: 0,
        }
    }

    /// Whether the server had the time to take more, and did not. On a busy machine it may get no processor for long,
    /// so it must have slept, or have run.
    fn for_long(&mut self) -> bool {
        const LOOKS: u32 = 20;
        const RUN: Duration = Duration::from_millis(50);
        const WAIT: Duration = Duration::from_millis(150);
        let Some(group) = self.group else {
            return self.since.elapsed() > WAIT;
        };
        let now = Activity::of(group);
        self.asleep = if now.is_busy { 0 } else { self.asleep + 1 };
        let ran = *self.ran.get_or_insert(now.ran);
        self.asleep > LOOKS || now.ran.saturating_sub(ran) > RUN
    }
}

//! What the workers share: the listener, the clients and their deadlines.
//!
//! A worker takes a client out, serves it, and puts it back. Another worker that gets an event of
//! this client meanwhile does not wait: it sets a flag, and the first one serves the client once
//! more.

use std::fmt::Display;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use serverkit::Context;
use serverkit::accept::{Admission, Socket};
use serverkit::deadlines::Deadlines;
use serverkit::nonblocking::{Client, Next};
use serverkit::session::READ;
use serverkit::trace::{self, Name};
use slab::Slab;

// What a token stands for: one of these, or else a client.
/// The server is to stop.
pub const STOP: u64 = u64::MAX;
/// It has stopped.
pub const FINISHED: u64 = u64::MAX - 1;
/// A client is due.
pub const TIMER: u64 = u64::MAX - 2;
/// The listener.
pub const LISTENER: u64 = u64::MAX - 3;

/// The time to look for room again. A client's deadline has the number that follows its key.
const ACCEPT_AGAIN: usize = 0;

/// The listener and the clients. A client's token is its key in the lower half and its generation
/// in the upper half: a key is used again when its client has left.
pub struct Shared {
    /// `None` before the server begins, and once it is stopping.
    pub listener: Option<TcpListener>,
    /// The listener is armed, or a worker got its event and accepts.
    pub listens: bool,
    context: &'static Context,
    admission: Admission,
    slab: Slab<Entry>,
    generation: u32,
    deadlines: Deadlines,
    timer: TimerFd,
    /// The timer fires at this time.
    fires_at: Option<Instant>,
    /// The end of the grace, once the server is stopping.
    stop_at: Option<Instant>,
}

struct Entry {
    generation: u32,
    /// Which client it is, for the trace.
    number: u64,
    /// `None` while a worker serves it.
    client: Option<Client>,
    /// Another worker got an event of it meanwhile.
    once_more: bool,
}

fn token(key: usize, generation: u32) -> u64 {
    u64::from(generation) << 32 | key as u64
}

fn key(token: u64) -> usize {
    token as u32 as usize
}

fn generation(token: u64) -> u32 {
    (token >> 32) as u32
}

/// `None`: the client has left, and another may have its key.
fn find(slab: &Slab<Entry>, token: u64) -> Option<&Entry> {
    let entry = slab.get(key(token));
    entry.filter(|entry| entry.generation == generation(token))
}

impl Shared {
    /// No listener and no clients yet.
    pub fn new(context: &'static Context) -> anyhow::Result<Self> {
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC)
            .context("timerfd_create")?;
        Ok(Self {
            listener: None,
            listens: true,
            context,
            admission: Admission::new(context.max_connections()),
            slab: Slab::new(),
            generation: 0,
            deadlines: Deadlines::default(),
            timer,
            fires_at: None,
            stop_at: None,
        })
    }

    /// There is room for another client.
    pub fn have_room(&self) -> bool {
        self.admission.is_open(self.slab.len())
    }

    /// accept ran out of something: there is no room until a client leaves or a moment has passed.
    pub fn overloaded(&mut self) -> anyhow::Result<()> {
        let retry_at = self.admission.overloaded();
        self.set_deadline(ACCEPT_AGAIN, retry_at)
    }

    /// Takes in a client that was just accepted.
    pub fn insert(&mut self, socket: Socket) -> anyhow::Result<(u64, &Client)> {
        self.generation = self.generation.wrapping_add(1);
        let client = Client::new(self.context, socket);
        let key = self.slab.vacant_key();
        if let Some(at) = client.deadline() {
            self.set_deadline(1 + key, at)?;
        }
        let entry = self.slab.vacant_entry().insert(Entry {
            generation: self.generation,
            number: client.number(),
            client: None,
            once_more: false,
        });
        Ok((token(key, entry.generation), entry.client.insert(client)))
    }

    /// Takes a client out to serve it. `None` if it has left, or if another worker serves it: that
    /// one does so once more.
    pub fn take(&mut self, token: u64) -> Option<Client> {
        let entry = self.slab.get_mut(key(token))?;
        if entry.generation != generation(token) {
            return None;
        }
        entry.once_more = entry.client.is_none();
        let mut client = entry.client.take()?;
        if let Some(at) = self.stop_at {
            client.stop(at);
        }
        Some(client)
    }

    /// Puts a client back. Gives it back if it is to be served once more.
    pub fn put_back(
        &mut self,
        token: u64,
        client: Client,
        next: Next,
    ) -> anyhow::Result<Option<Client>> {
        let deadline = match next {
            Next::Again => Some(Instant::now()),
            _ => client.deadline(),
        };
        let entry = &mut self.slab[key(token)];
        entry.client = Some(client);
        let once_more = entry.once_more;
        if let Some(at) = deadline {
            self.set_deadline(1 + key(token), at)?;
        }
        Ok(if once_more { self.take(token) } else { None })
    }

    /// The client that was taken has ended.
    pub fn remove(&mut self, token: u64) {
        self.slab.remove(key(token));
        self.admission.retry();
    }

    /// Drops a client that cannot be served, because of `error`.
    pub fn fail(&mut self, token: u64, error: impl Display) {
        if let Some(mut client) = self.take(token) {
            client.fail(error);
            self.remove(token);
        }
    }

    /// What the kernel is asked about, for the trace.
    pub fn awaited(&self) -> Vec<String> {
        let listens = self.listener.is_some() && self.listens;
        let listener = listens.then(|| trace::LISTENER.awaited(READ));
        let timer = self.fires_at.map(|_| "timer".to_owned());
        let waiting = self
            .slab
            .iter()
            .filter_map(|(_, entry)| entry.client.as_ref());
        let clients =
            waiting.map(|client| Name::Client(client.number()).awaited(client.interest()));
        trace::list(listener.into_iter().chain(timer).chain(clients))
    }

    /// What a token stands for, for the trace.
    pub fn name(&self, token: u64) -> String {
        match (token, find(&self.slab, token)) {
            (STOP, _) => trace::STOP.ready(READ),
            (FINISHED, _) => "the last client has left".to_owned(),
            (TIMER, _) => "timer".to_owned(),
            (LISTENER, _) => trace::LISTENER.ready(READ),
            (_, Some(entry)) => {
                let interest = entry.client.as_ref().map_or(READ, Client::interest);
                Name::Client(entry.number).some_of(interest)
            }
            (_, None) => "a client that has left".to_owned(),
        }
    }

    /// The server was stopped and the last client has left.
    pub fn is_finished(&self) -> bool {
        self.listener.is_none() && self.slab.is_empty()
    }

    /// What each client has sent is answered, and then it is closed, at the end of the grace at
    /// the latest. All clients are due: a socket that is empty would not wake a worker.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        let now = Instant::now();
        self.stop_at = Some(now + self.context.options.grace);
        for (key, _) in &self.slab {
            self.deadlines.set(1 + key, now);
        }
        self.set_timer()
    }

    /// Fires when a client is due. Then [`Shared::due`] is to be called.
    pub fn timer(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }

    /// The timer has fired. Gives one client that is due, if there is one; for the next one the
    /// timer fires again.
    pub fn due(&mut self) -> anyhow::Result<Option<u64>> {
        self.fires_at = None;
        let mut due = None;
        while due.is_none()
            && let Some(number) = self.deadlines.expired(Instant::now())
        {
            if number == ACCEPT_AGAIN {
                self.admission.retry();
            } else if let Some(entry) = self.slab.get(number - 1) {
                due = Some(token(number - 1, entry.generation));
            }
        }
        self.set_timer()?;
        Ok(due)
    }

    fn set_deadline(&mut self, number: usize, at: Instant) -> anyhow::Result<()> {
        self.deadlines.set(number, at);
        self.set_timer()
    }

    /// Sets the timer to the soonest deadline, unless it fires before.
    fn set_timer(&mut self) -> anyhow::Result<()> {
        let now = Instant::now();
        if let Some(after) = self.deadlines.timeout(now)
            && self.fires_at.is_none_or(|at| now + after < at)
        {
            self.fires_at = Some(now + after);
            // To the kernel zero means never.
            let after = after.max(Duration::from_nanos(1)).into();
            self.timer
                .set(Expiration::OneShot(after), TimerSetTimeFlags::empty())
                .context("timerfd_settime")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_not_taken_for_the_one_that_had_its_key_before() {
        let mut slab = Slab::new();
        let entry = |number, generation| Entry {
            generation,
            number,
            client: None,
            once_more: false,
        };
        let first = token(slab.insert(entry(1, 7)), 7);
        assert_eq!(find(&slab, first).map(|entry| entry.number), Some(1));
        slab.remove(key(first));
        let second = token(slab.insert(entry(2, 8)), 8);
        assert_eq!(key(first), key(second));
        assert!(find(&slab, first).is_none());
        assert_eq!(find(&slab, second).map(|entry| entry.number), Some(2));
    }
}

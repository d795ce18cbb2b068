//! One loop: an epoll, a listener and the clients that came through it.

use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::EventFd;
use serverkit::clients::{ACCEPTS_PER_TURN, Clients};
use serverkit::context::pin;
use serverkit::deadlines::millis;
use serverkit::listener::Listener;
use serverkit::nonblocking::{Next, Until};
use serverkit::session::Interest;
use serverkit::stop::StopSignal;
use serverkit::{Context, trace};

use crate::places::Share;
use crate::tell;

/// What an event is about: one of these, or else the key of a client.
const LISTENER: u64 = u64::MAX;
/// The loop is given the place that it has waited for.
const BELL: u64 = u64::MAX - 1;
const SIGNAL: u64 = u64::MAX - 2;
const STOP: u64 = u64::MAX - 3;

/// A loop with its listener and its clients.
pub struct Reactor<'a> {
    context: &'static Context,
    worker: usize,
    epoll: Epoll,
    /// The listener is in the interest set.
    listening: bool,
    /// What the set holds of each client, by the client's key.
    interests: Vec<Interest>,
    clients: Clients,
    share: Share<'a>,
    /// The first loop's.
    signal: Option<&'a StopSignal>,
    /// Readable for ever once the server is stopping.
    stop: &'a EventFd,
}

impl<'a> Reactor<'a> {
    /// Waits for its first client, and for the stop.
    pub fn new(
        context: &'static Context,
        worker: usize,
        listener: Listener,
        share: Share<'a>,
        stop: &'a EventFd,
    ) -> nix::Result<Self> {
        let reactor = Self {
            context,
            worker,
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            listening: false,
            interests: Vec::new(),
            clients: Clients::new(context, listener, context.max_connections()),
            share,
            signal: None,
            stop,
        };
        reactor.watch(&reactor.share.bell(), BELL)?;
        reactor.watch(stop, STOP)?;
        Ok(reactor)
    }

    /// Takes the stop signal for all loops. The second signal ends the process at once only while
    /// the thread lives that took the first: this must be the main thread.
    pub fn take_signal(&mut self, signal: &'a StopSignal) -> nix::Result<()> {
        self.signal = Some(signal);
        self.watch(signal, SIGNAL)
    }

    fn watch(&self, what: &impl AsFd, event: u64) -> nix::Result<()> {
        self.epoll
            .add(what, EpollEvent::new(EpollFlags::EPOLLIN, event))
    }

    /// Serves until the server was stopped and the last client has left.
    pub fn run(&mut self) -> anyhow::Result<()> {
        if let Some(cpus) = &self.context.options.cpu {
            pin(&[cpus.0[self.worker % cpus.0.len()]])?;
        }
        let mut events = [EpollEvent::empty(); 512];
        while !self.clients.is_finished() {
            self.arm_listener()?;
            let ready = self.wait(&mut events)?;
            for event in &events[..ready] {
                match event.data() {
                    LISTENER => self.accept()?,
                    BELL => {
                        self.share.answer_bell()?;
                        self.accept()?;
                    }
                    SIGNAL => self.pass_signal_on()?,
                    STOP => self.begin_stop()?,
                    key => self.step(key as usize),
                }
            }
            self.clients.expire();
            self.share.give_back_all_but(self.clients.len())?;
        }
        Ok(())
    }

    /// The one place where a loop blocks.
    fn wait(&self, events: &mut [EpollEvent]) -> nix::Result<usize> {
        let timeout = EpollTimeout::from(millis(self.clients.timeout()));
        let ready = match self.epoll.wait(events, timeout) {
            Err(Errno::EINTR) => 0,
            result => result?,
        };
        let what = || events[..ready].iter().map(|event| self.name(event.data()));
        trace!(
            self.context,
            "loop {}: epoll_wait: {}",
            self.worker,
            what().collect::<Vec<_>>().join(", ")
        );
        Ok(ready)
    }

    /// The listener is in the interest set only while there may be room for another client.
    fn arm_listener(&mut self) -> nix::Result<()> {
        let Some(listener) = self.clients.listener() else {
            return Ok(());
        };
        let wanted = self.clients.accepting() && !self.share.is_queued();
        if wanted && !self.listening {
            self.watch(listener, LISTENER)?;
        } else if self.listening && !wanted {
            self.epoll.delete(listener)?;
        }
        self.listening = wanted;
        Ok(())
    }

    fn accept(&mut self) -> anyhow::Result<()> {
        for _ in 0..ACCEPTS_PER_TURN {
            if !self.share.has_place_beside(self.clients.len()) {
                break;
            }
            let Some(key) = self.clients.accept()? else {
                break;
            };
            self.context.stats.took(self.worker);
            let client = &self.clients[key];
            let interest = client.interest();
            if let Err(errno) = self.epoll.add(client, event(interest, key)) {
                self.clients.abort(key, errno);
                continue;
            }
            if self.interests.len() <= key {
                self.interests.resize(key + 1, interest);
            }
            self.interests[key] = interest;
        }
        Ok(())
    }

    /// Moves the bytes of one client, and tells the kernel what it waits for if that has changed.
    /// Closing its socket takes it out of the interest set.
    fn step(&mut self, key: usize) {
        if self.clients.step(key, Until::ShortRead) == Next::Closed {
            return;
        }
        let client = &self.clients[key];
        let interest = client.interest();
        if interest != self.interests[key] {
            self.interests[key] = interest;
            if let Err(errno) = self.epoll.modify(client, &mut event(interest, key)) {
                self.clients.abort(key, errno);
            }
        }
    }

    fn pass_signal_on(&self) -> nix::Result<()> {
        if let Some(signal) = self.signal
            && signal.take()?.is_some()
        {
            tell(self.stop);
        }
        Ok(())
    }

    fn begin_stop(&mut self) -> nix::Result<()> {
        self.epoll.delete(self.stop)?;
        self.clients.stop();
        for key in self.clients.keys() {
            self.step(key);
        }
        Ok(())
    }

    fn name(&self, what: u64) -> String {
        match what {
            LISTENER => "listener".to_owned(),
            BELL => "bell".to_owned(),
            SIGNAL => "stop signal".to_owned(),
            STOP => "stop".to_owned(),
            key => self.clients.name(key as usize),
        }
    }
}

/// An entry of the interest set.
fn event(interest: Interest, key: usize) -> EpollEvent {
    let mut flags = EpollFlags::empty();
    flags.set(EpollFlags::EPOLLIN, interest.read);
    flags.set(EpollFlags::EPOLLOUT, interest.write);
    EpollEvent::new(flags, key as u64)
}

//! The children as the parent sees them: who is idle, and who is to be replaced.

use std::fmt::{self, Display, Formatter};
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::Context as _;
use serverkit::Context;
use serverkit::accept::Socket;
use serverkit::child::{News, Parent};
use serverkit::trace::{self, Event as Told};

use crate::channel::Channel;

/// The workers, by number.
pub struct Workers {
    context: &'static Context,
    pub parent: Parent,
    /// `None`: nothing can be given to it, as it has died or the server is stopping.
    slots: Vec<Option<Worker>>,
}

/// What there is to read.
#[derive(Debug, Clone, Copy)]
pub enum Event {
    /// A client waits.
    Client,
    /// The worker with this number has become idle, or has died.
    Report(usize),
}

/// Its name in the trace.
impl Display for Event {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self {
            Self::Client => trace::LISTENER.fmt(f),
            Self::Report(number) => write!(f, "child {}", 1 + number),
        }
    }
}

struct Worker {
    channel: Channel,
    is_idle: bool,
}

impl Workers {
    /// This many workers, none of which is started yet.
    pub fn new(context: &'static Context, parent: Parent, count: usize) -> Self {
        context.stats.set_workers(count);
        Self {
            context,
            parent,
            slots: (0..count).map(|_| None).collect(),
        }
    }

    /// Starts those that have no process. Each runs `body` with its number and its end of the
    /// channel; it has a copy of every descriptor that is open now.
    pub fn start_missing(
        &mut self,
        mut body: impl FnMut(usize, &Channel) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        for number in self.parent.missing(self.slots.len()) {
            self.start(number, |channel| body(number, channel))
                .with_context(|| format!("no process for child {} (see --workers)", 1 + number))?;
        }
        Ok(())
    }

    fn start(
        &mut self,
        number: usize,
        body: impl FnOnce(&Channel) -> anyhow::Result<()>,
    ) -> nix::Result<()> {
        let (channel, of_child) = Channel::pair()?;
        let worker = Worker {
            channel,
            is_idle: true,
        };
        self.slots[number] = Some(worker);
        let started = self.parent.start(number, || {
            // Closes the child's copies of the parent's ends. As long as a copy is open, its
            // channel has no end for the other side.
            self.slots.clear();
            body(&of_child)
        });
        if started.is_err() {
            self.slots[number] = None;
        }
        started
    }

    /// A worker waits for a client.
    pub fn have_idle(&self) -> bool {
        self.slots.iter().flatten().any(|worker| worker.is_idle)
    }

    /// Waits for a client at the listener, if that is given, for reports of workers that serve, and
    /// for news of the children.
    pub fn wait(
        &mut self,
        listener: Option<&TcpListener>,
        timeout: Option<Duration>,
    ) -> anyhow::Result<News<Event>> {
        let listener = listener.map(|listener| (Event::Client, listener.as_fd()));
        let slots = self.slots.iter().enumerate();
        let reports = slots.filter_map(|(number, worker)| {
            let busy = worker.as_ref().filter(|worker| !worker.is_idle)?;
            Some((Event::Report(number), busy.channel.as_fd()))
        });
        let news = self
            .parent
            .wait(listener.into_iter().chain(reports), timeout)?;
        self.parent.died(&news.ended);
        for child in &news.ended {
            self.slots[child.number] = None;
        }
        Ok(news)
    }

    /// Gives the client to an idle worker; gives it back when there is none.
    pub fn give(&mut self, client: Socket) -> Result<(), Socket> {
        for (number, slot) in self.slots.iter_mut().enumerate() {
            let Some(worker) = slot.as_mut().filter(|worker| worker.is_idle) else {
                continue;
            };
            worker.is_idle = false;
            // Before the child can be done with it.
            self.context
                .stats
                .set_serving(number, Some(client.number()));
            match worker.channel.give(&client) {
                Ok(()) => {
                    let to = Some(format!("child {}", 1 + number));
                    trace::tell(|| Told::Pass {
                        client: client.number(),
                        to,
                    });
                    self.context.stats.took(number);
                    return Ok(());
                }
                Err(errno) => {
                    trace::note(None, || {
                        format!("sendmsg: {errno}: child {} has died", 1 + number)
                    });
                    self.context.stats.set_serving(number, None);
                    *slot = None;
                }
            }
        }
        Err(client)
    }

    /// A worker reports that it is idle, or has died.
    pub fn take_report(&mut self, number: usize) {
        if let Some(worker) = &mut self.slots[number] {
            worker.is_idle = worker.channel.took_report();
            if !worker.is_idle {
                self.slots[number] = None;
            }
        }
    }

    /// Nothing more is given: each ends when it has served its client.
    pub fn close(&mut self) {
        self.slots.fill_with(|| None);
    }
}

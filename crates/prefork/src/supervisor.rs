//! What the parent does: it makes the workers, replaces those that die, and ends them. It serves
//! nobody.

use std::net::TcpListener;
use std::os::fd::AsFd;

use anyhow::Context as _;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serverkit::child::Parent;
use serverkit::{Context, listener, stop, trace};

use crate::serve_clients;

/// Serves with this many workers until the server was stopped and the last of them has ended. They
/// share one listener, or each has the one of its number.
pub fn run(
    context: &'static Context,
    parent: Parent,
    workers: usize,
    listeners: Vec<TcpListener>,
) -> anyhow::Result<()> {
    let mut supervisor = Supervisor {
        context,
        parent,
        workers,
        listeners,
    };
    context.stats.set_workers(workers);
    let result = supervisor.run();
    supervisor.parent.kill();
    result
}

struct Supervisor {
    context: &'static Context,
    parent: Parent,
    /// How many there are to be.
    workers: usize,
    /// Those that are not shut down.
    listeners: Vec<TcpListener>,
}

impl Supervisor {
    fn run(&mut self) -> anyhow::Result<()> {
        self.start_missing()?;
        listener::announce(self.listeners[0].local_addr()?)?;
        while !stop::requested() || self.parent.running() > 0 {
            self.wait()?;
            if stop::requested() {
                self.shut_down_unused();
            } else {
                self.replace();
            }
        }
        Ok(())
    }

    /// The one place where the parent blocks.
    fn wait(&mut self) -> anyhow::Result<()> {
        let news = self.parent.wait::<&str>([], None)?;
        self.parent.died(&news.ended);
        if news.stop {
            self.stop()?;
        }
        Ok(())
    }

    /// Starts the workers that have no process, as far as processes can be made.
    fn replace(&mut self) {
        if let Err(error) = self.start_missing() {
            self.parent.slow_down(format!("{error:#}"));
        }
    }

    fn start_missing(&mut self) -> anyhow::Result<()> {
        for number in self.parent.missing(self.workers) {
            let (context, listeners) = (self.context, &mut self.listeners);
            let started = self.parent.start(number, || {
                // Not its copies of the others' listeners: they end with those.
                let mine = listeners.swap_remove(number % listeners.len());
                listeners.clear();
                serve_clients(context, number, &mine)
            });
            started
                .with_context(|| format!("no process for child {} (see --workers)", 1 + number))?;
        }
        Ok(())
    }

    /// Has the children take those who still wait, and end.
    fn stop(&mut self) -> anyhow::Result<()> {
        for listener in &self.listeners {
            listener.set_nonblocking(true)?;
        }
        // Somebody may wait at the listener of a child that has died.
        self.replace();
        self.parent.stop();
        Ok(())
    }

    /// Shuts down the listeners at which nobody waits: a child that is busy would keep them open.
    fn shut_down_unused(&mut self) {
        self.listeners.retain(|listener| {
            let is_used = has_client(listener);
            if !is_used {
                trace::note(None, || {
                    "a listener at which nobody waits is shut down".to_owned()
                });
                listener::shut_down(listener);
            }
            is_used
        });
    }
}

fn has_client(listener: &TcpListener) -> bool {
    let mut entries = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    poll(&mut entries, PollTimeout::ZERO) == Ok(1)
}

//! Stops a server again and again, by SIGSTOP and SIGCONT.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};

use nix::sys::signal::Signal;
use supervisor::Group;

use crate::workload::scenario::Standstill;

/// Stops a server again and again until it is dropped. Then the server runs.
#[derive(Debug)]
pub struct Pauses {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Pauses {
    /// Begins to stop this server. The first stop comes after half of the time between two.
    pub fn of(server: Group, standstill: Standstill) -> Self {
        let (end, ended) = mpsc::channel();
        let stop = move || {
            let over = |time| ended.recv_timeout(time) != Err(RecvTimeoutError::Timeout);
            let mut wait = standstill.every / 2;
            while !over(wait) {
                server.signal(Signal::SIGSTOP);
                let ended = over(standstill.length);
                server.signal(Signal::SIGCONT);
                if ended {
                    return;
                }
                wait = standstill.every.saturating_sub(standstill.length);
            }
        };
        Self {
            end: Some(end),
            thread: Some(thread::spawn(stop)),
        }
    }
}

impl Drop for Pauses {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            // It never panics.
            let _ = thread.join();
        }
    }
}

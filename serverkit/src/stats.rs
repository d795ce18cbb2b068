//! What a server counted, printed at the end.
//!
//! The counters stand in memory that forked children share, so that one account serves threads and
//! processes alike. They change once or twice for each connection. They change for each request
//! only if its demand is drawn at random.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use serde::Serialize;
use serde_json::{Value, json};

/// Workers whose connections are counted apart, at most.
pub const MAX_WORKERS: usize = 4096;

/// The counters of one server, over all its threads and processes. They are atomics, and begin as zeroes: see
/// [`crate::shared`].
#[derive(Debug, Serialize)]
#[repr(C)]
pub struct Stats {
    accepted: AtomicU64,
    closed: AtomicU64,
    reset: AtomicU64,
    refused: AtomicU64,
    /// Of connections that were closed: those that [`Stats::end`] ends are missing.
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    accept_errors: AtomicU64,
    peak_open: AtomicU64,
    /// Requests whose demand (`--work`, `--block`) was drawn at random.
    #[serde(skip)]
    draws: AtomicU64,
    #[serde(skip)]
    workers: AtomicUsize,
    #[serde(skip)]
    per_worker: [AtomicU64; MAX_WORKERS],
    /// Of workers that serve one client at a time: its number; 0: there is none.
    #[serde(skip)]
    serving: [AtomicU64; MAX_WORKERS],
}

impl Stats {
    /// This many workers are counted apart; [`MAX_WORKERS`] at most.
    pub fn set_workers(&self, workers: usize) {
        self.workers.store(workers.min(MAX_WORKERS), Relaxed);
    }

    /// A connection was accepted; gives its number, counted from 1.
    pub fn accept(&self) -> u64 {
        let accepted = self.accepted.fetch_add(1, Relaxed) + 1;
        let open = accepted.saturating_sub(self.closed.load(Relaxed));
        self.peak_open.fetch_max(open, Relaxed);
        accepted
    }

    /// Connections that were accepted and have not ended.
    pub fn open(&self) -> usize {
        let accepted = self.accepted.load(Relaxed);
        accepted.saturating_sub(self.closed.load(Relaxed)) as usize
    }

    /// Worker number `worker`, counted from 0, took a connection.
    pub fn took(&self, worker: usize) {
        self.per_worker[worker % MAX_WORKERS].fetch_add(1, Relaxed);
    }

    /// Worker number `worker` serves the client with this number, or none: needed where it may die
    /// meanwhile ([`Stats::take_serving`]).
    pub fn set_serving(&self, worker: usize, client: Option<u64>) {
        self.serving[worker % MAX_WORKERS].store(client.unwrap_or(0), Relaxed);
    }

    /// The client that worker number `worker` served when it died.
    pub fn take_serving(&self, worker: usize) -> Option<u64> {
        let client = self.serving[worker % MAX_WORKERS].swap(0, Relaxed);
        (client > 0).then_some(client)
    }

    /// A connection has ended, after this many bytes were read and written. `reset`: by an error, a
    /// timeout or the end of the grace.
    pub fn close(&self, bytes_in: u64, bytes_out: u64, reset: bool) {
        self.closed.fetch_add(1, Relaxed);
        self.reset.fetch_add(reset.into(), Relaxed);
        self.bytes_in.fetch_add(bytes_in, Relaxed);
        self.bytes_out.fetch_add(bytes_out, Relaxed);
    }

    /// A connection was accepted and had to be dropped unserved.
    pub fn refuse(&self) {
        self.refused.fetch_add(1, Relaxed);
        self.closed.fetch_add(1, Relaxed);
    }

    /// The server ends. So do the connections that are still open: they count as reset,
    /// and their bytes are not known here.
    pub fn end(&self) {
        let accepted = self.accepted.load(Relaxed);
        let closed = self.closed.swap(accepted, Relaxed);
        let open = accepted.saturating_sub(closed);
        self.reset.fetch_add(open, Relaxed);
    }

    /// Numbers a request, from 0 over all threads and processes.
    pub fn draw(&self) -> u64 {
        self.draws.fetch_add(1, Relaxed)
    }

    /// accept failed.
    pub fn accept_error(&self) {
        self.accept_errors.fetch_add(1, Relaxed);
    }

    /// The counters as they are now.
    pub fn to_json(&self) -> Value {
        let mut json = json!(self);
        json["per_worker"] = match self.workers.load(Relaxed) {
            0 => json!([self.accepted]),
            workers => json!(self.per_worker[..workers]),
        };
        json
    }
}

//! A line of the trace: an event, when it happened, and in which worker.

use std::cell::Cell;
use std::fmt::{self, Display, Formatter};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use serde::Serialize;

use super::event::Event;

/// When the server was started, in nanoseconds of the monotonic clock.
static STARTED: OnceLock<u64> = OnceLock::new();
/// There are several workers, so each line names its own.
static NAMES_WORKERS: AtomicBool = AtomicBool::new(false);

thread_local! {
    static WORKER: Cell<Worker> = const { Cell::new(Worker("main", 0)) };
}

/// What a thread or process is, and which one, counted from 1; 0: there is only one.
#[derive(Debug, Clone, Copy)]
pub struct Worker(pub &'static str, pub usize);

impl Display for Worker {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self {
            Self(name, 0) => f.write_str(name),
            Self(kind, number) => write!(f, "{kind} {number}"),
        }
    }
}

/// From now on this is the name of the calling thread or process.
pub fn i_am(kind: &'static str, number: usize) {
    WORKER.set(Worker(kind, number));
}

/// There is more than one worker, or will be.
pub fn name_workers() {
    NAMES_WORKERS.store(true, Relaxed);
}

/// Times in words are counted from now on, or from when another process of the server has started.
pub(super) fn start(shared: &AtomicU64) {
    let now = now();
    let exchanged = shared.compare_exchange(0, now, Relaxed, Relaxed);
    STARTED.get_or_init(|| exchanged.err().unwrap_or(now));
}

/// Nanoseconds of the monotonic clock.
pub(super) fn now() -> u64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |time| Duration::from(time).as_nanos() as u64)
}

/// An event with its time, in nanoseconds of the monotonic clock, and its worker.
#[derive(Serialize)]
pub(super) struct Line<'a> {
    t_ns: u64,
    worker: String,
    #[serde(flatten)]
    event: &'a Event<'a>,
}

impl<'a> Line<'a> {
    pub(super) fn new(event: &'a Event<'a>) -> Self {
        Self {
            t_ns: now(),
            worker: WORKER.get().to_string(),
            event,
        }
    }
}

pub(super) fn json(line: &Line) -> String {
    serde_json::to_string(line).map_or_else(|error| error.to_string(), |line| line + "\n")
}

pub(super) fn words(line: &Line) -> String {
    let started = STARTED.get().copied().unwrap_or_default();
    let seconds = Duration::from_nanos(line.t_ns.saturating_sub(started)).as_secs_f64();
    let worker = if NAMES_WORKERS.load(Relaxed) {
        format!("{:<11}", format!("{}:", line.worker))
    } else {
        String::new()
    };
    format!("{seconds:10.6}  {worker}{}\n", line.event)
}

//! Starts Tokio's runtime, and ends the server in good order when that or the runtime itself fails.

use std::cell::Cell;
use std::panic;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use anyhow::Context as _;
use serverkit::console;
use serverkit::trace::{self, Waiting};
use tokio::runtime::{Builder, Runtime};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// How long the first thread for calls that block may take to start.
const START: Duration = Duration::from_secs(5);

/// Starts a runtime of this many workers, and returns when all of them run. One worker is the
/// current-thread runtime, whose only thread is the caller's.
///
/// If tasks make calls that block, there is a thread for these too, and it stays. Where no more threads can be
/// made, such calls wait for one. Without any, Tokio would panic or forget the call.
pub fn start(workers: usize, calls_block: bool) -> anyhow::Result<Runtime> {
    end_on_panic("; try fewer --workers, or raise ulimit -u");
    let mut builder = if workers == 1 {
        Builder::new_current_thread()
    } else {
        Builder::new_multi_thread()
    };
    builder.enable_all();
    if calls_block {
        builder.thread_keep_alive(Duration::MAX);
    }
    if trace::is_on() {
        builder.on_thread_park(park).on_thread_unpark(unpark);
    }
    let others = if workers == 1 { 0 } else { workers };
    let started = Arc::new(Barrier::new(others + 1));
    let worker_started = Arc::clone(&started);
    let started_threads = AtomicUsize::new(0);
    builder.worker_threads(workers).on_thread_start(move || {
        let number = 1 + started_threads.fetch_add(1, Relaxed);
        if number <= others {
            trace::i_am("worker", number);
            worker_started.wait();
        } else {
            // For calls that block.
            trace::i_am("helper", number - others);
        }
    });
    let runtime = builder.build().context("cannot start the runtime")?;
    started.wait();
    (1..=others).for_each(|number| trace::spawned("clone3", "worker", number));
    if calls_block {
        let first = runtime.block_on(async { timeout(START, spawn_blocking(|| ())).await });
        first.context("no thread for calls that block (--block); raise ulimit -u")??;
    }
    end_on_panic("");
    Ok(runtime)
}

thread_local! {
    /// The wait of a thread of the runtime.
    static WAITING: Cell<Option<Waiting>> = const { Cell::new(None) };
}

/// The calling thread of the runtime has no task to run. Tokio decides in which call it waits: one
/// thread waits with epoll, and it wakes the others.
fn park() {
    WAITING.set(Some(trace::wait("", None, task)));
}

fn unpark() {
    if let Some(waiting) = WAITING.take() {
        waiting.woke(task);
    }
}

fn task() -> Vec<String> {
    vec!["a task to run".to_owned()]
}

/// Tokio panics when a thread cannot be created or epoll fails. Unwinding would end one worker, and
/// the others would wait for ever.
fn end_on_panic(advice: &'static str) {
    panic::set_hook(Box::new(move |info| {
        let reason = info.payload_as_str().unwrap_or("panicked");
        console::complain(format_args!("tokio-server: {reason}{advice}\n"));
        std::process::exit(1);
    }));
}

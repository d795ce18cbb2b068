//! Starts Tokio's runtime, and ends the server in good order when that or the runtime itself fails.

use std::cell::Cell;
use std::panic;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Barrier};

use anyhow::Context as _;
use serverkit::console;
use serverkit::trace::{self, Waiting};
use tokio::runtime::{Builder, Runtime};

/// Starts a runtime of so many workers, and returns when all of them run. One worker is the
/// current-thread runtime, whose only thread is the caller's.
pub fn start(workers: usize) -> anyhow::Result<Runtime> {
    end_on_panic("; try fewer --workers, or raise ulimit -u");
    let runtime = if workers == 1 {
        let mut builder = Builder::new_current_thread();
        builder.on_thread_park(park).on_thread_unpark(unpark);
        builder.enable_all().build()
    } else {
        let started = Arc::new(Barrier::new(workers + 1));
        let worker_started = Arc::clone(&started);
        // Threads for calls that block start later, and nobody waits for them.
        let started_threads = AtomicUsize::new(0);
        Builder::new_multi_thread()
            .worker_threads(workers)
            .on_thread_start(move || {
                let number = 1 + started_threads.fetch_add(1, Relaxed);
                if number <= workers {
                    trace::i_am("worker", number);
                    worker_started.wait();
                } else {
                    trace::i_am("helper", number - workers);
                }
            })
            .on_thread_park(park)
            .on_thread_unpark(unpark)
            .enable_all()
            .build()
            .inspect(|_| {
                started.wait();
                (1..=workers).for_each(|number| trace::spawned("clone3", "worker", number));
            })
    };
    end_on_panic("");
    runtime.context("cannot start the runtime")
}

thread_local! {
    /// The wait of a thread of the runtime.
    static WAITING: Cell<Option<Waiting>> = const { Cell::new(None) };
}

/// The calling thread of the runtime has no task to run. In what call it waits is Tokio's affair: one
/// of them waits with epoll, and the others for that one to wake them.
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

//! Starts Tokio's runtime, and ends the server in good order when that or the runtime itself fails.

use std::panic;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Barrier};

use anyhow::Context as _;
use serverkit::console;
use tokio::runtime::{Builder, Runtime};

/// Starts a runtime of so many workers, and returns when all of them run. One worker is the
/// current-thread runtime, whose only thread is the caller's.
pub fn start(workers: usize) -> anyhow::Result<Runtime> {
    end_on_panic("; try fewer --workers, or raise ulimit -u");
    let runtime = if workers == 1 {
        Builder::new_current_thread().enable_all().build()
    } else {
        let started = Arc::new(Barrier::new(workers + 1));
        let worker_started = Arc::clone(&started);
        // Threads for calls that block start later, and nobody waits for them.
        let missing = AtomicUsize::new(workers);
        Builder::new_multi_thread()
            .worker_threads(workers)
            .on_thread_start(move || {
                let less_one = |missing: usize| missing.checked_sub(1);
                if missing.try_update(Relaxed, Relaxed, less_one).is_ok() {
                    worker_started.wait();
                }
            })
            .enable_all()
            .build()
            .inspect(|_| {
                started.wait();
            })
    };
    end_on_panic("");
    runtime.context("cannot start the runtime")
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

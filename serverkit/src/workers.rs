//! Workers that are threads: started together, and ended together.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::channel;
use std::thread;

use anyhow::{Context as _, anyhow};

use crate::context::Context;
use crate::stop;
use crate::trace::{self, Event};

/// Runs each worker on a thread of its own, until the last has returned. They are counted apart.
///
/// `ready` is called when all threads have been started, and `stop` when the stop was requested:
/// it tells the workers to end. It is called more than once (see [`watch`]).
///
/// An error of one worker ends all: the process is to end with it.
pub fn run<W>(
    context: &'static Context,
    workers: impl IntoIterator<Item = W>,
    ready: impl FnOnce() -> anyhow::Result<()>,
    stop: impl Fn() + Send + 'static,
) -> anyhow::Result<()>
where
    W: FnOnce() -> anyhow::Result<()> + Send + 'static,
{
    watch(context, stop)?;
    let (tell, told) = channel();
    let mut running = 0;
    for worker in workers {
        let tell = tell.clone();
        let number = running + 1;
        let work = move || {
            trace::i_am("worker", number);
            let result = catch_unwind(AssertUnwindSafe(worker));
            let result = result.unwrap_or_else(|_| Err(anyhow!("a worker panicked")));
            trace::tell(|| Event::Exit {
                why: match result {
                    Ok(()) => "the server stops",
                    Err(_) => "an error",
                },
            });
            // The receiver is gone if another worker has failed.
            let _ = tell.send(result);
        };
        thread::Builder::new()
            .spawn(work)
            .context("cannot start the workers; try fewer, or raise ulimit -u")?;
        trace::spawned("clone3", "worker", number);
        running = number;
    }
    context.stats.set_workers(running);
    ready()?;
    (0..running).try_for_each(|_| told.recv()?)
}

/// A thread of its own waits for the stop signal. From then on it calls `wake` again and again
/// ([`stop::INTERRUPT_AGAIN`]): that wakes those that wait, and interrupts those that may be blocked
/// ([`stop::interrupt`]). Threads that are busy shortly after the end of the grace are left behind:
/// then the process ends.
///
/// Threads that were started before would take the signals away.
pub fn watch(context: &'static Context, wake: impl Fn() + Send + 'static) -> anyhow::Result<()> {
    trace::name_workers();
    stop::stop_signals().thread_block()?;
    let watch = move || {
        trace::i_am("signals", 0);
        stop::wait();
        while !stop::overdue(context.options.grace + stop::ALLOWANCE) {
            wake();
            thread::sleep(stop::INTERRUPT_AGAIN);
        }
        context.exit()
    };
    let thread = thread::Builder::new().name("stop".to_owned());
    let watching = thread.spawn(watch);
    watching.context("cannot start the thread that waits for the stop signals")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_one_beside_those_who_stay(
        worker: impl FnOnce() -> anyhow::Result<()> + Send + 'static,
    ) -> String {
        let mut workers: Vec<Box<dyn FnOnce() -> anyhow::Result<()> + Send>> = Vec::new();
        for _ in 0..3 {
            workers.push(Box::new(|| {
                thread::park();
                Ok(())
            }));
        }
        workers.push(Box::new(worker));
        let mut ready = false;
        let result = run(
            Context::of_flags(&[]),
            workers,
            || {
                ready = true;
                Ok(())
            },
            || {},
        );
        assert!(ready);
        result.expect_err("one has failed").to_string()
    }

    #[test]
    fn an_error_of_one_worker_ends_all() {
        let told = run_one_beside_those_who_stay(|| anyhow::bail!("number 3"));
        assert_eq!(told, "number 3");
    }

    #[test]
    fn so_does_a_panic() {
        let told = run_one_beside_those_who_stay(|| panic!("as the test wants it"));
        assert_eq!(told, "a worker panicked");
    }

    #[test]
    fn all_return() {
        let workers = (0..4).map(|_| || Ok(()));
        run(Context::of_flags(&[]), workers, || Ok(()), || {}).expect("nobody fails");
    }
}

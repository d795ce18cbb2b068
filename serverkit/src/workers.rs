//! Workers that are threads: started together, and ended together.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::channel;
use std::thread;

use anyhow::{Context as _, anyhow};

use crate::context::Context;
use crate::stop;

/// What the thread that waits for the workers is told.
enum Told {
    Ended(anyhow::Result<()>),
    Stopping,
}

/// Runs each worker on a thread of its own, until the last has returned. They are counted apart. A worker that is still
/// busy shortly after the end of the grace of a stop is left behind: it ends with the process.
///
/// `ready` is called when all threads have been started, and `stop` when the stop was requested:
/// it tells the workers to end. It is called more than once ([`stop::INTERRUPT_AGAIN`]).
///
/// An error of one worker ends all: the process is to end with it.
pub fn run<W>(
    context: &Context,
    workers: impl IntoIterator<Item = W>,
    ready: impl FnOnce(),
    stop: impl Fn() + Send + 'static,
) -> anyhow::Result<()>
where
    W: FnOnce() -> anyhow::Result<()> + Send + 'static,
{
    let (tell, told) = channel();
    let stopping = tell.clone();
    stop::watch(move || {
        stop();
        let _ = stopping.send(Told::Stopping);
    })
    .context("no thread to wait for the stop signals")?;

    let mut running = 0;
    for worker in workers {
        let tell = tell.clone();
        let work = move || {
            let result = catch_unwind(AssertUnwindSafe(worker))
                .unwrap_or_else(|_| Err(anyhow!("a worker panicked")));
            let _ = tell.send(Told::Ended(result));
        };
        thread::Builder::new()
            .spawn(work)
            .context("cannot start the workers; try fewer, or raise ulimit -u")?;
        running += 1;
    }
    context.stats.set_workers(running);
    ready();

    let patience = context.options.grace + stop::ALLOWANCE;
    while running > 0 {
        match told.recv()? {
            Told::Ended(result) => {
                result?;
                running -= 1;
            }
            Told::Stopping if stop::overdue(patience) => break,
            Told::Stopping => {}
        }
    }
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
        let result = run(Context::of_flags(&[]), workers, || ready = true, || {});
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
        run(Context::of_flags(&[]), workers, || {}, || {}).expect("nobody fails");
    }
}

//! Workers that are threads: started together, and ended together.

use std::thread;

use anyhow::Context as _;

/// Runs the first worker on the calling thread and each other one on a thread of its own, until
/// the last has returned.
///
/// `ready` is called when all threads have been started. Where that cannot be done, or a worker
/// returns an error, the result is that error, and `end` is called to have the others return.
///
/// The stop signals must be blocked by then, as [`crate::stop::StopSignal`] does.
pub fn run<W>(
    workers: impl IntoIterator<Item = W>,
    ready: impl FnOnce(),
    end: impl Fn() + Sync,
) -> anyhow::Result<()>
where
    W: FnOnce() -> anyhow::Result<()> + Send,
{
    let work = |worker: W| worker().inspect_err(|_| end());
    let mut workers = workers.into_iter();
    let first = workers.next();
    thread::scope(|scope| {
        let threads: Vec<_> = workers
            .map(|worker| thread::Builder::new().spawn_scoped(scope, || work(worker)))
            .collect::<Result<_, _>>()
            .inspect_err(|_| end())
            .context("cannot start the workers; try fewer, or raise ulimit -u")?;
        ready();
        let results: Vec<_> = std::iter::once(first.map_or(Ok(()), work))
            .chain(threads.into_iter().map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            }))
            .collect();
        results.into_iter().collect()
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    use super::*;

    /// One worker fails, the others run until they are told to end.
    fn fails(failing: usize) {
        let ended = &AtomicBool::new(false);
        let workers = (0..4).map(|worker| {
            move || {
                if worker == failing {
                    anyhow::bail!("number {worker}");
                }
                while !ended.load(Relaxed) {
                    thread::yield_now();
                }
                Ok(())
            }
        });
        let result = run(workers, || {}, || ended.store(true, Relaxed));
        let told = result.expect_err("one has failed").to_string();
        assert_eq!(told, format!("number {failing}"));
    }

    #[test]
    fn an_error_of_one_worker_ends_all() {
        fails(0);
        fails(3);
    }

    #[test]
    fn one_worker_needs_no_thread() {
        let caller = thread::current().id();
        let mut ready = false;
        let worker = || {
            assert_eq!(thread::current().id(), caller);
            Ok(())
        };
        run([worker], || ready = true, || {}).expect("it returns Ok");
        assert!(ready);
    }
}

//! One trial: the generator threads and the neighbours are started, and the main thread collects.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;

use anyhow::{Context, anyhow};
use nix::sys::prctl;
use supervisor::pin;

use super::collector::{Collector, Control};
use super::connector::Connector;
use super::generator::queue::Queue;
use super::generator::{self, Task};
use super::messages::Message;
use super::neighbours;
use super::observer::{ASK_EVERY, Interrupted, Observer};
use super::probe::probe;
use crate::protocol::client::Protocol;
use crate::protocol::echo::Echo;
use crate::protocol::http::Http;
use crate::protocol::once::Once;
use crate::protocol::raw::Raw;
use crate::recording::record::Recording;
use crate::workload::load::{Mode, Neighbours, Workload};

/// Runs one trial to its end.
///
/// # Errors
/// [`Interrupted`] when the observer ended it; otherwise what keeps it from being run at all: nobody
/// listens, or a core that does not exist.
pub fn run(workload: &Workload, observer: &mut dyn Observer) -> anyhow::Result<Recording> {
    match workload.mode {
        Mode::Echo => run_with(&Echo::new(workload.size, workload.seed), workload, observer),
        Mode::Once => run_with(&Once, workload, observer),
        Mode::Http => {
            let host = workload.target.authority();
            let http = Http::new(&workload.http, &host, workload.seed);
            run_with(&http, workload, observer)
        }
        Mode::Raw => run_with(&Raw::new(&workload.raw), workload, observer),
    }
}

fn run_with<P: Protocol>(
    protocol: &P,
    workload: &Workload,
    observer: &mut dyn Observer,
) -> anyhow::Result<Recording> {
    let connector = Connector::new(workload)?;
    if workload.connection_per_request() || workload.tls.is_some() {
        probe(&connector, workload, &mut || observer.cancelled())
            .with_context(|| format!("cannot connect to {}", workload.target))?;
    }
    let threads = workload.threads_used();
    // Made before the neighbours use up the descriptors.
    let queues: Vec<Queue> = (0..threads)
        .map(|_| Queue::new())
        .collect::<Result<_, _>>()?;
    let (cancelled, cut) = (AtomicBool::new(false), AtomicBool::new(false));
    let (messages, inbox) = mpsc::channel();
    thread::scope(|scope| {
        // However this ends, the threads must end first.
        let _end = EndOnDrop(&cancelled);
        let neighbours = if workload.neighbours == Neighbours::default() {
            None
        } else {
            let (ready, is_ready) = mpsc::channel();
            let (connector, stop) = (&connector, &cancelled);
            let thread = thread::Builder::new()
                .name("neighbours".to_owned())
                .spawn_scoped(scope, move || {
                    pin(&workload.cpus)?;
                    anyhow::Ok(neighbours::run(
                        protocol, workload, connector, stop, &ready,
                    )?)
                })
                .context("cannot start the neighbours' thread")?;
            while let Err(mpsc::RecvTimeoutError::Timeout) = is_ready.recv_timeout(ASK_EVERY) {
                if observer.cancelled() {
                    return Err(Interrupted.into());
                }
            }
            Some(thread)
        };
        let mut controls = Vec::new();
        for (index, queue) in queues.into_iter().enumerate() {
            let (window, window_receiver) = mpsc::channel();
            let (spares, spares_receiver) = mpsc::channel();
            spares.send(Box::default())?;
            controls.push(Control { window, spares });
            let task = Task {
                workload,
                connector: &connector,
                queue,
                thread: index,
                threads,
                cancelled: &cancelled,
                cut: &cut,
                messages: messages.clone(),
                window: window_receiver,
                spares: spares_receiver,
            };
            thread::Builder::new()
                .name(format!("generator-{index}"))
                .spawn_scoped(scope, move || {
                    if let Err(error) = prepare_thread(workload, index) {
                        let _ = task.messages.send(Message::Failed(error));
                    } else {
                        generator::run(protocol, task);
                    }
                })
                .context("cannot start a generator thread: use fewer --threads")?;
        }
        drop(messages);
        let mut recording = Collector::new(workload, observer, inbox, controls, &cut).run()?;
        cancelled.store(true, Ordering::Relaxed);
        if let Some(thread) = neighbours {
            let neighbours = thread
                .join()
                .map_err(|_| anyhow!("the neighbours' thread died"))??;
            recording.connections_missing += neighbours.missing;
            recording.neighbours = neighbours;
        }
        Ok(recording)
    })
}

/// Tells all threads of a trial to end.
struct EndOnDrop<'a>(&'a AtomicBool);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Pins the thread to its core, and takes away the slack of its timers.
fn prepare_thread(workload: &Workload, index: usize) -> anyhow::Result<()> {
    prctl::set_timerslack(1)?;
    match workload.cpus.as_slice() {
        [] => Ok(()),
        cpus => {
            let cpu = cpus[index % cpus.len()];
            pin(&[cpu]).with_context(|| format!("cannot run on core {cpu}"))
        }
    }
}

//! The load itself: one event loop per generator thread, and the main thread that starts them together,
//! gathers what they record, and tells an observer of the phases.

pub(crate) mod clock;
pub(crate) mod connector;
mod generator;
pub mod neighbours;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, SystemTime};

use anyhow::{Context, anyhow, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::prctl;
use nix::unistd::Pid;
use std::os::fd::AsFd;

use crate::protocol::Protocol;
use crate::protocol::echo::Echo;
use crate::protocol::http::Http;
use crate::protocol::once::Once;
use crate::recording::record::{BLOCKS, Block, Counts, Interval, Recording, Times, histogram};
use crate::results::trial::MinMax;
use crate::workload::load::{Mode, Neighbours, Target, Workload};
use connector::Connector;
use generator::{LAP, Message, Orders, Queue, Share, Window};
use neighbours::Census;

pub use connector::raise_descriptor_limit;

/// Between the last thread's readiness and the start of the load: time to be told of it.
const START_DELAY: Duration = Duration::from_millis(5);
/// The observer is asked at least so often whether to go on.
const ASK_EVERY: Duration = Duration::from_millis(50);
/// How long the first connection of a trial may take where each request makes its own.
const PROBE_TIMEOUT_MS: u16 = 3000;

/// The instants of a trial at which others take their readings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// All connections are open.
    Open,
    /// The warm-up begins, or is about to.
    Warmup,
    /// The measured time begins.
    Measuring,
    /// The measured time is over; the drain begins.
    Measured,
}

/// One second of the measured time, for those who watch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Second {
    /// Its number, from 0.
    pub number: u64,
    /// Answers.
    pub answered: u64,
    /// Errors.
    pub errors: u64,
    /// Median response time, nanoseconds.
    pub p50: u64,
    /// 99th percentile of the response time, nanoseconds.
    pub p99: u64,
}

/// Who watches a trial from the main thread: costs, progress, an interrupt.
pub trait Observer {
    /// Called once for each phase, as close to its instant as the thread is woken.
    fn phase(&mut self, _phase: Phase) {}
    /// Called after each second of the measured time.
    fn second(&mut self, _second: Second) {}
    /// Called a few times a second; `true` ends the trial early.
    fn cancelled(&mut self) -> bool {
        false
    }
}

/// The observer ended the trial.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

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
            let host = match (&workload.http.host, &workload.target) {
                (Some(host), _) => host.clone(),
                (None, Target::Tcp(address)) => address.to_string(),
                (None, Target::Unix(_)) => "localhost".to_owned(),
            };
            run_with(&Http::new(&workload.http, &host), workload, observer)
        }
    }
}

fn run_with<P: Protocol>(
    protocol: &P,
    workload: &Workload,
    observer: &mut dyn Observer,
) -> anyhow::Result<Recording> {
    let connector = Connector::new(workload)?;
    if workload.connection_per_request() {
        probe(&connector).with_context(|| format!("cannot connect to {}", workload.target))?;
    }
    let threads = workload.threads_used();
    // Before the neighbours take what descriptors there are.
    let queues: Vec<Queue> = (0..threads)
        .map(|_| Queue::new())
        .collect::<Result<_, _>>()?;
    let cancelled = AtomicBool::new(false);
    let (messages, inbox) = mpsc::channel();
    thread::scope(|scope| {
        // Whatever way this ends, the threads shall end before it does.
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
            let orders = Orders {
                workload,
                connector: &connector,
                queue,
                thread: index,
                threads,
                cancelled: &cancelled,
                messages: messages.clone(),
                window: window_receiver,
                spares: spares_receiver,
            };
            thread::Builder::new()
                .name(format!("generator-{index}"))
                .spawn_scoped(scope, move || {
                    if let Err(error) = prepare_thread(workload, index) {
                        let _ = orders.messages.send(Message::Failed(error));
                    } else {
                        generator::run(protocol, orders);
                    }
                })
                .context("cannot start a generator thread: use fewer --threads")?;
        }
        drop(messages);
        let mut recording = Collector::new(workload, observer, inbox, controls).run()?;
        cancelled.store(true, Ordering::Relaxed);
        if let Some(thread) = neighbours {
            let census = thread
                .join()
                .map_err(|_| anyhow!("the neighbours' thread died"))??;
            recording.connections_missing += census.missing;
            recording.neighbours = census;
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

/// Connects once, so that a server that is not there is noticed before the load begins.
fn probe(connector: &Connector) -> anyhow::Result<()> {
    let socket = connector.connect(0)?;
    let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
    if nix::poll::poll(&mut fds, PollTimeout::from(PROBE_TIMEOUT_MS))? == 0 {
        bail!("no answer within {PROBE_TIMEOUT_MS} ms");
    }
    match socket.take_error()? {
        Some(error) => Err(error.into()),
        None => Ok(()),
    }
}

/// Puts the thread on its core and lets its sleeps end on time.
fn prepare_thread(workload: &Workload, index: usize) -> anyhow::Result<()> {
    prctl::set_timerslack(1)?;
    match workload.cpus.as_slice() {
        [] => Ok(()),
        cpus => pin(&cpus[index % cpus.len()..][..1]),
    }
}

/// Puts the calling thread on these cores; on an empty list it stays where it may be.
fn pin(cpus: &[usize]) -> anyhow::Result<()> {
    if cpus.is_empty() {
        return Ok(());
    }
    let mut set = CpuSet::new();
    cpus.iter()
        .try_for_each(|&cpu| set.set(cpu))
        .and_then(|()| sched_setaffinity(Pid::from_raw(0), &set))
        .with_context(|| format!("cannot run on the cores {cpus:?}"))
}

/// The main thread's ends of a generator thread's channels.
struct Control {
    window: mpsc::Sender<Window>,
    spares: mpsc::Sender<Box<Times>>,
}

/// Gathers what the generator threads record.
struct Collector<'a> {
    workload: &'a Workload,
    observer: &'a mut dyn Observer,
    inbox: mpsc::Receiver<Message>,
    controls: Vec<Control>,
    /// The seconds that not all threads have handed over.
    seconds: BTreeMap<u64, Times>,
    /// The second that each thread is in.
    reached: Vec<u64>,
    errors: Vec<u64>,
    errors_told: u64,
    total: Times,
    intervals: Vec<Interval>,
    shares: Vec<Share>,
}

impl<'a> Collector<'a> {
    fn new(
        workload: &'a Workload,
        observer: &'a mut dyn Observer,
        inbox: mpsc::Receiver<Message>,
        controls: Vec<Control>,
    ) -> Self {
        let threads = controls.len();
        Self {
            workload,
            observer,
            inbox,
            controls,
            seconds: BTreeMap::new(),
            reached: vec![0; threads],
            errors: vec![0; threads],
            errors_told: 0,
            total: Times::default(),
            intervals: Vec::new(),
            shares: Vec::new(),
        }
    }

    fn run(mut self) -> anyhow::Result<Recording> {
        let threads = self.controls.len();
        let mut ready = 0;
        while ready < threads {
            match self.receive(ASK_EVERY)? {
                Some(Message::Ramped) => ready += 1,
                Some(other) => unreachable!("before the load begins: {other:?}"),
                None => {}
            }
        }
        self.observer.phase(Phase::Open);
        // To look at ten thousand processes takes a while: where no other generator begins at a set time, the load
        // begins after it.
        let at_leisure = self.workload.start_at.is_none();
        if at_leisure {
            self.observer.phase(Phase::Warmup);
        }
        let (window, started) = self.window()?;
        for control in &self.controls {
            control.window.send(window)?;
        }
        let mut phases = [
            (window.start, Phase::Warmup),
            (window.measure, Phase::Measuring),
            (window.end, Phase::Measured),
        ]
        .into_iter()
        .skip(usize::from(at_leisure))
        .peekable();
        while self.shares.len() < threads {
            let now = clock::now();
            let mut timeout = ASK_EVERY;
            if let Some((at, phase)) = phases.peek().copied() {
                if at <= now {
                    self.observer.phase(phase);
                    phases.next();
                    if phase == Phase::Measured {
                        for control in &self.controls {
                            // A thread that failed waits for nothing; its message says why.
                            let _ = control.window.send(window);
                        }
                    }
                    continue;
                }
                timeout = timeout.min(Duration::from_nanos(at - now));
            }
            match self.receive(timeout)? {
                Some(Message::Lap {
                    thread,
                    second,
                    times,
                    errors,
                }) => self.take_lap(thread, second, times, errors),
                Some(Message::Done(share)) => {
                    let last = self.seconds.entry(share.second).or_default();
                    last.add(&share.times);
                    self.shares.push(*share);
                }
                Some(other) => unreachable!("after the load began: {other:?}"),
                None => {}
            }
        }
        Ok(self.finish(window, started))
    }

    /// The next message; fails when a thread did or the observer wants no more.
    fn receive(&mut self, timeout: Duration) -> anyhow::Result<Option<Message>> {
        if self.observer.cancelled() {
            return Err(Interrupted.into());
        }
        match self.inbox.recv_timeout(timeout) {
            Ok(Message::Failed(error)) => {
                Err(error.context(format!("cannot load {}", self.workload.target)))
            }
            Ok(message) => Ok(Some(message)),
            Err(mpsc::RecvTimeoutError::Timeout) => Ok(None),
            Err(mpsc::RecvTimeoutError::Disconnected) => bail!("a generator thread ended"),
        }
    }

    /// The instants of this trial, and when on the calendar its measured time begins.
    fn window(&self) -> anyhow::Result<(Window, SystemTime)> {
        let delay = match self.workload.start_at {
            None => START_DELAY,
            Some(at) => at.duration_since(SystemTime::now()).context(
                "the start time had passed when all connections were open: choose a later one",
            )?,
        };
        let start = clock::now() + clock::nanos(delay);
        let measure = start + clock::nanos(self.workload.warmup);
        let end = measure + clock::nanos(self.workload.duration);
        let window = Window {
            start,
            measure,
            end,
            limit: end + clock::nanos(self.workload.drain),
        };
        Ok((window, SystemTime::now() + delay + self.workload.warmup))
    }

    fn take_lap(&mut self, thread: usize, second: u64, mut times: Box<Times>, errors: u64) {
        self.seconds.entry(second).or_default().add(&times);
        self.reached[thread] = second + 1;
        self.errors[thread] = errors;
        times.clear();
        // A thread that is done needs no more histograms.
        let _ = self.controls[thread].spares.send(times);
        while let Some(entry) = self.seconds.first_entry()
            && self.reached.iter().all(|reached| reached > entry.key())
        {
            let (second, times) = entry.remove_entry();
            let length = Duration::from_nanos(LAP);
            self.pack(second, length, &times);
            let errors: u64 = self.errors.iter().sum();
            self.observer.second(Second {
                number: second,
                answered: times.service.len(),
                errors: errors - self.errors_told,
                p50: times.response.value_at_quantile(0.5),
                p99: times.response.value_at_quantile(0.99),
            });
            self.errors_told = errors;
        }
    }

    fn pack(&mut self, second: u64, length: Duration, times: &Times) {
        if times.response.is_empty() && times.lateness.is_empty() {
            return;
        }
        let start = Duration::from_nanos(second * LAP);
        self.intervals.push(Interval::new(start, length, times));
        self.total.add(times);
    }

    fn finish(mut self, window: Window, started: SystemTime) -> Recording {
        let ended = self.shares.iter().map(|share| share.ended).max();
        let measured = ended.unwrap_or(window.end) - window.measure;
        for (second, times) in std::mem::take(&mut self.seconds) {
            // A log has milliseconds.
            let length = measured.saturating_sub(second * LAP).clamp(1_000_000, LAP);
            self.pack(second, Duration::from_nanos(length), &times);
        }
        let mut counts = Counts::default();
        let mut connect = histogram();
        let mut blocks = vec![Block::default(); BLOCKS];
        let mut answers = Vec::new();
        let mut missing = 0;
        self.shares.sort_by_key(|share| share.thread);
        for share in &self.shares {
            counts.add(&share.counts);
            connect
                .add(&share.connect)
                .expect("all have the same bounds");
            for (sum, block) in blocks.iter_mut().zip(&share.blocks) {
                sum.answers += block.answers;
                sum.response += block.response;
            }
            answers.extend_from_slice(&share.answers);
            missing += share.missing;
        }
        Recording {
            started,
            times: self.total,
            connect,
            intervals: self.intervals,
            counts,
            blocks,
            connections_answered: answers.iter().filter(|&&count| count > 0).count(),
            answers_per_connection: MinMax {
                min: answers.iter().copied().min().unwrap_or_default(),
                max: answers.iter().copied().max().unwrap_or_default(),
            },
            connections_missing: missing,
            neighbours: Census::default(),
            threads: self.shares.iter().map(|share| share.time).collect(),
        }
    }
}

//! One generator thread: its connections, its part of the schedule, its histograms, one epoll loop.
//!
//! A request has an *intended* time: in the open loop the schedule sets it, in the closed loop it is the moment at
//! which its connection became free. It is *sent* when it is handed to its connection, and *answered* when the last
//! byte of its answer is read. While the socket does not accept its bytes, the time counts against the server.

mod alarms;
mod connecting;
mod limits;
mod polling;
pub mod queue;
mod run_delay;
mod stages;
mod stamps;
#[cfg(test)]
mod tests;
mod traffic;

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::bail;
use hdrhistogram::Histogram;
use nix::sys::epoll::{EpollEvent, EpollFlags};

use super::clock;
use super::connector::Connector;
use super::messages::{Message, Share, Window};
use super::transport::{Buffers, Fault, Transport};
use crate::protocol::client::Protocol;
use crate::recording::account::{BLOCKS, Block, Counts};
use crate::recording::histogram::{HIGHEST, histogram};
use crate::recording::record::ThreadTime;
use crate::recording::stages::StageRecords;
use crate::recording::times::Times;
use crate::workload::load::Workload;
use crate::workload::schedule::Schedule;
use limits::{Limits, NEVER};
use polling::Polling;
use queue::{Queue, TIMER};
use run_delay::RunDelay;
use stamps::Stamps;

/// The longest wait of the loop, milliseconds.
const HEARTBEAT: u8 = 10;
/// With `--spin` the thread does not sleep when the next request is due within this time, ns. It is longer than a
/// wake-up takes.
const SPIN_STRETCH: u64 = 200_000;
/// Events taken from the kernel at once.
const BATCH: usize = 128;
/// What a thread is given.
pub struct Task<'a> {
    /// The trial.
    pub workload: &'a Workload,
    /// Opens the connections.
    pub connector: &'a Connector,
    /// What it waits on.
    pub queue: Queue,
    /// This thread, from 0.
    pub thread: usize,
    /// All threads.
    pub threads: usize,
    /// Becomes true when the trial shall end.
    pub cancelled: &'a AtomicBool,
    /// Becomes true when the measured time shall end at once, and the drain with it.
    pub cut: &'a AtomicBool,
    /// To the thread that collects.
    pub messages: mpsc::Sender<Message>,
    /// Tells when the load begins.
    pub window: mpsc::Receiver<Window>,
    /// Histograms to use again.
    pub spares: mpsc::Receiver<Box<Times>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Without a socket, and nothing to do yet.
    Down,
    /// Without a socket: it is in [`Generator::rest`], and nobody but that opens it.
    Resting,
    Connecting,
    /// In the TLS handshake.
    Shaking,
    Open,
    /// It had its one answer and waits for the server to close it.
    Lingering,
    /// The generator's own limits do not allow it.
    Missing,
}

/// How far a client has come. It shows whether the client was left without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reached {
    Nothing,
    /// It was connected at least once.
    Connected,
    /// It was given a request of the measured time.
    Asked,
    /// It had an answer since the measured time began, right or wrong.
    Answer,
}

impl<A> Connection<A> {
    fn reaches(&mut self, reached: Reached) {
        self.reached = self.reached.max(reached);
    }
}

/// A connection. Its requests have numbers; `answered <= sent <= started`.
struct Connection<A> {
    transport: Option<Transport>,
    state: State,
    /// It is in the queue of connections that can take a request.
    queued: bool,
    wants_write: bool,
    /// It had an answer since it was opened.
    worked: bool,
    /// Distinguishes an event of this socket from one of the socket before it.
    generation: u32,
    /// Requests that were given to it.
    started: u64,
    /// Requests that it may still be given. With none left it is replaced when nothing is in flight on it.
    left: u64,
    /// Requests that the kernel has taken whole.
    sent: u64,
    /// Bytes of the next one that the kernel has taken.
    offset: usize,
    /// Requests that ended.
    answered: u64,
    /// Right answers in the measured time.
    answers: u64,
    reached: Reached,
    /// When connecting began.
    since: u64,
    /// When something may be due on it.
    alarm: u64,
    /// When the TLS handshake began.
    shaking_since: u64,
    answer: A,
}

/// The times of a request in flight; after its end, when its slot became free.
#[derive(Clone, Copy, Default)]
struct Slot {
    intended: u64,
    /// When it was sent, or when its slot became free.
    at: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Waiting,
    Warmup,
    Measuring,
    Draining,
}

/// Readings of the thread at the start of the measured time.
#[derive(Default)]
struct Before {
    cpu: Duration,
    at: u64,
    run_delay: Option<Duration>,
    bytes_sent: u64,
    bytes_received: u64,
}

struct Generator<'a, P: Protocol> {
    protocol: &'a P,
    task: Task<'a>,
    per_request: bool,
    /// The state in which a connection takes a request.
    usable: State,
    pipeline: u64,
    connections: Vec<Connection<P::Answer>>,
    /// `pipeline` of them for each connection.
    slots: Vec<Slot>,
    /// Open loop: the connections that can take a request, the longest free one first.
    free: VecDeque<u32>,
    /// Connections that will be opened again, and when.
    rest: VecDeque<(u64, u32)>,
    /// Connections that the server should close: the deadline, the connection and its generation.
    lingering: VecDeque<(u64, u32, u32)>,
    limits: Limits,
    /// The connections that have an alarm, by its instant.
    alarms: BTreeSet<(u64, u32)>,
    connecting: usize,
    open: usize,
    schedule: Option<Schedule>,
    window: Window,
    stage: Stage,
    /// When the next change of stage, block or lap is due.
    next_mark: u64,
    lap: u64,
    block: usize,
    times: Box<Times>,
    stages: StageRecords,
    connect: Histogram<u64>,
    tls: Histogram<u64>,
    /// Handshakes of `tls` that went on with an earlier session.
    resumed: u64,
    counts: Counts,
    bytes_sent: u64,
    bytes_received: u64,
    /// The last block is for answers after the measured time.
    blocks: [Block; BLOCKS + 1],
    before: Before,
    run_delay: RunDelay,
    time: ThreadTime,
    missing: usize,
    /// Why the last attempt to connect failed.
    connect_error: Option<Fault>,
    /// What to change where the server's first answer was of another protocol.
    advice: Option<&'static str>,
    buffers: Buffers,
    stamps: Stamps,
    polling: Polling,
    /// The latest reading of the clock.
    now: u64,
}

/// Runs one thread's part of a trial.
pub fn run<P: Protocol>(protocol: &P, task: Task) {
    let messages = task.messages.clone();
    let message = match Generator::new(protocol, task).run() {
        Ok(Some(share)) => Message::Done(Box::new(share)),
        Ok(None) => return,
        Err(error) => Message::Failed(error),
    };
    // The receiver is gone only when the trial was given up.
    let _ = messages.send(message);
}

impl<'a, P: Protocol> Generator<'a, P> {
    fn new(protocol: &'a P, task: Task<'a>) -> Self {
        let workload = task.workload;
        let per_request = workload.connection_per_request();
        let pipeline = if per_request { 1 } else { workload.pipeline };
        let own = (workload.connections - task.thread).div_ceil(task.threads);
        let never = Window {
            start: u64::MAX,
            measure: u64::MAX,
            end: u64::MAX,
            limit: u64::MAX,
        };
        let limits = Limits::new(workload);
        let connections = (0..own)
            .map(|_| Connection {
                transport: None,
                state: State::Down,
                queued: false,
                wants_write: false,
                worked: false,
                generation: 0,
                started: 0,
                left: limits.requests,
                sent: 0,
                offset: 0,
                answered: 0,
                answers: 0,
                reached: Reached::Nothing,
                since: 0,
                alarm: NEVER,
                shaking_since: 0,
                answer: P::Answer::default(),
            })
            .collect();
        Self {
            protocol,
            per_request,
            usable: if per_request {
                State::Down
            } else {
                State::Open
            },
            pipeline: pipeline as u64,
            connections,
            slots: vec![Slot::default(); own * pipeline],
            free: VecDeque::with_capacity(own),
            rest: VecDeque::with_capacity(own),
            lingering: VecDeque::new(),
            limits,
            alarms: BTreeSet::new(),
            connecting: 0,
            open: 0,
            schedule: None,
            window: never,
            stage: Stage::Waiting,
            next_mark: u64::MAX,
            lap: 0,
            block: 0,
            times: Box::default(),
            stages: StageRecords::new(workload.course.stages()),
            connect: histogram(),
            tls: histogram(),
            resumed: 0,
            counts: Counts::default(),
            bytes_sent: 0,
            bytes_received: 0,
            blocks: [Block::default(); BLOCKS + 1],
            before: Before::default(),
            run_delay: RunDelay::of_this_thread(),
            time: ThreadTime::default(),
            missing: 0,
            connect_error: None,
            advice: None,
            buffers: Buffers::new(workload),
            // Unix-domain sockets have no stamps.
            stamps: Stamps::new(workload, task.connector.stamps()),
            polling: Polling::new(!workload.cpus.is_empty()),
            now: clock::now(),
            task,
        }
    }

    /// `None`: the trial was given up.
    fn run(mut self) -> anyhow::Result<Option<Share>> {
        if !self.per_request && !self.ramp()? {
            return Ok(None);
        }
        self.task.messages.send(Message::Ramped)?;
        let Ok(window) = self.task.window.recv() else {
            return Ok(None);
        };
        self.window = window;
        self.next_mark = window.start;
        self.schedule = Schedule::of(self.task.workload, self.task.thread, self.task.threads);
        let mut events = [EpollEvent::empty(); BATCH];
        while !self.is_finished() {
            let (count, spinning) = self.wait(&mut events)?;
            let asked = self.now;
            self.read_clock();
            if count > 0 {
                self.polling.found(self.now, spinning);
                self.stamps.begin_turn(self.now);
            } else if spinning && self.stage == Stage::Measuring {
                self.time.spun += Duration::from_nanos(self.now - asked);
            }
            if self.task.cut.load(Ordering::Relaxed) {
                self.cut();
            }
            if self.now >= self.next_mark {
                self.mark();
            }
            self.close_lingering();
            self.open_rested();
            for event in &events[..count] {
                self.handle(*event);
                self.dispatch();
            }
            self.see_to_alarms();
            self.dispatch();
            if let Some(advice) = self.advice.take() {
                bail!(advice);
            }
            if self.task.cancelled.load(Ordering::Relaxed) {
                return Ok(None);
            }
        }
        // Keep the connections open until the server's memory and threads are counted.
        let _ = self.task.window.recv();
        for connection in &mut self.connections {
            if let Some(transport) = connection.transport.take() {
                transport.close(&mut self.buffers);
            }
        }
        Ok(self.finish())
    }

    /// Waits for events, but not longer than until the next request is due. The second value says whether it spun
    /// instead of sleeping.
    fn wait(&mut self, events: &mut [EpollEvent]) -> nix::Result<(usize, bool)> {
        let spin = self.task.workload.spin;
        let (timeout, spinning) = match self.next_due() {
            Some(due) if due <= self.now => (0, false),
            _ if self.schedule.is_none() && self.polling.goes_on(self.now) => {
                self.task.queue.disarm(self.now)?;
                (0, true)
            }
            Some(due) if spin && due - self.now < SPIN_STRETCH => {
                self.task.queue.disarm(self.now)?;
                (0, true)
            }
            Some(due) => {
                let at = if spin { due - SPIN_STRETCH } else { due };
                self.task.queue.arm(at)?;
                (HEARTBEAT, false)
            }
            None => {
                self.task.queue.disarm(self.now)?;
                (HEARTBEAT, false)
            }
        };
        if spinning {
            // CPU time until now was work, and not spinning.
            self.read_clock();
        }
        Ok((self.task.queue.wait(events, timeout)?, spinning))
    }

    /// The next instant at which there is something to do without an event.
    fn next_due(&self) -> Option<u64> {
        let alarm = self.alarms.first().map(|(at, _)| *at);
        if self.stage == Stage::Waiting {
            let start = (self.window.start != u64::MAX).then_some(self.window.start);
            return start.into_iter().chain(alarm).min();
        }
        let request = self.schedule.as_ref().and_then(Schedule::peek);
        let request = request.map(|due| self.window.start + due);
        // Without a free connection a request that is due can only time out.
        let request = match self.limits.timeout {
            _ if !self.free.is_empty() => request,
            NEVER => None,
            timeout => request.map(|due| due.saturating_add(timeout)),
        };
        let limit = (self.stage == Stage::Draining).then_some(self.window.limit);
        request.into_iter().chain(limit).chain(alarm).min()
    }

    fn handle(&mut self, event: EpollEvent) {
        if event.data() == TIMER {
            return;
        }
        let c = event.data() as u32 as usize;
        let connection = &self.connections[c];
        let generation = (event.data() >> 32) as u32;
        if connection.generation != generation {
            return;
        }
        let flags = event.events();
        match connection.state {
            State::Connecting => self.connected(c),
            State::Shaking => self.shake(c),
            State::Open => {
                if flags != EpollFlags::EPOLLOUT {
                    let _ = self.read(c);
                }
                if flags.contains(EpollFlags::EPOLLOUT) && self.connections[c].state == State::Open
                {
                    self.flush(c);
                }
            }
            State::Lingering => self.left(c),
            State::Down | State::Resting | State::Missing => {}
        }
        // The end of the connection may come behind the data, and epoll does not report it a second time.
        let ended = EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLHUP;
        if flags.intersects(ended) && self.connections[c].generation == generation {
            self.ask_again(c);
        }
    }
}

fn record(histogram: &mut Histogram<u64>, nanos: u64, counts: &mut Counts) {
    if nanos > HIGHEST {
        counts.clamped += 1;
    }
    histogram.saturating_record(nanos);
}

//! One generator thread: its connections, its share of the schedule, its histograms, one epoll loop.
//!
//! A request is *intended* for an instant (open loop: by the schedule; closed loop: the moment its
//! connection could be used again), is *sent* when it is handed to its connection, and is *answered*
//! when the last byte of its answer was read. That a socket does not take the bytes is the
//! server's doing and part of its time.

mod connecting;
mod traffic;

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use hdrhistogram::Histogram;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::timer::{Expiration, TimerSetTimeFlags};
use nix::sys::timerfd::{ClockId, TimerFd, TimerFlags};
use socket2::Socket;

use super::clock;
use super::connector::Connector;
use crate::protocol::Protocol;
use crate::recording::record::{BLOCKS, Block, Counts, HIGHEST, ThreadTime, Times, histogram};
use crate::workload::load::{Load, Workload};
use crate::workload::schedule::Schedule;

/// The histograms are handed over once in this time, nanoseconds.
pub const LAP: u64 = 1_000_000_000;
/// Connections that are being opened at once: more could overflow a server's backlog, which costs
/// the overflowing ones a second each.
const MAX_CONNECTING: usize = 128;
/// The ramp goes on without the connections that are still being opened when for this time none was, ns.
const RAMP_PATIENCE: u64 = 3_000_000_000;
/// The loop turns at least so often, milliseconds.
const HEARTBEAT: u8 = 10;
/// A turn that took longer than this means that the thread was stopped: it is far more than the
/// heartbeat and the work of a turn, ns.
const STOP_AFTER: u64 = 50_000_000;
/// With `--spin` the thread does not sleep when the next request is due within this time, ns:
/// longer than a wake-up takes.
const SPIN_STRETCH: u64 = 200_000;
/// Events taken from the kernel at once.
const BATCH: usize = 128;
/// Bytes of the buffers that all connections of a thread share.
const BUFFER: usize = 64 * 1024;
/// What the timer's events carry in place of a connection.
const TIMER: u64 = u64::MAX;

/// The instants of a trial, nanoseconds of the monotonic clock.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// The load begins.
    pub start: u64,
    /// The measured time begins.
    pub measure: u64,
    /// It ends: no more requests become due.
    pub end: u64,
    /// The drain is over.
    pub limit: u64,
}

/// What a thread tells while and after it runs.
#[derive(Debug)]
pub enum Message {
    /// The connections are open, as far as they can be.
    Ramped,
    /// One second's samples, by the thread and the second's number.
    Lap {
        /// Which thread.
        thread: usize,
        /// Seconds from the start of the measured time.
        second: u64,
        /// The samples.
        times: Box<Times>,
        /// Errors up to now.
        errors: u64,
    },
    /// The thread is done.
    Done(Box<Share>),
    /// It cannot go on.
    Failed(anyhow::Error),
}

/// A thread's share of the recording.
#[derive(Debug)]
pub struct Share {
    /// Which thread.
    pub thread: usize,
    /// The number of its last second.
    pub second: u64,
    /// The samples of that second.
    pub times: Box<Times>,
    /// How its requests ended.
    pub counts: Counts,
    /// Connect times.
    pub connect: Histogram<u64>,
    /// Steadiness.
    pub blocks: [Block; BLOCKS],
    /// Answers of each connection in the measured time.
    pub answers: Vec<u64>,
    /// Connections that could not be opened by own limits.
    pub missing: usize,
    /// What the thread spent.
    pub time: ThreadTime,
    /// When its drain was over, nanoseconds of the monotonic clock.
    pub ended: u64,
}

/// What a thread waits on.
pub struct Queue {
    epoll: Epoll,
    timer: TimerFd,
}

impl Queue {
    /// Of nothing but the timer.
    pub fn new() -> nix::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let timer = TimerFd::new(
            ClockId::CLOCK_MONOTONIC,
            TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC,
        )?;
        epoll.add(&timer, EpollEvent::new(EpollFlags::EPOLLIN, TIMER))?;
        Ok(Self { epoll, timer })
    }
}

/// What a thread is given.
pub struct Orders<'a> {
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
    /// To the thread that collects.
    pub messages: mpsc::Sender<Message>,
    /// Tells when the load begins.
    pub window: mpsc::Receiver<Window>,
    /// Histograms to use again.
    pub spares: mpsc::Receiver<Box<Times>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Without a socket: nothing to do yet, or waiting to be opened anew.
    Down,
    Connecting,
    Open,
    /// It brought its one answer, and waits for the server to close it.
    Lingering,
    /// Own limits forbid it.
    Missing,
}

/// A connection. Its requests have numbers; `answered <= sent <= started`.
struct Connection<A> {
    socket: Option<Socket>,
    state: State,
    /// Stands in the queue of those that can take a request.
    queued: bool,
    wants_write: bool,
    /// Brought an answer since it was opened.
    worked: bool,
    /// Tells an event of this socket from one of its predecessor's.
    generation: u32,
    /// Requests that were given to it.
    started: u64,
    /// Requests that the kernel has taken whole.
    sent: u64,
    /// Bytes of the next one that the kernel has taken.
    offset: usize,
    /// Requests that ended.
    answered: u64,
    /// Right answers in the measured time.
    answers: u64,
    /// When connecting began.
    since: u64,
    answer: A,
}

/// The times of a request in flight; once it ended, when its place became free.
#[derive(Clone, Copy, Default)]
struct Slot {
    intended: u64,
    /// When it was sent; or when its place became free.
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
    run_delay: Duration,
    bytes_sent: u64,
    bytes_received: u64,
}

struct Generator<'a, P: Protocol> {
    protocol: &'a P,
    orders: Orders<'a>,
    per_request: bool,
    pipeline: u64,
    /// When the timer fires or fired; 0: it is unset.
    armed: u64,
    connections: Vec<Connection<P::Answer>>,
    /// `pipeline` of them for each connection.
    slots: Vec<Slot>,
    /// Open loop: the connections that can take a request, the longest free one first.
    free: VecDeque<u32>,
    /// Connections to be opened anew, and when.
    rest: VecDeque<(u64, u32)>,
    /// Connections that the server is to close, by when, and their generation.
    lingering: VecDeque<(u64, u32, u32)>,
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
    connect: Histogram<u64>,
    counts: Counts,
    bytes_sent: u64,
    bytes_received: u64,
    /// The last one is for what is answered after the measured time.
    blocks: [Block; BLOCKS + 1],
    before: Before,
    time: ThreadTime,
    missing: usize,
    /// Why the last attempt to connect failed.
    connect_error: Option<io::Error>,
    input: Box<[u8]>,
    output: Box<[u8]>,
    /// The latest reading of the clock.
    now: u64,
}

/// Runs one thread's share of a trial.
pub fn run<P: Protocol>(protocol: &P, orders: Orders) {
    let messages = orders.messages.clone();
    let message = match Generator::new(protocol, orders).run() {
        Ok(Some(share)) => Message::Done(Box::new(share)),
        Ok(None) => return,
        Err(error) => Message::Failed(error),
    };
    // The receiver is gone only when the trial was given up.
    let _ = messages.send(message);
}

impl<'a, P: Protocol> Generator<'a, P> {
    fn new(protocol: &'a P, orders: Orders<'a>) -> Self {
        let workload = orders.workload;
        let per_request = workload.connection_per_request();
        let pipeline = if per_request { 1 } else { workload.pipeline };
        let own = (workload.connections - orders.thread).div_ceil(orders.threads);
        let never = Window {
            start: u64::MAX,
            measure: u64::MAX,
            end: u64::MAX,
            limit: u64::MAX,
        };
        let connections = (0..own)
            .map(|_| Connection {
                socket: None,
                state: State::Down,
                queued: false,
                wants_write: false,
                worked: false,
                generation: 0,
                started: 0,
                sent: 0,
                offset: 0,
                answered: 0,
                answers: 0,
                since: 0,
                answer: P::Answer::default(),
            })
            .collect();
        Self {
            protocol,
            per_request,
            pipeline: pipeline as u64,
            armed: 0,
            connections,
            slots: vec![Slot::default(); own * pipeline],
            free: VecDeque::with_capacity(own),
            rest: VecDeque::with_capacity(own),
            lingering: VecDeque::new(),
            connecting: 0,
            open: 0,
            schedule: None,
            window: never,
            stage: Stage::Waiting,
            next_mark: u64::MAX,
            lap: 0,
            block: 0,
            times: Box::default(),
            connect: histogram(),
            counts: Counts::default(),
            bytes_sent: 0,
            bytes_received: 0,
            blocks: [Block::default(); BLOCKS + 1],
            before: Before::default(),
            time: ThreadTime::default(),
            missing: 0,
            connect_error: None,
            input: vec![0; BUFFER].into(),
            output: vec![0; BUFFER].into(),
            now: clock::now(),
            orders,
        }
    }

    /// `None`: the trial was given up.
    fn run(mut self) -> anyhow::Result<Option<Share>> {
        if !self.per_request && !self.ramp()? {
            return Ok(None);
        }
        self.orders.messages.send(Message::Ramped)?;
        let Ok(window) = self.orders.window.recv() else {
            return Ok(None);
        };
        self.window = window;
        self.next_mark = window.start;
        let workload = self.orders.workload;
        if let Load::Open { rate, arrivals } = workload.load {
            let shard = workload.shard;
            self.schedule = Some(Schedule::new(
                rate,
                arrivals,
                workload.seed,
                window.end - window.start,
                shard.index * self.orders.threads + self.orders.thread,
                shard.of * self.orders.threads,
            ));
        }
        let mut events = [EpollEvent::empty(); BATCH];
        let mut turned = clock::now();
        while !self.is_finished() {
            let asleep = self.now;
            let (count, spinning) = self.wait(&mut events)?;
            self.now = clock::now();
            self.look_for_stop(turned);
            turned = self.now;
            if self.now >= self.next_mark {
                self.mark();
            }
            self.close_lingering();
            self.open_rested();
            for event in &events[..count] {
                self.handle(*event);
                self.dispatch();
            }
            self.dispatch();
            if spinning && count == 0 && self.stage == Stage::Measuring {
                self.time.spun += Duration::from_nanos(self.now - asleep);
            }
            if self.orders.cancelled.load(Ordering::Relaxed) {
                return Ok(None);
            }
        }
        // The connections stay open while the server's memory and threads are counted.
        let _ = self.orders.window.recv();
        Ok(self.finish())
    }

    /// The part of the turn since `turned` in which there was something to measure, if it is too long for a turn.
    fn look_for_stop(&mut self, turned: u64) {
        let Window { measure, limit, .. } = self.window;
        let turn = self.now.min(limit).saturating_sub(turned.max(measure));
        if turn > STOP_AFTER {
            let stop = Duration::from_nanos(turn);
            self.time.longest_stop = self.time.longest_stop.max(stop);
            self.time.stopped += stop;
        }
    }

    /// Opens all connections. `false`: the trial was given up.
    fn ramp(&mut self) -> anyhow::Result<bool> {
        let mut events = [EpollEvent::empty(); BATCH];
        let mut next = 0;
        let mut most = 0;
        let mut progress = self.now;
        loop {
            while next < self.connections.len() && self.connecting < MAX_CONNECTING {
                self.open(next);
                next += 1;
            }
            if self.open > most {
                most = self.open;
                progress = self.now;
            }
            if most == 0
                && let Some(error) = self.connect_error.take()
            {
                return Err(error.into());
            }
            let all = next == self.connections.len();
            let none_pending = self.connecting == 0 && self.rest.is_empty();
            if all && (none_pending || self.now - progress > RAMP_PATIENCE) {
                return Ok(true);
            }
            if self.orders.cancelled.load(Ordering::Relaxed) {
                return Ok(false);
            }
            let (count, _) = self.wait(&mut events)?;
            self.now = clock::now();
            self.open_rested();
            for event in &events[..count] {
                self.handle(*event);
            }
        }
    }

    /// Waits for events, at the longest until the next request is due. The second value tells that
    /// it did not sleep because that is soon.
    fn wait(&mut self, events: &mut [EpollEvent]) -> nix::Result<(usize, bool)> {
        let spin = self.orders.workload.spin;
        let (timeout, spinning) = match self.next_due() {
            Some(due) if due <= self.now => (0, false),
            Some(due) if spin && due - self.now < SPIN_STRETCH => {
                self.disarm()?;
                (0, true)
            }
            Some(due) => {
                self.arm(if spin { due - SPIN_STRETCH } else { due })?;
                (HEARTBEAT, false)
            }
            None => {
                self.disarm()?;
                (HEARTBEAT, false)
            }
        };
        match self.orders.queue.epoll.wait(events, timeout) {
            // Stopped and continued, or a debugger came and went.
            Err(Errno::EINTR) => Ok((0, spinning)),
            result => Ok((result?, spinning)),
        }
    }

    fn arm(&mut self, at: u64) -> nix::Result<()> {
        if self.armed != at {
            self.orders.queue.timer.set(
                Expiration::OneShot(clock::timespec(at)),
                TimerSetTimeFlags::TFD_TIMER_ABSTIME,
            )?;
            self.armed = at;
        }
        Ok(())
    }

    /// Takes back a timer that has expired: until then it is readable, and every wait returns at once.
    fn disarm(&mut self) -> nix::Result<()> {
        if self.armed != 0 && self.armed <= self.now {
            self.orders.queue.timer.unset()?;
            self.armed = 0;
        }
        Ok(())
    }

    /// When there is something to do without an event.
    fn next_due(&self) -> Option<u64> {
        if self.stage == Stage::Waiting {
            return (self.window.start != u64::MAX).then_some(self.window.start);
        }
        let request = match &self.schedule {
            Some(schedule) if !self.free.is_empty() => schedule.peek(),
            _ => None,
        };
        let request = request.map(|due| self.window.start + due);
        let limit = (self.stage == Stage::Draining).then_some(self.window.limit);
        request.into_iter().chain(limit).min()
    }

    /// Moves on to the next stage, block and lap, whichever are due.
    #[cold]
    fn mark(&mut self) {
        let Window {
            start,
            measure,
            end,
            ..
        } = self.window;
        if self.stage == Stage::Waiting && self.now >= start {
            self.stage = Stage::Warmup;
            self.next_mark = measure;
            self.begin();
        }
        if self.stage == Stage::Warmup && self.now >= measure {
            self.stage = Stage::Measuring;
            if self.schedule.is_none() {
                self.take_over();
            }
            let (cpu, run_delay) = thread_times();
            self.before = Before {
                at: self.now,
                cpu,
                run_delay,
                bytes_sent: self.bytes_sent,
                bytes_received: self.bytes_received,
            };
        }
        if self.stage == Stage::Measuring && self.now >= end {
            self.stage = Stage::Draining;
            let (cpu, run_delay) = thread_times();
            self.time.span = Duration::from_nanos(self.now - self.before.at);
            self.time.cpu = cpu.saturating_sub(self.before.cpu);
            self.time.run_delay = run_delay.saturating_sub(self.before.run_delay);
            self.counts.bytes_sent = self.bytes_sent - self.before.bytes_sent;
            self.counts.bytes_received = self.bytes_received - self.before.bytes_received;
        }
        if self.stage >= Stage::Measuring {
            let into = self.now - measure;
            let lap = into / LAP;
            if lap > self.lap {
                let spare = self.orders.spares.try_recv().unwrap_or_default();
                let message = Message::Lap {
                    thread: self.orders.thread,
                    second: self.lap,
                    times: std::mem::replace(&mut self.times, spare),
                    errors: self.counts.errors.values().sum(),
                };
                self.lap = lap;
                // The receiver is gone only when the trial was given up.
                let _ = self.orders.messages.send(message);
            }
            let length = (end - measure).div_ceil(BLOCKS as u64);
            self.block = ((into / length) as usize).min(BLOCKS);
            if self.stage == Stage::Draining {
                self.block = BLOCKS;
            }
            self.next_mark =
                (measure + (lap + 1) * LAP).min(measure + (into / length + 1) * length);
            if self.stage == Stage::Measuring {
                self.next_mark = self.next_mark.min(end);
            }
        }
    }

    /// The load begins: whatever can take a request is free from now on. The clients of a closed loop begin one
    /// after the other: the last of a thousand is not late because the others come first.
    fn begin(&mut self) {
        let pipeline = self.pipeline as usize;
        for c in 0..self.connections.len() {
            let now = clock::now();
            for slot in &mut self.slots[c * pipeline..][..pipeline] {
                slot.at = now;
            }
            if self.per_request || self.connections[c].state == State::Open {
                self.is_free(c);
            }
        }
    }

    fn handle(&mut self, event: EpollEvent) {
        if event.data() == TIMER {
            return;
        }
        let c = event.data() as u32 as usize;
        let connection = &self.connections[c];
        if connection.generation != (event.data() >> 32) as u32 {
            return;
        }
        let flags = event.events();
        match connection.state {
            State::Connecting => self.connected(c),
            State::Open => {
                if flags != EpollFlags::EPOLLOUT {
                    self.read(c);
                }
                if flags.contains(EpollFlags::EPOLLOUT) && self.connections[c].state == State::Open
                {
                    self.flush(c);
                }
            }
            State::Lingering => self.left(c),
            State::Down | State::Missing => {}
        }
    }

    fn is_finished(&self) -> bool {
        if self.stage < Stage::Draining {
            return false;
        }
        let all_sent = self
            .schedule
            .as_ref()
            .is_none_or(|schedule| schedule.peek().is_none());
        let ended = self.counts.answered + self.counts.failed;
        self.now >= self.window.limit || (all_sent && self.counts.scheduled == ended)
    }

    /// What has no answer enters `response` with the age that it has by now. `None`: the trial was given up.
    fn finish(mut self) -> Option<Share> {
        let pipeline = self.pipeline;
        for (c, connection) in self.connections.iter().enumerate() {
            for number in connection.answered..connection.started {
                let slot = self.slots[c * pipeline as usize + (number % pipeline) as usize];
                if self.is_measured(slot.intended) {
                    self.counts.in_flight += 1;
                    let age = self.now - slot.intended;
                    record(&mut self.times.response, age, &mut self.counts);
                }
            }
        }
        for (number, due) in self.schedule.iter_mut().flatten().enumerate() {
            // At a rate far beyond what can be sent there are billions.
            if number % (1 << 16) == 0 && self.orders.cancelled.load(Ordering::Relaxed) {
                return None;
            }
            let intended = self.window.start + due;
            if intended >= self.window.measure {
                self.counts.scheduled += 1;
                self.counts.never_sent += 1;
                let age = self.now.saturating_sub(intended);
                record(&mut self.times.response, age, &mut self.counts);
            }
        }
        let mut blocks = [Block::default(); BLOCKS];
        blocks.copy_from_slice(&self.blocks[..BLOCKS]);
        Some(Share {
            thread: self.orders.thread,
            second: self.lap,
            times: self.times,
            counts: self.counts,
            connect: self.connect,
            blocks,
            answers: self.connections.iter().map(|c| c.answers).collect(),
            missing: self.missing,
            time: self.time,
            ended: self.now,
        })
    }
}

fn record(histogram: &mut Histogram<u64>, nanos: u64, counts: &mut Counts) {
    if nanos > HIGHEST {
        counts.clamped += 1;
    }
    histogram.saturating_record(nanos);
}

/// CPU time and run-delay of the calling thread; zero where the kernel does not tell.
fn thread_times() -> (Duration, Duration) {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let mut nanos = text
        .split_ascii_whitespace()
        .map(|field| Duration::from_nanos(field.parse().unwrap_or_default()));
    (
        nanos.next().unwrap_or_default(),
        nanos.next().unwrap_or_default(),
    )
}

//! The main thread's part of a trial: it starts the load, gathers what the generator threads record, and reports
//! the phases to the observer.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::bail;

use super::clock;
use super::messages::{LAP, Message, Share, Window};
use super::observer::{ASK_EVERY, Interrupted, Observer, Phase, Progress, Second};
use crate::recording::account::{BLOCKS, Block, Counts, MinMax, NeighbourCounts};
use crate::recording::histogram::{Quantiles, histogram};
use crate::recording::record::{Measured, Recording};
use crate::recording::stages::StageRecords;
use crate::recording::times::{Interval, Times};
use crate::workload::load::Workload;

/// The load starts this long after the last thread is ready, so that the message reaches all threads in time.
const START_DELAY: Duration = Duration::from_millis(5);
/// When counting the requests that were never sent takes longer than this, the observer gets a report, ns.
const COUNTING_IS_LONG: u64 = 500_000_000;

/// The channels to a generator thread.
pub struct Control {
    /// When the load begins and ends.
    pub window: mpsc::Sender<Window>,
    /// Histograms to use again.
    pub spares: mpsc::Sender<Box<Times>>,
}

/// Gathers what the generator threads record.
pub struct Collector<'a> {
    workload: &'a Workload,
    observer: &'a mut dyn Observer,
    inbox: mpsc::Receiver<Message>,
    controls: Vec<Control>,
    /// Tells the threads to end the measured time at once.
    cut: &'a AtomicBool,
    /// The seconds that some threads have not handed over yet.
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
    /// Directs the threads at the other ends of `controls`; their messages come in through `inbox`.
    pub fn new(
        workload: &'a Workload,
        observer: &'a mut dyn Observer,
        inbox: mpsc::Receiver<Message>,
        controls: Vec<Control>,
        cut: &'a AtomicBool,
    ) -> Self {
        let threads = controls.len();
        Self {
            workload,
            observer,
            inbox,
            controls,
            cut,
            seconds: BTreeMap::new(),
            reached: vec![0; threads],
            errors: vec![0; threads],
            errors_told: 0,
            total: Times::default(),
            intervals: Vec::new(),
            shares: Vec::new(),
        }
    }

    /// Directs the trial from the start of the load to its end.
    pub fn run(mut self) -> anyhow::Result<Recording> {
        let threads = self.controls.len();
        let mut ready = 0;
        while ready < threads {
            if self.observer.cancelled() {
                return Err(Interrupted.into());
            }
            match self.receive(ASK_EVERY)? {
                Some(Message::Ramped) => ready += 1,
                Some(other) => unreachable!("before the load begins: {other:?}"),
                None => {}
            }
        }
        self.observer.phase(Phase::Open);
        // It takes a while to look at ten thousand processes. Unless generators start together at a set time, the
        // load begins after that.
        let at_leisure = self.workload.start_at.is_none();
        if at_leisure {
            self.observer.phase(Phase::Warmup);
        }
        let (mut window, calendar) = self.window();
        for control in &self.controls {
            control.window.send(window)?;
        }
        let mut phases = [
            (window.start, Phase::Warmup),
            (window.measure, Phase::Measuring),
            (window.end, Phase::Measured),
        ];
        let mut passed = usize::from(at_leisure);
        let (mut is_counting, mut cut_short) = (false, false);
        while self.shares.len() < threads {
            let now = clock::now();
            if !cut_short && self.observer.cancelled() {
                if now < window.measure || !self.observer.keeps_a_part() {
                    return Err(Interrupted.into());
                }
                cut_short = true;
                window.end = window.end.min(now);
                window.limit = window.limit.min(now);
                phases[2].0 = window.end;
                self.cut.store(true, Ordering::Relaxed);
            }
            if !is_counting && now > window.limit + COUNTING_IS_LONG {
                is_counting = true;
                self.observer.progress(Progress::Counting);
            }
            let mut timeout = ASK_EVERY;
            if let Some(&(at, phase)) = phases.get(passed) {
                if at <= now {
                    self.observer.phase(phase);
                    passed += 1;
                    if phase == Phase::Measured {
                        for control in &self.controls {
                            // A thread that failed no longer listens; its message says why.
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
        let measured = self.measured(window, calendar, cut_short);
        Ok(self.finish(window, calendar, measured))
    }

    /// The next message. Fails when a thread failed.
    fn receive(&mut self, timeout: Duration) -> anyhow::Result<Option<Message>> {
        match self.inbox.recv_timeout(timeout) {
            Ok(Message::Failed(error)) => {
                Err(error.context(format!("cannot load {}", self.workload.target)))
            }
            Ok(message) => Ok(Some(message)),
            Err(mpsc::RecvTimeoutError::Timeout) => Ok(None),
            Err(mpsc::RecvTimeoutError::Disconnected) => bail!("a generator thread ended"),
        }
    }

    /// The instants of this trial, and the calendar time at which its measured time begins. It begins at once when the
    /// time that was set has passed.
    fn window(&self) -> (Window, SystemTime) {
        let (now, calendar) = (clock::now(), SystemTime::now());
        let delay = self.workload.start_at.map(|at| at.duration_since(calendar));
        let delay = delay.and_then(Result::ok).unwrap_or(START_DELAY);
        let start = now + clock::nanos(delay);
        let measure = start + clock::nanos(self.workload.warmup);
        let end = measure + clock::nanos(self.workload.duration);
        let window = Window {
            start,
            measure,
            end,
            limit: end + clock::nanos(self.workload.drain),
        };
        (window, calendar + delay + self.workload.warmup)
    }

    /// When it was really measured; `calendar` is the calendar time at which that should have begun.
    fn measured(&self, window: Window, calendar: SystemTime, cut_short: bool) -> Measured {
        let begun = self.shares.iter().map(|share| share.began).max();
        let begun = begun.unwrap_or(window.measure).max(window.measure);
        let ended = self.shares.iter();
        let ended = ended.map(|share| share.began + clock::nanos(share.time.span));
        let ended = ended.min().unwrap_or(window.end).max(begun);
        let first = calendar.duration_since(UNIX_EPOCH).unwrap_or_default();
        let at = |instant: u64| first + Duration::from_nanos(instant - window.measure);
        let moved = clock::wall().wrapping_sub(at(clock::now()).as_nanos() as i64);
        let planned = self.workload.start_at.map(|at| at + self.workload.warmup);
        let planned = planned.and_then(|planned| planned.duration_since(UNIX_EPOCH).ok());
        Measured {
            begin: at(begun),
            end: at(ended),
            monotonic: begun,
            moved,
            late: planned.map_or(Duration::ZERO, |planned| at(begun).saturating_sub(planned)),
            cut_short,
        }
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
            self.observer.progress(Progress::Second(Box::new(Second {
                number: second,
                answered: times.service.len(),
                errors: errors - self.errors_told,
                response_us: Quantiles::of(&times.response),
            })));
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

    fn finish(mut self, window: Window, started: SystemTime, measured_at: Measured) -> Recording {
        let ended = self.shares.iter().map(|share| share.ended).max();
        let measured = ended.unwrap_or(window.end) - window.measure;
        for (second, times) in std::mem::take(&mut self.seconds) {
            // An interval log counts in milliseconds.
            let length = measured.saturating_sub(second * LAP).clamp(1_000_000, LAP);
            self.pack(second, Duration::from_nanos(length), &times);
        }
        let mut counts = Counts::default();
        let mut connect = histogram();
        let mut stages = StageRecords::new(self.workload.course.stages());
        let mut tls = histogram();
        let mut resumed = 0;
        let mut blocks = vec![Block::default(); BLOCKS];
        let mut answers = Vec::new();
        let (mut unanswered, mut missing) = (0, 0);
        self.shares.sort_by_key(|share| share.thread);
        for share in &self.shares {
            counts.add(&share.counts);
            stages.add(&share.stages);
            for (sum, share) in [(&mut connect, &share.connect), (&mut tls, &share.tls)] {
                sum.add(share).expect("all have the same bounds");
            }
            resumed += share.resumed;
            for (sum, block) in blocks.iter_mut().zip(&share.blocks) {
                sum.answers += block.answers;
                sum.response += block.response;
            }
            answers.extend_from_slice(&share.answers);
            unanswered += share.unanswered;
            missing += share.missing;
        }
        Recording {
            started,
            measured: measured_at,
            times: self.total,
            stages,
            connect,
            tls,
            resumed,
            intervals: self.intervals,
            counts,
            blocks,
            connections_answered: answers.iter().filter(|&&count| count > 0).count(),
            connections_unanswered: unanswered,
            answers_per_connection: MinMax {
                min: answers.iter().copied().min().unwrap_or_default(),
                max: answers.iter().copied().max().unwrap_or_default(),
            },
            connections_missing: missing,
            neighbours: NeighbourCounts::default(),
            threads: self.shares.iter().map(|share| share.time).collect(),
        }
    }
}

//! What a server tells of itself while it runs: each wait, what ended it, and what was done then.
//!
//! An [`Event`] is told once and written in two ways: in plain words on stderr (`--trace`), and as a JSON line in a
//! file (`--trace-to`, docs/schema/trace.schema.json). Without these flags nothing is made of it. No line waits for
//! a reader or for room on a disk: it is dropped and counted, and clients are served.

use std::cell::Cell;
use std::fmt::{self, Display, Formatter};
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, FromRawFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use anyhow::Context as _;
use clap::ValueEnum;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::libc::{O_APPEND, O_NONBLOCK};
use nix::time::{ClockId, clock_gettime};
use serde::Serialize;

use crate::console;
use crate::mode::Mode;
use crate::options::Options;
use crate::session::{Interest, READ};

pub use event::{Event, Moved};

mod event;

/// Entries of a list, at most, and answers EAGAIN in a row that are written.
const LONGEST: usize = 100;

static IS_ON: AtomicBool = AtomicBool::new(false);
static TRACE: OnceLock<Trace> = OnceLock::new();
/// There are several workers, so each line names its own.
static NAMES_WORKERS: AtomicBool = AtomicBool::new(false);

thread_local! {
    static WORKER: Cell<Worker> = const { Cell::new(Worker("main", 0)) };
    static IN_VAIN: Cell<usize> = const { Cell::new(0) };
}

/// What a thread or process is, and which one, counted from 1; 0: there is only one.
#[derive(Debug, Clone, Copy)]
pub struct Worker(pub &'static str, pub usize);

impl Display for Worker {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self {
            Self(name, 0) => f.write_str(name),
            Self(kind, number) => write!(f, "{kind} {number}"),
        }
    }
}

struct Trace {
    model: &'static str,
    /// Nanoseconds of the monotonic clock.
    started: u64,
    outputs: Vec<Output>,
}

struct Output {
    render: fn(&Line) -> String,
    file: File,
    /// A write may wait, so poll is asked whether there is room.
    may_wait: bool,
    turn: Mutex<()>,
    lost: &'static Lost,
}

/// What the processes of a server share of their traces. They are atomics, and begin as zeroes: see [`crate::shared`].
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Shared {
    /// Nanoseconds of the monotonic clock; 0: not yet.
    started: AtomicU64,
    stderr: Lost,
    file: Lost,
    /// The descriptor of the file. A program that a server starts finds it open; 0: it is to be opened.
    descriptor: AtomicI32,
}

/// What could not be written by all threads and processes.
#[derive(Debug, Default)]
#[repr(C)]
struct Lost {
    /// Lines of which nobody was told.
    lines: AtomicU64,
    /// The last line was cut in the middle.
    is_cut: AtomicBool,
}

/// An event with its time, in nanoseconds of the monotonic clock, and its worker.
#[derive(Serialize)]
struct Line<'a> {
    t_ns: u64,
    worker: String,
    #[serde(flatten)]
    event: &'a Event<'a>,
}

/// Opens what `--trace` and `--trace-to` ask for.
pub(crate) fn open(
    model: &'static str,
    options: &Options,
    shared: &'static Shared,
) -> anyhow::Result<()> {
    let mut outputs = Vec::new();
    if options.trace {
        outputs.push(Output::stderr(&shared.stderr)?);
    }
    if let Some(path) = &options.trace_to {
        let file = inherit_or_open(path, &shared.descriptor);
        let file = file.with_context(|| format!("--trace-to {}", path.display()))?;
        outputs.push(Output::new(json, file, false, &shared.file));
    }
    IS_ON.store(!outputs.is_empty(), Relaxed);
    let now = now();
    let exchanged = shared.started.compare_exchange(0, now, Relaxed, Relaxed);
    let started = exchanged.err().unwrap_or(now);
    TRACE.get_or_init(|| Trace {
        model,
        started,
        outputs,
    });
    Ok(())
}

/// The file, as the first process of the server has opened it. Another program could not open it anew: its
/// lines are to follow those that are there, and a pipe may have lost its reader meanwhile.
#[allow(unsafe_code, reason = "an inherited descriptor is a bare number")]
fn inherit_or_open(path: &Path, inherited: &AtomicI32) -> anyhow::Result<File> {
    let descriptor = inherited.load(Relaxed);
    if descriptor != 0 {
        // SAFETY: it was opened for this process as well, and nothing else here knows of it.
        return Ok(unsafe { File::from_raw_fd(descriptor) });
    }
    let mut open = OpenOptions::new();
    open.create(true).truncate(true).write(true);
    // A pipe that nobody reads is refused, and one that is full gives an error.
    let file = open.custom_flags(O_APPEND | O_NONBLOCK).open(path)?;
    fcntl(&file, FcntlArg::F_SETFD(FdFlag::empty()))?;
    inherited.store(file.as_raw_fd(), Relaxed);
    Ok(file)
}

/// Somebody wants to know.
#[inline]
pub fn is_on() -> bool {
    IS_ON.load(Relaxed)
}

/// Tells what happened. Where nobody wants to know, the event is not made.
#[inline]
pub fn tell<'a>(event: impl FnOnce() -> Event<'a>) {
    if is_on() {
        write(&event());
    }
}

/// Does the work or the sleep of a client's request, and tells how long it took.
pub fn timed(client: u64, work: impl FnOnce()) {
    let begun = is_on().then(now);
    work();
    tell(|| Event::Done {
        client,
        ns: now() - begun.unwrap_or_else(now),
    });
}

/// Tells something else worth knowing.
pub fn note(client: Option<u64>, why: impl FnOnce() -> String) {
    tell(|| Event::Note { client, why: why() });
}

/// The server is about to serve.
pub fn start(mode: Mode, address: SocketAddr) {
    tell(|| Event::Start {
        model: TRACE.get().map_or("", |trace| trace.model),
        mode: mode
            .to_possible_value()
            .map_or_else(String::new, |mode| mode.get_name().to_owned()),
        address,
        pid: std::process::id(),
    });
}

/// The calling thread has made another thread or a process.
pub fn spawned(call: &'static str, kind: &'static str, number: usize) {
    tell(|| Event::Spawn {
        call,
        to: Worker(kind, number).to_string(),
    });
}

/// From now on this is the name of the calling thread or process.
pub fn i_am(kind: &'static str, number: usize) {
    WORKER.set(Worker(kind, number));
}

/// There is more than one worker, or will be.
pub fn name_workers() {
    NAMES_WORKERS.store(true, Relaxed);
}

/// The calling thread begins to wait, for so long at most, in a system call: `what` for.
#[inline]
pub fn wait(
    call: &'static str,
    most: Option<Duration>,
    what: impl FnOnce() -> Vec<String>,
) -> Waiting {
    begin(call, most, None, what)
}

/// It begins to wait for one client alone.
#[inline]
pub fn wait_for(
    call: &'static str,
    most: Option<Duration>,
    client: u64,
    interest: Interest,
) -> Waiting {
    begin(call, most, Some(client), || {
        vec![Name::Client(client).awaited(interest)]
    })
}

#[inline]
fn begin(
    call: &'static str,
    most: Option<Duration>,
    client: Option<u64>,
    what: impl FnOnce() -> Vec<String>,
) -> Waiting {
    let since = is_on().then(|| {
        let ns = most.map(|most| most.as_nanos() as u64);
        let mut what = what();
        if most.is_some_and(|most| !most.is_zero()) {
            what.push("timer".to_owned());
        }
        write(&Event::Wait {
            call,
            what,
            client,
            ns,
        });
        now()
    });
    Waiting { call, most, since }
}

/// A wait. Its end is told when it is dropped, at the latest: then a signal has interrupted it.
#[derive(Debug)]
#[must_use = "a wait has an end"]
pub struct Waiting {
    call: &'static str,
    most: Option<Duration>,
    /// `None`: nobody wants to know.
    since: Option<u64>,
}

impl Waiting {
    /// The wait is over, and this is ready; nothing: the time is over.
    #[inline]
    pub fn woke(mut self, ready: impl FnOnce() -> Vec<String>) {
        if let Some(since) = self.since.take() {
            let mut ready = ready();
            if ready.is_empty() && self.most.is_some_and(|most| !most.is_zero()) {
                ready.push("timer".to_owned());
            }
            self.end(since, ready);
        }
    }

    /// The wait for one client alone is over, and so ended the call.
    pub fn ended(self, result: &io::Result<usize>, client: u64, interest: Interest) {
        match result.as_ref().map_err(io::Error::kind) {
            // Told when this is dropped.
            Err(ErrorKind::Interrupted) => {}
            Err(ErrorKind::WouldBlock) => self.woke(Vec::new),
            _ => self.woke(|| vec![Name::Client(client).some_of(interest)]),
        }
    }

    fn end(&self, since: u64, ready: Vec<String>) {
        let ns = now() - since;
        write(&Event::Wake {
            call: self.call,
            ready,
            ns,
        });
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(since) = self.since {
            self.end(since, vec!["a signal".to_owned()]);
        }
    }
}

/// A list that is not too long to be read, or for a pipe to take it at once.
pub fn list(entries: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut entries = entries.into_iter();
    let mut list: Vec<String> = entries.by_ref().take(LONGEST).collect();
    match entries.count() {
        0 => {}
        more => list.push(format!("and {more} more")),
    }
    list
}

/// What a descriptor is, in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name {
    /// The client with this number.
    Client(u64),
    /// The listener, or something else that there is once.
    Only(&'static str),
}

/// The listener.
pub const LISTENER: Name = Name::Only("listener");
/// A stop signal can be taken. It is not named among the things that are waited for.
pub const STOP: Name = Name::Only("a request to stop");

impl Name {
    /// As it is called while it is waited for.
    pub fn awaited(self, interest: Interest) -> String {
        match self {
            Self::Client(client) if interest == READ => format!("client {client}"),
            _ => self.some_of(interest),
        }
    }

    /// As it is called when it is ready for some of this.
    pub fn some_of(self, interest: Interest) -> String {
        match self {
            Self::Client(client) => format!("client {client} {interest}"),
            Self::Only(name) => name.to_owned(),
        }
    }

    /// As it is called when it is ready for all of this.
    pub fn ready(self, interest: Interest) -> String {
        self.some_of(interest).replace(" or ", " and ")
    }
}

/// The process ends: what could not be written is told on stderr.
pub fn end(program: &str) {
    for output in TRACE.get().into_iter().flat_map(|trace| &trace.outputs) {
        if let lines @ 1.. = output.lost.lines.load(Relaxed) {
            console::complain(format_args!(
                "{program}: {lines} lines of the trace could not be written\n"
            ));
        }
    }
}

fn now() -> u64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |time| Duration::from(time).as_nanos() as u64)
}

fn write(event: &Event) {
    let in_vain = IN_VAIN.take();
    if event.is_in_vain() {
        IN_VAIN.set(in_vain + 1);
        if in_vain >= LONGEST {
            return;
        }
    } else if in_vain > LONGEST {
        append(&Event::Skipped {
            lines: in_vain - LONGEST,
        });
    }
    append(event);
}

fn append(event: &Event) {
    let line = Line::new(event);
    for output in TRACE.get().into_iter().flat_map(|trace| &trace.outputs) {
        output.append(&line);
    }
}

impl Output {
    fn new(render: fn(&Line) -> String, file: File, may_wait: bool, lost: &'static Lost) -> Self {
        Self {
            render,
            file,
            may_wait,
            turn: Mutex::default(),
            lost,
        }
    }

    /// Several processes may find room for a line in a pipe where there is room for one. So a pipe
    /// is opened anew, as one that gives an error instead of waiting.
    fn stderr(lost: &'static Lost) -> anyhow::Result<Self> {
        let file = File::from(
            io::stderr()
                .as_fd()
                .try_clone_to_owned()
                .context("stderr")?,
        );
        let is_pipe = file
            .metadata()
            .is_ok_and(|metadata| metadata.file_type().is_fifo());
        let mut open = OpenOptions::new();
        open.write(true).custom_flags(O_NONBLOCK);
        Ok(match open.open("/proc/self/fd/2") {
            Ok(pipe) if is_pipe => Self::new(words, pipe, false, lost),
            _ => Self::new(words, file, true, lost),
        })
    }

    /// Threads write one at a time, so that a line fits where poll has seen room.
    fn append(&self, line: &Line) {
        let Ok(_turn) = self.turn.lock() else {
            return;
        };
        let was_cut = self.lost.is_cut.swap(false, Relaxed);
        let dropped = self.lost.lines.swap(0, Relaxed);
        let mut text = String::new();
        if was_cut {
            text.push('\n');
        }
        if let lines @ 1.. = dropped {
            text += &(self.render)(&Line::new(&Event::Dropped { lines }));
        }
        let told = text.len();
        text += &(self.render)(line);
        let written = self.write(text.as_bytes()).unwrap_or(0);
        if written == text.len() {
            return;
        }
        let untold = if written < told { dropped } else { 0 };
        self.lost.lines.fetch_add(untold + 1, Relaxed);
        let is_cut = match written {
            0 => was_cut,
            n => text.as_bytes()[n - 1] != b'\n',
        };
        self.lost.is_cut.fetch_or(is_cut, Relaxed);
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        if self.may_wait && !console::has_room(&self.file) {
            return Err(ErrorKind::WouldBlock.into());
        }
        loop {
            match (&self.file).write(bytes) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }
}

impl<'a> Line<'a> {
    fn new(event: &'a Event<'a>) -> Self {
        let worker = WORKER.get().to_string();
        Self {
            t_ns: now(),
            worker,
            event,
        }
    }
}

fn json(line: &Line) -> String {
    serde_json::to_string(line).map_or_else(|error| error.to_string(), |line| line + "\n")
}

fn words(line: &Line) -> String {
    let started = TRACE.get().map_or(0, |trace| trace.started);
    let seconds = Duration::from_nanos(line.t_ns.saturating_sub(started)).as_secs_f64();
    let worker = if NAMES_WORKERS.load(Relaxed) {
        format!("{:<11}", format!("{}:", line.worker))
    } else {
        String::new()
    };
    format!("{seconds:10.6}  {worker}{}\n", line.event)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    use nix::unistd::pipe2;

    use super::*;

    /// What a reader finds after a line of so many bytes.
    fn read_after(output: &Output, reader: &File, bytes: usize) -> String {
        let why = "x".repeat(bytes);
        output.append(&Line::new(&Event::Note { client: None, why }));
        let mut text = vec![0; 1 << 16];
        let n = (&*reader).read(&mut text).expect("something was written");
        String::from_utf8_lossy(&text[..n]).into_owned()
    }

    #[test]
    fn a_lost_line_is_told_once() {
        let (reader, writer) = pipe2(OFlag::O_NONBLOCK).expect("a pipe");
        fcntl(&writer, FcntlArg::F_SETPIPE_SZ(1)).expect("a page");
        let reader = File::from(reader);
        let lost = Box::leak(Box::default());
        let output = Output::new(words, writer.into(), false, lost);
        let cut = read_after(&output, &reader, 70_000);
        assert!(!cut.contains('\n'));
        // The count goes out whole, and the line behind it is cut.
        let told = read_after(&output, &reader, 70_000);
        assert!(
            told.starts_with('\n') && told.contains("(1 lines"),
            "{told}"
        );
        let told = read_after(&output, &reader, 10);
        assert!(
            told.starts_with('\n') && told.contains("(1 lines"),
            "{told}"
        );
        let told = read_after(&output, &reader, 10);
        assert!(!told.contains("lines of the trace"), "{told}");
    }
}

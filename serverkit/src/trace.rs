//! What a server writes about itself while it runs: each wait, what ended it, and what was done
//! then.
//!
//! An [`Event`] can be written in two ways: in plain words on stderr (`--trace`), and as a JSON
//! line in a file (`--trace-to`, docs/schema/trace.schema.json). Without these flags nothing is
//! made of it. No line waits for a reader or for room on a disk: it is dropped and counted, and
//! clients are served.

use std::cell::Cell;
use std::fmt::{self, Display, Formatter};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use clap::ValueEnum;

use crate::console;
use crate::mode::Mode;
use crate::options::Options;
use crate::session::{Interest, READ};

pub use event::{Event, Moved};
use line::{Line, now};
pub use line::{Worker, i_am, name_workers};
use output::{Lost, Output};

mod event;
mod line;
mod output;

/// Entries of a list, at most, and answers EAGAIN in a row that are written.
const LONGEST: usize = 100;

static IS_ON: AtomicBool = AtomicBool::new(false);
static TRACE: OnceLock<Trace> = OnceLock::new();
thread_local! {
    static IN_VAIN: Cell<usize> = const { Cell::new(0) };
}

struct Trace {
    model: &'static str,
    outputs: Vec<Output>,
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
        outputs.push(Output::file(path, &shared.descriptor, &shared.file)?);
    }
    IS_ON.store(!outputs.is_empty(), Relaxed);
    line::start(&shared.started);
    TRACE.get_or_init(|| Trace { model, outputs });
    Ok(())
}

/// Whether a trace is wanted.
#[inline]
pub fn is_on() -> bool {
    IS_ON.load(Relaxed)
}

/// Tells what happened. Without a trace the event is not made.
#[inline]
pub fn tell<'a>(event: impl FnOnce() -> Event<'a>) {
    if is_on() {
        write(&event());
    }
}

/// Does the work or the sleep of a client's request, and traces how long it took.
pub fn timed(client: u64, work: impl FnOnce()) {
    let begun = is_on().then(now);
    work();
    tell(|| Event::Done {
        client,
        ns: now() - begun.unwrap_or_else(now),
    });
}

/// Tells something for which there is no other event.
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

/// The calling thread begins to wait in the system call `call`: for `what`, and for the time `most` at
/// most.
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

/// A wait. If nobody reported its end before it is dropped, a signal has interrupted it.
#[derive(Debug)]
#[must_use = "a wait has an end"]
pub struct Waiting {
    call: &'static str,
    most: Option<Duration>,
    /// `None`: no trace is wanted.
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
    #[inline]
    pub fn ended(self, result: &io::Result<usize>, client: u64, interest: Interest) {
        if self.since.is_none() {
            return;
        }
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
    /// The listener, or another thing of which there is only one.
    Only(&'static str),
}

/// The listener.
pub const LISTENER: Name = Name::Only("listener");
/// A stop signal can be taken. It is not named among the things that are waited for.
pub const STOP: Name = Name::Only("a request to stop");

impl Display for Name {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self {
            Self::Client(client) => write!(f, "client {client}"),
            Self::Only(name) => f.write_str(name),
        }
    }
}

impl Name {
    /// Its name while it is waited for.
    pub fn awaited(self, interest: Interest) -> String {
        if interest == READ {
            self.to_string()
        } else {
            self.some_of(interest)
        }
    }

    /// Its name in a list when it is ready for some of this. The kernel reports a hang-up and an
    /// error without being asked.
    pub fn some_of(self, interest: Interest) -> String {
        match self {
            Self::Client(_) if interest == Interest::default() => format!("{self} hung up"),
            Self::Client(_) => format!("{self} {interest}"),
            Self::Only(_) => self.to_string(),
        }
    }

    /// Its name in a list when it is ready for all of this.
    pub fn ready(self, interest: Interest) -> String {
        self.some_of(interest).replace(" or ", " and ")
    }
}

/// The process ends: prints on stderr how many lines could not be written.
pub fn end(program: &str) {
    for output in TRACE.get().into_iter().flat_map(|trace| &trace.outputs) {
        if let lines @ 1.. = output.lost() {
            console::complain(format_args!(
                "{program}: {lines} lines of the trace could not be written\n"
            ));
        }
    }
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

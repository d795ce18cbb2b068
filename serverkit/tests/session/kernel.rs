//! A socket that follows a script, and the two drivers' ways of using one.

use std::io::ErrorKind::{self, Interrupted, WouldBlock};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use serverkit::Mode;
use serverkit::session::Session;

/// Requests that a driver lets be answered before it writes: few, so that there often are more.
const BATCH: u32 = 3;

/// A session without an idle timeout.
pub fn session(mode: Mode, buffer_size: usize) -> Session {
    Session::new(mode, buffer_size, None, Instant::now())
}

/// What the socket does with one read or write.
#[derive(Debug, Clone, Copy)]
pub enum Turn {
    /// EINTR.
    Interrupted,
    /// EAGAIN; a blocking socket waits instead.
    WouldBlock,
    /// At most this many bytes.
    Bytes(usize),
}

/// Any script: mostly small pieces, as they find the edges of the buffers.
pub fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let turn = prop_oneof![
        1 => Just(Turn::Interrupted),
        2 => Just(Turn::WouldBlock),
        6 => (1_usize..8).prop_map(Turn::Bytes),
        2 => (1_usize..5000).prop_map(Turn::Bytes),
    ];
    prop::collection::vec(turn, 0..200)
}

/// The server's end of a connection.
pub struct Kernel<'a> {
    /// What the client sends.
    input: &'a [u8],
    /// The client half-closes after its last byte; otherwise it keeps the connection open.
    half_closes: bool,
    /// When it runs out, every read and write does all that it is asked for.
    script: std::vec::IntoIter<Turn>,
    /// EAGAIN was answered and an event will follow.
    event_due: bool,
    /// What the client has received.
    pub output: Vec<u8>,
    /// The server has shut down its sending side.
    pub shut_down: bool,
}

impl<'a> Kernel<'a> {
    pub fn new(input: &'a [u8], half_closes: bool, script: Vec<Turn>) -> Self {
        Self {
            input,
            half_closes,
            script: script.into_iter(),
            event_due: false,
            output: Vec::new(),
            shut_down: false,
        }
    }

    fn is_readable(&self) -> bool {
        !self.input.is_empty() || self.half_closes
    }

    fn read(&mut self, space: &mut [u8]) -> Result<usize, ErrorKind> {
        assert!(!space.is_empty(), "no space, which reads as end of input");
        let most = match self.script.next() {
            Some(Turn::Interrupted) => return Err(Interrupted),
            Some(Turn::WouldBlock) => 0,
            Some(Turn::Bytes(n)) => n,
            None => usize::MAX,
        };
        if most == 0 || !self.is_readable() {
            self.event_due |= self.is_readable();
            return Err(WouldBlock);
        }
        let n = most.min(space.len()).min(self.input.len());
        space[..n].copy_from_slice(&self.input[..n]);
        self.input = &self.input[n..];
        Ok(n)
    }

    fn write(&mut self, pending: &[u8]) -> Result<usize, ErrorKind> {
        assert!(!self.shut_down, "written after the shutdown");
        let most = match self.script.next() {
            Some(Turn::Interrupted) => return Err(Interrupted),
            Some(Turn::WouldBlock) => {
                self.event_due = true;
                return Err(WouldBlock);
            }
            Some(Turn::Bytes(n)) => n,
            None => usize::MAX,
        };
        let n = most.min(pending.len());
        self.output.extend_from_slice(&pending[..n]);
        Ok(n)
    }
}

/// Who moves the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// As `blocking`.
    Blocking,
    /// As `nonblocking`, level-triggered: what is left is reported again.
    Level,
    /// As `nonblocking`, edge-triggered: each event is reported once.
    Edge,
}

pub fn drivers() -> impl Strategy<Value = Driver> {
    prop::sample::select(vec![Driver::Blocking, Driver::Level, Driver::Edge])
}

/// What a session did until it was done, or had nothing more to do.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    /// All that was written.
    pub output: Vec<u8>,
    /// How many bytes were read before [`Session::stop`] or the shutdown.
    pub used: usize,
    /// How many bytes were read in all.
    pub read: usize,
    /// The most that was read and not yet written.
    pub most_held: usize,
    /// The sending side was shut down.
    pub shut_down: bool,
    /// The connection may be closed.
    pub done: bool,
    /// How many requests the session reported to the driver.
    pub requests: u32,
}

impl Outcome {
    fn did_read(&mut self, n: usize, kernel: &Kernel) {
        self.read += n;
        if !kernel.shut_down {
            self.used += n;
            let held = self.read.saturating_sub(kernel.output.len());
            self.most_held = self.most_held.max(held);
        }
    }
}

/// Moves the bytes of a session until it is done or waits for a client that says no more.
///
/// `stop_after`: the session is stopped once this many bytes were read.
pub fn drive(
    mut session: Session,
    mut kernel: Kernel,
    driver: Driver,
    stop_after: Option<usize>,
) -> Outcome {
    let mut outcome = Outcome {
        output: Vec::new(),
        used: 0,
        read: 0,
        most_held: 0,
        shut_down: false,
        done: false,
        requests: 0,
    };
    let mut is_empty = false;
    loop {
        let waits = step(
            &mut session,
            &mut kernel,
            driver,
            &mut outcome,
            &mut is_empty,
        );
        check(&session);
        if session.is_done() {
            break;
        }
        if stop_after.is_some_and(|n| outcome.read >= n) && !session.is_stopping() {
            session.stop(Instant::now() + Duration::from_secs(5));
            is_empty = false;
            continue;
        }
        if !waits {
            continue;
        }
        is_empty = false;
        if driver != Driver::Blocking {
            session.rest(0);
            check(&session);
        }
        let interest = session.interest();
        let told = match driver {
            Driver::Blocking => kernel.is_readable(),
            Driver::Level => interest.write || interest.read && kernel.is_readable(),
            Driver::Edge => std::mem::take(&mut kernel.event_due),
        };
        if !told {
            assert!(
                !kernel.is_readable() || !interest.read,
                "input waits and nobody will tell"
            );
            assert!(!interest.write, "output waits and nobody will tell");
            break;
        }
    }
    outcome.done = session.is_done();
    outcome.shut_down = kernel.shut_down;
    outcome.output = kernel.output;
    outcome
}

/// One pass through a driver's loop; true when the driver would now wait.
fn step(
    session: &mut Session,
    kernel: &mut Kernel,
    driver: Driver,
    outcome: &mut Outcome,
    is_empty: &mut bool,
) -> bool {
    let now = Instant::now();
    outcome.requests += session.answer(BATCH);
    check(session);
    while !session.pending().is_empty() {
        match kernel.write(session.pending()) {
            Ok(n) => session.did_write(n, now),
            Err(Interrupted) => {}
            Err(_) if driver == Driver::Blocking => {}
            Err(_) => break,
        }
        check(session);
    }
    if session.take_shutdown(now) {
        assert!(!kernel.shut_down, "shut down twice");
        kernel.shut_down = true;
        check(session);
    }
    if session.is_done() || session.can_answer() {
        return false;
    }
    if *is_empty {
        return true;
    }
    if !session.interest().read {
        assert_ne!(
            driver,
            Driver::Blocking,
            "a blocking driver has only reading left to do"
        );
        return true;
    }
    let space = match driver {
        Driver::Blocking => session.waiting_space(),
        Driver::Level | Driver::Edge => session.read_space(),
    };
    let room = space.len();
    match kernel.read(space) {
        Ok(n) => {
            outcome.did_read(n, kernel);
            session.did_read(n, now);
            while driver == Driver::Blocking
                && let Some(space) = session.more_space()
                && let Ok(n) = kernel.read(space)
            {
                outcome.did_read(n, kernel);
                session.did_read(n, now);
            }
            *is_empty = n > 0 && n < room && driver == Driver::Level && !session.is_stopping();
        }
        Err(Interrupted) => {}
        Err(_) => {
            session.found_no_input();
            *is_empty = driver != Driver::Blocking || !kernel.is_readable();
        }
    }
    false
}

/// What holds whenever a driver looks.
fn check(session: &Session) {
    let interest = session.interest();
    assert_eq!(interest.write, !session.pending().is_empty());
    if session.is_done() {
        assert_eq!((interest.read, interest.write), (false, false));
    }
}

//! One connection's protocol, sans-IO: no socket and no clock. The present time is an argument.
//!
//! A driver moves bytes between a socket and the session, and asks it what to wait for:
//!
//! ```text
//!            read_space, did_read             pending, did_write
//!   socket ------------------------> session ---------------------> socket
//!                 answer, interest, deadline, take_shutdown, is_done
//! ```
//!
//! Memory is bounded: a full buffer drops the interest in reading, so that TCP's own flow
//! control slows the client down. A buffer is made when there is something to read, grows when a read
//! fills it, and is given back when the client was answered and is silent.
//!
//! The three limits on a connection's time are here, too: `--idle-timeout`, the time that the
//! client is given to close after the last answer, and the grace of a stop. [`Session::deadline`]
//! is the soonest of them.

use std::fmt::{self, Display, Formatter};
use std::time::{Duration, Instant};

use crate::buffer::Buffer;
use crate::mode::http::{self, Http};
use crate::mode::{Mode, ONCE_ANSWER};

/// Bytes that are read and thrown away after the last answer, at most.
pub const LINGER_BYTES: usize = 1 << 20;

/// How long the client's own close is awaited after the server has shut down its side.
pub const LINGER_TIME: Duration = Duration::from_secs(1);

/// The same while the server is stopping: one worker may have many clients to end, one by one.
pub const LINGER_TIME_AT_STOP: Duration = Duration::from_millis(100);

/// What a session waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Interest {
    /// Bytes from the client, or its end of input.
    pub read: bool,
    /// Room for bytes to the client.
    pub write: bool,
}

impl Display for Interest {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        f.write_str(match (self.read, self.write) {
            (true, false) => "readable",
            (false, true) => "writable",
            (true, true) => "readable or writable",
            (false, false) => "nothing",
        })
    }
}

/// Interest in reading only.
pub const READ: Interest = Interest {
    read: true,
    write: false,
};

/// Interest in writing only.
pub const WRITE: Interest = Interest {
    read: false,
    write: true,
};

/// One connection's protocol state.
#[derive(Debug)]
pub struct Session {
    mode: State,
    /// What was read and is not yet used. In echo it is also what waits to be written.
    input: Buffer,
    stage: Stage,
    /// The input may hold a request that has no answer yet.
    unanswered: bool,
    /// The last answer must not be written yet.
    held: bool,
    idle_timeout: Option<Duration>,
    /// When bytes last moved, in either direction.
    moved: Instant,
    /// The server is stopping, and this is the end of its grace.
    stop_at: Option<Instant>,
}

#[derive(Debug)]
enum State {
    Echo,
    /// What is left to be written of the answer; nothing before the client has said something.
    Once(&'static [u8]),
    /// In a box, as it is larger than all the rest.
    Http(Box<Http>),
}

#[derive(Debug, PartialEq, Eq)]
enum Stage {
    /// Reading and answering.
    Open,
    /// The client sends no more: what is pending is the rest.
    InputEnded,
    /// The server closes first: what is pending is the rest, then the sending side is shut down.
    Closing,
    /// The sending side is shut down. What still comes is thrown away until the client closes:
    /// closing with input unread would send a reset, which can destroy the answer on its way.
    /// Bytes that were thrown away, and the end of the wait.
    Lingering(usize, Instant),
    Done,
}

impl Session {
    /// A session at its beginning. `buffer_size` is in bytes; http uses at least 8 KiB. Without an
    /// idle timeout a silent client may stay for ever.
    pub fn new(
        mode: Mode,
        buffer_size: usize,
        idle_timeout: Option<Duration>,
        now: Instant,
    ) -> Self {
        let (mode, buffer_size) = match mode {
            Mode::Echo => (State::Echo, buffer_size),
            Mode::Once => (State::Once(&[]), buffer_size),
            Mode::Http => (
                State::Http(Box::new(Http::new())),
                buffer_size.max(http::LEAST_BUFFER),
            ),
        };
        Self {
            mode,
            input: Buffer::new(buffer_size),
            stage: Stage::Open,
            unanswered: false,
            held: false,
            idle_timeout,
            moved: now,
            stop_at: None,
        }
    }

    /// Where the driver puts what it reads; empty while [`Interest::read`] is set only if there is no memory.
    pub fn read_space(&mut self) -> &mut [u8] {
        self.input.space()
    }

    /// As [`Session::read_space`], for a read that may wait for long: meanwhile it holds
    /// [`WAITING`](crate::buffer::WAITING) bytes at most, unless some of a request has come.
    pub fn waiting_space(&mut self) -> &mut [u8] {
        self.input.little_space()
    }

    /// As [`Session::read_space`], if the last read has filled its space and there is memory for more.
    /// A driver reads again before it answers, so that a long message is answered at once.
    pub fn more_space(&mut self) -> Option<&mut [u8]> {
        if !self.interest().read || !self.input.can_grow() {
            return None;
        }
        Some(self.input.space()).filter(|space| !space.is_empty())
    }

    /// The last read has filled its space: there may be more to read at once.
    pub fn may_have_more(&self) -> bool {
        self.input.was_filled()
    }

    /// As [`Session::read_space`], if there [may be more](Session::may_have_more): a driver that would
    /// wait now first reads that.
    pub fn space_again(&mut self) -> Option<&mut [u8]> {
        if !self.interest().read || !self.may_have_more() {
            return None;
        }
        Some(self.input.space()).filter(|space| !space.is_empty())
    }

    /// The driver turns to other clients: memory that this one does not use is given back, but for
    /// `most` bytes.
    pub fn rest(&mut self, most: usize) {
        self.input.rest(most);
        if let State::Http(http) = &mut self.mode {
            http.rest();
        }
    }

    /// `n` bytes were read into [`Session::read_space`]; 0 is the client's end of input.
    pub fn did_read(&mut self, n: usize, now: Instant) {
        self.moved = now;
        match &mut self.stage {
            Stage::Open if n == 0 => self.stage = Stage::InputEnded,
            Stage::Open => {
                self.input.produced(n);
                self.unanswered = true;
            }
            Stage::Lingering(discarded, _) if n > 0 && *discarded + n < LINGER_BYTES => {
                *discarded += n;
            }
            Stage::Lingering(..) => self.stage = Stage::Done,
            // A driver may read without asking for the interest. What comes now is thrown away.
            Stage::InputEnded | Stage::Closing | Stage::Done => {}
        }
    }

    /// The socket has no more bytes at this moment. For a session that was told to stop, that is
    /// the end of the input.
    pub fn found_no_input(&mut self) {
        if self.stop_at.is_some() && self.stage == Stage::Open {
            self.stage = Stage::Closing;
        }
    }

    /// Answers the requests that have been read: at most `most` of them, and no more than there is
    /// room for answers. Tells how many. In echo, what one read brought counts as one request.
    pub fn answer(&mut self, most: u32) -> u32 {
        if !self.unanswered || self.held || most == 0 {
            return 0;
        }
        match &mut self.mode {
            State::Echo => {
                self.unanswered = false;
                1
            }
            State::Once(rest) => {
                *rest = ONCE_ANSWER;
                self.close();
                1
            }
            State::Http(http) => {
                let progress = http.answer(&mut self.input, most);
                self.unanswered = progress.more;
                if progress.closes {
                    self.close();
                }
                progress.requests
            }
        }
    }

    /// The last request is still worked on, elsewhere: nothing is read, answered or written until
    /// [`Session::release`], and the client is not idle.
    pub fn hold(&mut self) {
        self.held = true;
    }

    /// The last request is still worked on.
    pub fn is_held(&self) -> bool {
        self.held
    }

    /// The work on the last request is done: its answer can be written.
    pub fn release(&mut self, now: Instant) {
        self.held = false;
        self.moved = now;
    }

    /// [`Session::answer`] has something to do, and everything before it is written. In echo what was read is the answer,
    /// and it is not to be written before that.
    pub fn can_answer(&self) -> bool {
        let is_echo = matches!(self.mode, State::Echo);
        self.unanswered && !self.held && (is_echo || self.pending().is_empty())
    }

    /// What the driver is to write next; empty when there is nothing.
    pub fn pending(&self) -> &[u8] {
        match &self.mode {
            _ if self.held => &[],
            State::Echo => self.input.data(),
            State::Once(rest) => rest,
            State::Http(http) => http.pending(),
        }
    }

    /// The first `n` bytes of [`Session::pending`] were written.
    pub fn did_write(&mut self, n: usize, now: Instant) {
        self.moved = now;
        match &mut self.mode {
            State::Echo => self.input.consumed(n),
            State::Once(rest) => *rest = &rest[n..],
            State::Http(http) => http.did_write(n),
        }
    }

    /// What to wait for now.
    pub fn interest(&self) -> Interest {
        Interest {
            read: match self.stage {
                Stage::Open => !self.held && !self.input.is_full(),
                Stage::Lingering(..) => true,
                _ => false,
            },
            write: !self.pending().is_empty(),
        }
    }

    /// From now on the input ends where the socket is found empty ([`Session::found_no_input`]),
    /// as if the client had half-closed there; the server closes first. Everything has to be over
    /// at `end_of_grace`.
    pub fn stop(&mut self, end_of_grace: Instant) {
        self.stop_at = Some(end_of_grace);
    }

    /// The session was told to stop.
    pub fn is_stopping(&self) -> bool {
        self.stop_at.is_some()
    }

    /// The last byte is written and the driver shall shut down the sending side.
    pub fn wants_shutdown(&self) -> bool {
        self.stage == Stage::Closing && self.is_written()
    }

    /// As [`Session::wants_shutdown`], but true once: from now on the client's close is awaited.
    pub fn take_shutdown(&mut self, now: Instant) -> bool {
        let wanted = self.wants_shutdown();
        if wanted {
            self.input.clear();
            let time = match self.stop_at {
                Some(_) => LINGER_TIME_AT_STOP,
                None => LINGER_TIME,
            };
            self.stage = Stage::Lingering(0, now + time);
        }
        wanted
    }

    /// Everything was answered and sent, and only the client's close is awaited: it does not matter
    /// how the client leaves.
    pub fn is_lingering(&self) -> bool {
        matches!(self.stage, Stage::Lingering(..))
    }

    /// Everything is written and the connection may be closed.
    pub fn is_done(&self) -> bool {
        self.stage == Stage::Done || self.stage == Stage::InputEnded && self.is_written()
    }

    /// Everything that was read is answered, and the answers are written.
    fn is_written(&self) -> bool {
        !self.unanswered && !self.held && self.pending().is_empty()
    }

    /// When the connection is to be closed if no more bytes move until then; `None`: never.
    pub fn deadline(&self) -> Option<Instant> {
        let idle = self.idle_timeout.filter(|_| !self.held);
        let idle = idle.map(|timeout| self.moved + timeout);
        let linger = match self.stage {
            Stage::Lingering(_, until) => Some(until),
            _ => None,
        };
        [idle, linger, self.stop_at].into_iter().flatten().min()
    }

    /// What is pending is the last of it.
    fn close(&mut self) {
        self.input.clear();
        self.unanswered = false;
        if self.stage == Stage::Open {
            self.stage = Stage::Closing;
        }
    }
}

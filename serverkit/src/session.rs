//! One connection's bytes, sans-IO: no socket, no clock.
//!
//! A driver moves bytes between a socket and the session, and asks it what to wait for:
//!
//! ```text
//!            read_space, did_read             pending, did_write
//!   socket ------------------------> session ---------------------> socket
//!                        interest, take_shutdown, is_done
//! ```
//!
//! Memory is bounded: a full buffer drops the interest in reading, so that TCP's own flow
//! control slows the client down. Buffers are made when the first byte comes.

use crate::buffer::Buffer;
use crate::mode::http::{self, Http};
use crate::mode::{Mode, ONCE_ANSWER};

/// How many bytes are read and thrown away after the answer, at most.
pub const LINGER_BYTES: usize = 1 << 20;

/// What a session waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Interest {
    /// Bytes from the client, or its end of input.
    pub read: bool,
    /// Room for bytes to the client.
    pub write: bool,
}

/// One connection's protocol state.
#[derive(Debug)]
pub struct Session {
    mode: State,
    /// What was read and is not yet used. In echo it is also what waits to be written.
    input: Buffer,
    stage: Stage,
    /// Requests that became complete since the driver last asked.
    requests: u32,
}

#[derive(Debug)]
enum State {
    Echo,
    /// Bytes of the answer already written; `None` before the client has said something.
    Once(Option<usize>),
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
    Lingering {
        discarded: usize,
    },
    Done,
}

impl Session {
    /// A session at its beginning. `buffer_size` is in bytes; http uses at least 8 KiB.
    pub fn new(mode: Mode, buffer_size: usize) -> Self {
        let (mode, buffer_size) = match mode {
            Mode::Echo => (State::Echo, buffer_size),
            Mode::Once => (State::Once(None), buffer_size),
            Mode::Http => (
                State::Http(Box::new(Http::new())),
                buffer_size.max(http::LEAST_BUFFER),
            ),
        };
        Self {
            mode,
            input: Buffer::new(buffer_size),
            stage: Stage::Open,
            requests: 0,
        }
    }

    /// Where the driver puts what it reads; never empty while [`Interest::read`] is set.
    pub fn read_space(&mut self) -> &mut [u8] {
        self.input.space()
    }

    /// `n` bytes were read into [`Session::read_space`]; 0 is the client's end of input.
    pub fn did_read(&mut self, n: usize) {
        match self.stage {
            Stage::Open if n == 0 => self.stage = Stage::InputEnded,
            Stage::Open => {
                self.input.produced(n);
                self.use_input();
            }
            Stage::Lingering { discarded } if n > 0 && discarded + n < LINGER_BYTES => {
                self.stage = Stage::Lingering {
                    discarded: discarded + n,
                };
            }
            Stage::Lingering { .. } => self.stage = Stage::Done,
            // The driver had no interest to go by: nothing is expected here.
            Stage::InputEnded | Stage::Closing | Stage::Done => {}
        }
        self.settle();
    }

    /// What the driver is to write next; empty when there is nothing.
    pub fn pending(&self) -> &[u8] {
        match &self.mode {
            State::Echo => self.input.data(),
            State::Once(Some(written)) => &ONCE_ANSWER[*written..],
            State::Once(None) => &[],
            State::Http(http) => http.pending(),
        }
    }

    /// The first `n` bytes of [`Session::pending`] were written.
    pub fn did_write(&mut self, n: usize) {
        match &mut self.mode {
            State::Echo => self.input.consumed(n),
            State::Once(written) => *written = written.map(|before| before + n),
            State::Http(http) => {
                http.did_write(n);
                // There may be requests that waited for room for their answers.
                self.use_input();
            }
        }
        self.settle();
    }

    /// What to wait for now.
    pub fn interest(&self) -> Interest {
        Interest {
            read: match self.stage {
                Stage::Open => !self.input.is_full(),
                Stage::Lingering { .. } => true,
                _ => false,
            },
            write: !self.pending().is_empty(),
        }
    }

    /// Stops as if the client had half-closed, except that the server closes first: what is
    /// pending is still written.
    pub fn stop(&mut self) {
        if self.stage == Stage::Open {
            self.stage = Stage::Closing;
            self.settle();
        }
    }

    /// True once: the last byte is written and the driver shall shut down the sending side.
    pub fn take_shutdown(&mut self) -> bool {
        let now = self.stage == Stage::Closing && self.pending().is_empty();
        if now {
            self.input.clear();
            self.stage = Stage::Lingering { discarded: 0 };
        }
        now
    }

    /// The answer is out and only the client's close is awaited: for a second at most, which
    /// the driver counts.
    pub fn is_lingering(&self) -> bool {
        matches!(self.stage, Stage::Lingering { .. })
    }

    /// Everything is written and the connection may be closed.
    pub fn is_done(&self) -> bool {
        self.stage == Stage::Done
    }

    /// How many requests became complete since this was last asked: by reading, and by writing
    /// where pipelined ones waited for room for their answers.
    pub fn take_requests(&mut self) -> u32 {
        std::mem::take(&mut self.requests)
    }

    fn use_input(&mut self) {
        match &mut self.mode {
            State::Echo => self.requests += 1,
            State::Once(written) => {
                *written = Some(0);
                self.requests += 1;
                self.close();
            }
            State::Http(http) => {
                let progress = http.answer(&mut self.input);
                self.requests += progress.requests;
                if progress.closes {
                    self.close();
                }
            }
        }
    }

    /// What is pending is the last of it.
    fn close(&mut self) {
        self.input.clear();
        if self.stage == Stage::Open {
            self.stage = Stage::Closing;
        }
    }

    fn settle(&mut self) {
        if self.stage == Stage::InputEnded && self.pending().is_empty() {
            self.stage = Stage::Done;
        }
    }
}

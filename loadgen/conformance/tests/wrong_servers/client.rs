//! A client of the server, and what the server counts.

use std::net::TcpStream;
use std::os::fd::AsFd;
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::json;

use crate::fault::Fault;

pub struct Client {
    /// Counted from 1.
    pub number: usize,
    pub stream: TcpStream,
    /// What is to be sent, up to the buffer's size, and how much of it was.
    pub output: Vec<u8>,
    pub sent: usize,
    /// Nothing more will come, or be waited for.
    pub input_ended: bool,
    /// Answered in mode once; what comes is thrown away, since when.
    pub lingering: Option<Instant>,
    /// Will not be read from any more.
    pub disarmed: bool,
    /// The answer is not ready before.
    pub answer_at: Instant,
    pub reads: usize,
    pub received: usize,
    /// When something last moved.
    pub moved: Instant,
    pub done: bool,
}

impl Client {
    pub fn new(stream: TcpStream, number: usize) -> Self {
        Self {
            number,
            stream,
            output: Vec::new(),
            sent: 0,
            input_ended: false,
            lingering: None,
            disarmed: false,
            answer_at: Instant::now(),
            reads: 0,
            received: 0,
            moved: Instant::now(),
            done: false,
        }
    }

    /// Either there is something to send or one may read: never more than a buffer of memory.
    pub fn wants(&self, fault: Option<Fault>) -> PollFlags {
        let mut wants = PollFlags::empty();
        let has_output = self.sent < self.output.len();
        if has_output && Instant::now() >= self.answer_at {
            wants |= PollFlags::POLLOUT;
        }
        let may_read = !has_output || fault == Some(Fault::KeepsAllInMemory);
        if may_read && !self.input_ended && !self.disarmed {
            wants |= PollFlags::POLLIN;
        }
        wants
    }
}

/// What `--stats` prints.
#[derive(Default)]
pub struct Stats {
    pub accepted: usize,
    pub closed: usize,
    pub reset: usize,
    pub bytes_in: usize,
    pub bytes_out: usize,
    pub accept_errors: usize,
    pub peak_open: usize,
}

impl Stats {
    pub fn to_json(&self) -> serde_json::Value {
        json!({
            "accepted": self.accepted, "closed": self.closed, "reset": self.reset, "refused": 0,
            "bytes_in": self.bytes_in, "bytes_out": self.bytes_out, "accept_errors": self.accept_errors,
            "peak_open": self.peak_open, "per_worker": [self.accepted],
        })
    }
}

/// Whether the client has sent all that it will.
pub fn has_hung_up(stream: &TcpStream) -> bool {
    let hung_up = PollFlags::from_bits_retain(nix::libc::POLLRDHUP);
    let mut fd = [PollFd::new(stream.as_fd(), hung_up)];
    poll(&mut fd, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

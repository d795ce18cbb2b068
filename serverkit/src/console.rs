//! What a server says on stdout and stderr. It never waits for a reader: a terminal that is paused,
//! or a pipe that nobody empties, must not stop the server for its clients.

use std::io::Write;
use std::os::fd::AsFd;
use std::sync::Mutex;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Lines of the trace that nobody read, and that were dropped since the last one that was written.
static DROPPED: Mutex<u64> = Mutex::new(0);

/// Writes a line of the trace to stderr, or drops it where that would have to wait. The next line
/// that can be written tells how many were dropped.
pub fn trace(line: &str) {
    // Threads write one at a time, so that a line fits where poll has seen room.
    let Ok(mut dropped) = DROPPED.lock() else {
        return;
    };
    let told = match *dropped {
        0 => line.to_owned(),
        n => format!("({n} lines of the trace were dropped: nobody read them)\n{line}"),
    };
    if write_now(std::io::stderr(), &told) {
        *dropped = 0;
    } else {
        *dropped += 1;
    }
}

/// Writes lines to stdout, or says on stderr that `what` could not be written.
pub fn print(what: &str, lines: &str) {
    if !write_now(std::io::stdout(), lines) {
        complain(format_args!("{what} could not be written to stdout\n"));
    }
}

/// Writes a message to stderr. An error is no reason to end, or to end in another way.
pub fn complain(message: std::fmt::Arguments<'_>) {
    write_now(std::io::stderr(), &message.to_string());
}

/// One write, of less than a pipe has room for when poll says that it has some (`PIPE_BUF`).
/// False where it would have to wait, or where there is nobody to write to.
fn write_now(mut to: impl Write + AsFd, text: &str) -> bool {
    let mut room = [PollFd::new(to.as_fd(), PollFlags::POLLOUT)];
    let ready = match poll(&mut room, PollTimeout::ZERO) {
        Ok(_) => room[0].revents() == Some(PollFlags::POLLOUT),
        // Without an answer it is better to wait than to say nothing.
        Err(_) => true,
    };
    ready
        && to
            .write_all(text.as_bytes())
            .and_then(|()| to.flush())
            .is_ok()
}

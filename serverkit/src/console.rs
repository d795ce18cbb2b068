//! What a server says on stdout and stderr. It never waits for a reader: a terminal that is paused,
//! or a pipe that nobody empties, must not stop the server for its clients.

use std::io::Write;
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

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
    has_room(&to)
        && to
            .write_all(text.as_bytes())
            .and_then(|()| to.flush())
            .is_ok()
}

/// A write of at most `PIPE_BUF` does not have to wait.
pub(crate) fn has_room(to: &impl AsFd) -> bool {
    let mut room = [PollFd::new(to.as_fd(), PollFlags::POLLOUT)];
    match poll(&mut room, PollTimeout::ZERO) {
        Ok(_) => room[0].revents() == Some(PollFlags::POLLOUT),
        // Without an answer it is better to wait than to say nothing.
        Err(_) => true,
    }
}

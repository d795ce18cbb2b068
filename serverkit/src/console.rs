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

/// Writes a message to stderr. An error is ignored: it changes neither whether nor how the server
/// ends.
pub fn complain(message: std::fmt::Arguments<'_>) {
    write_now(std::io::stderr(), &message.to_string());
}

/// Makes one write of at most `PIPE_BUF` bytes: a pipe that poll calls writable has room for that.
/// False if the write would have to wait, or nobody reads.
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
        // If poll fails, it is better to wait than to lose the message.
        Err(_) => true,
    }
}

//! Standard output and standard error.
//!
//! *In:* text. *Out:* whether somebody reads it. *Must not know:* what is said.
//!
//! `println!` panics when nobody reads, and then everything that was measured would be lost.

use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;

use anyhow::Context;
use nix::errno::Errno;
use nix::sys::stat::{SFlag, fstat};

/// Who reads standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// A program, a terminal or a file.
    Present,
    /// Nobody any more: the pipe was closed, or the terminal.
    Gone,
}

/// Writes to standard output.
///
/// # Errors When it cannot be written, for example because the disk is full. It is no error if nobody reads it.
pub fn print(text: &str) -> anyhow::Result<Reader> {
    let mut stdout = io::stdout();
    printed(stdout.write_all(text.as_bytes()))
}

/// What came of writing to standard output.
///
/// # Errors
/// As [`print`].
pub fn printed(written: io::Result<()>) -> anyhow::Result<Reader> {
    match written.and_then(|()| io::stdout().flush()) {
        Err(error) if is_reader_gone(&error) => Ok(Reader::Gone),
        written => written
            .map(|()| Reader::Present)
            .context("cannot write to standard output"),
    }
}

/// Writes a line to standard error. An error is ignored, since there is no other place to report it.
pub fn say(line: &str) {
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}

fn is_reader_gone(error: &io::Error) -> bool {
    let is_device = || {
        fstat(io::stdout().as_fd()).is_ok_and(|stat| {
            SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFCHR
        })
    };
    // A terminal that was closed no longer says that it is one.
    error.kind() == ErrorKind::BrokenPipe
        || (error.raw_os_error() == Some(Errno::EIO as i32) && is_device())
}

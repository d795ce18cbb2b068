//! Where lines of the trace go: to stderr in words, or to a file as JSON.
//!
//! No line waits for a reader or for room on a disk. One that cannot be written at once is dropped and counted, and
//! the next one that can be written says how many are missing.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering::Relaxed};

use anyhow::Context as _;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::libc::{O_APPEND, O_NONBLOCK};

use super::event::Event;
use super::line::{Line, json, words};
use crate::console;

pub(super) struct Output {
    render: fn(&Line) -> String,
    file: File,
    /// A write may wait, so poll is asked whether there is room.
    may_wait: bool,
    turn: Mutex<()>,
    lost: &'static Lost,
}

/// What could not be written by all threads and processes.
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct Lost {
    /// Lost lines that were not reported yet.
    lines: AtomicU64,
    /// The last line was cut in the middle.
    is_cut: AtomicBool,
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

    /// Several processes may each find room for a line in a pipe that has room for only one. So a
    /// pipe is opened anew, as one that gives an error instead of waiting.
    pub(super) fn stderr(lost: &'static Lost) -> anyhow::Result<Self> {
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

    /// A new file, or something that is there and is emptied.
    pub(super) fn file(
        path: &Path,
        inherited: &AtomicI32,
        lost: &'static Lost,
    ) -> anyhow::Result<Self> {
        let file = inherit_or_open(path, inherited);
        let file = file.with_context(|| format!("--trace-to {}", path.display()))?;
        Ok(Self::new(json, file, false, lost))
    }

    /// The number of lost lines that were not reported yet.
    pub(super) fn lost(&self) -> u64 {
        self.lost.lines.load(Relaxed)
    }

    /// Threads write one at a time, so that a line fits where poll has seen room.
    pub(super) fn append(&self, line: &Line) {
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
        // Where only the end of a line is missing, the next one brings it.
        let is_lost = |end: usize| written + 1 < end;
        let untold = if is_lost(told) { dropped } else { 0 };
        let untold = untold + u64::from(is_lost(text.len()));
        self.lost.lines.fetch_add(untold, Relaxed);
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

/// The file, as the first process of the server has opened it. Another program could not open it anew: its
/// lines are to follow those that are there, and a pipe may have lost its reader meanwhile.
#[allow(unsafe_code, reason = "an inherited descriptor is a bare number")]
fn inherit_or_open(path: &Path, inherited: &AtomicI32) -> io::Result<File> {
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

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::thread;

    use nix::fcntl::OFlag;
    use nix::unistd::pipe2;
    use rand::{RngExt, SeedableRng, rngs::StdRng};
    use serde_json::Value;

    use super::*;

    /// An output to a pipe with room for a page.
    fn to_a_pipe(format: fn(&Line) -> String) -> (Output, File) {
        let (reader, writer) = pipe2(OFlag::O_NONBLOCK).expect("a pipe");
        fcntl(&writer, FcntlArg::F_SETPIPE_SZ(1)).expect("a page");
        let lost = Box::leak(Box::default());
        let output = Output::new(format, writer.into(), false, lost);
        (output, reader.into())
    }

    fn append(output: &Output, bytes: usize) {
        let why = "x".repeat(bytes);
        output.append(&Line::new(&Event::Note { client: None, why }));
    }

    /// What there is to read now.
    fn read(mut reader: &File) -> String {
        let mut text = vec![0; 1 << 16];
        let n = reader.read(&mut text).unwrap_or(0);
        String::from_utf8_lossy(&text[..n]).into_owned()
    }

    /// What a reader finds after a line of this many bytes.
    fn read_after(output: &Output, reader: &File, bytes: usize) -> String {
        append(output, bytes);
        read(reader)
    }

    #[test]
    fn a_lost_line_is_told_once() {
        let (output, reader) = to_a_pipe(words);
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

    /// The number of whole lines in what was read, and of those that it says are missing.
    fn found(text: &str) -> (u64, u64) {
        let lines = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        let (dropped, whole): (Vec<Value>, Vec<Value>) =
            lines.partition(|line: &Value| line["event"] == "dropped");
        let told = dropped.iter().filter_map(|line| line["lines"].as_u64());
        (whole.len() as u64, told.sum())
    }

    /// The pipe has room for 4,096 bytes.
    #[test]
    fn a_line_that_lacks_only_its_end_is_not_counted_as_lost() {
        const LENGTHS: std::ops::Range<usize> = 3_900..4_096;
        let (output, reader) = to_a_pipe(json);
        let text: String = LENGTHS
            .map(|bytes| read_after(&output, &reader, bytes))
            .collect();
        let (whole, told) = found(&text);
        assert!(told > 0, "none was lost");
        assert_eq!(whole + told + output.lost(), LENGTHS.len() as u64);
    }

    #[test]
    fn each_line_is_there_or_counted_once() {
        const THREADS: u64 = 2;
        const LINES: u64 = 2_000;
        let (output, reader) = to_a_pipe(json);
        let text = thread::scope(|scope| {
            let writers: Vec<_> = (0..THREADS)
                .map(|seed| {
                    let output = &output;
                    scope.spawn(move || {
                        let mut random = StdRng::seed_from_u64(seed);
                        for _ in 0..LINES {
                            // Some do not fit into the pipe, and are cut.
                            append(output, random.random_range(0..6_000));
                        }
                    })
                })
                .collect();
            let mut text = String::new();
            while !writers.iter().all(thread::ScopedJoinHandle::is_finished) {
                text += &read(&reader);
            }
            text + &read(&reader)
        });
        let (whole, told) = found(&text);
        assert!(told > 0, "none was lost");
        assert_eq!(whole + told + output.lost(), THREADS * LINES);
    }
}

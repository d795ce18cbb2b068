//! What a process writes to a pipe. A thread reads it all the time, so the process never blocks on a full pipe.

use std::io::Read;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// How much of the end of a process's output is kept, bytes, unless all of it is.
pub(crate) const MOST_KEPT: usize = 64 * 1024;
/// How much of a line is quoted, characters.
const MOST_QUOTED: usize = 200;

/// The end of what a process has written; clones share it.
#[derive(Debug, Clone)]
pub struct Output {
    shared: Arc<Shared>,
}

/// The first line of a process's output.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum FirstLine {
    /// This line.
    Said(String),
    /// It closed the pipe before it wrote anything.
    None,
    /// It has not written a whole line yet.
    NotYet,
}

#[derive(Debug)]
struct Shared {
    kept: Mutex<Kept>,
    /// Notified of each change.
    changed: Condvar,
}

#[derive(Debug)]
struct Kept {
    /// The end of the output, at most `most` bytes.
    bytes: Vec<u8>,
    most: usize,
    /// The pipe has ended.
    ended: bool,
}

impl Output {
    /// Reads `pipe` in a thread of its own, up to its end, and keeps the last `most` bytes.
    pub(crate) fn of(mut pipe: impl Read + Send + 'static, most: usize) -> Self {
        let output = Self {
            shared: Arc::new(Shared {
                kept: Mutex::new(Kept {
                    bytes: Vec::new(),
                    most,
                    ended: false,
                }),
                changed: Condvar::new(),
            }),
        };
        let reading = output.clone();
        std::thread::spawn(move || {
            let mut part = vec![0; 4096];
            while let Ok(n @ 1..) = pipe.read(&mut part) {
                reading.update(|kept| kept.push(&part[..n]));
            }
            reading.update(|kept| kept.ended = true);
        });
        output
    }

    fn update(&self, change: impl FnOnce(&mut Kept)) {
        change(&mut self.kept());
        self.shared.changed.notify_all();
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        let kept = self.shared.kept.lock();
        kept.expect("no thread panics while it holds this")
    }

    /// The output so far.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.kept().bytes).into_owned()
    }

    /// The last line so far that is not blank. Control characters are escaped, for a terminal or a report.
    pub fn last_line(&self) -> String {
        let text = self.text();
        let line = text.lines().rev().find(|line| !line.trim().is_empty());
        quote(line.unwrap_or_default())
    }

    /// Waits for the first line, at most for `limit`.
    pub(crate) fn first_line(&self, limit: Duration) -> FirstLine {
        let kept = self.wait_while(limit, |kept| !kept.ended && !kept.has_a_line());
        if kept.has_a_line() || (kept.ended && !kept.bytes.is_empty()) {
            let text = String::from_utf8_lossy(&kept.bytes);
            FirstLine::Said(text.lines().next().unwrap_or_default().to_owned())
        } else if kept.ended {
            FirstLine::None
        } else {
            FirstLine::NotYet
        }
    }

    /// Waits for the end of the output, at most for `limit`.
    pub(crate) fn wait_for_end(&self, limit: Duration) {
        drop(self.wait_while(limit, |kept| !kept.ended));
    }

    fn wait_while(
        &self,
        limit: Duration,
        mut condition: impl FnMut(&Kept) -> bool,
    ) -> MutexGuard<'_, Kept> {
        let changed = &self.shared.changed;
        let waited = changed.wait_timeout_while(self.kept(), limit, |kept| condition(kept));
        let (kept, _) = waited.expect("no thread panics while it holds this");
        kept
    }
}

impl Kept {
    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        let surplus = self.bytes.len().saturating_sub(self.most);
        self.bytes.drain(..surplus);
    }

    /// A line that never ends counts as one when the buffer is full.
    fn has_a_line(&self) -> bool {
        self.bytes.contains(&b'\n') || self.bytes.len() == self.most
    }
}

/// The beginning of a line of another program, with control characters escaped.
pub(crate) fn quote(line: &str) -> String {
    let beginning: String = line.trim().chars().take(MOST_QUOTED).collect();
    beginning.escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn the_first_line_is_told_when_it_is_whole() {
        let (pipe, mut writer) = io::pipe().unwrap();
        let output = Output::of(pipe, MOST_KEPT);
        writer.write_all(b"listening").unwrap();
        assert_eq!(output.first_line(Duration::ZERO), FirstLine::NotYet);
        writer.write_all(b" on\nand more").unwrap();
        assert_eq!(
            output.first_line(LONG),
            FirstLine::Said("listening on".into())
        );
        drop(writer);
        output.wait_for_end(LONG);
        assert_eq!(output.text(), "listening on\nand more");
        assert_eq!(output.last_line(), "and more");
    }

    #[test]
    fn the_end_or_all_of_it_is_kept() {
        let said: Vec<u8> = (0..20_000)
            .flat_map(|n| format!("{n}\n").into_bytes())
            .collect();
        for (most, kept) in [
            (MOST_KEPT, &said[said.len() - MOST_KEPT..]),
            (usize::MAX, &said),
        ] {
            let output = Output::of(io::Cursor::new(said.clone()), most);
            output.wait_for_end(LONG);
            assert_eq!(output.text().as_bytes(), kept);
        }
    }

    #[test]
    fn a_line_may_never_come_or_never_end() {
        let (pipe, writer) = io::pipe().unwrap();
        let output = Output::of(pipe, MOST_KEPT);
        drop(writer);
        assert_eq!(output.first_line(LONG), FirstLine::None);

        let (pipe, mut writer) = io::pipe().unwrap();
        let output = Output::of(pipe, MOST_KEPT);
        writer.write_all(&vec![b'x'; 2 * MOST_KEPT]).unwrap();
        assert!(
            matches!(output.first_line(LONG), FirstLine::Said(line) if line.len() == MOST_KEPT)
        );
    }

    #[test]
    fn what_is_quoted_is_harmless_to_a_terminal() {
        assert_eq!(quote(" \u{1b}[31mred\n"), "\\u{1b}[31mred");
        assert_eq!(quote(&"long".repeat(1000)).len(), MOST_QUOTED);
    }
}

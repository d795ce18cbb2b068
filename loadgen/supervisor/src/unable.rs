//! That no server can be started here, which is no fault of the server.

use std::io;
use std::path::Path;

use nix::errno::Errno;

/// Why this process cannot start a program, and what to do about it. It says nothing about the program.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unable(String);

/// Why nothing can be read about processes, and what to do about it; `None`: it can.
pub fn no_proc() -> Option<&'static str> {
    let is_there = Path::new("/proc/self").exists();
    (!is_there).then_some("/proc is missing or hidden: mount it (mount -t proc proc /proc)")
}

impl Unable {
    /// A reason, and what to do about it.
    pub fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

impl From<io::Error> for Unable {
    fn from(error: io::Error) -> Self {
        let why = match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::EMFILE) => {
                "this process has no descriptors left: raise the limit (ulimit -n)".to_owned()
            }
            Some(Errno::ENFILE) => {
                "the machine has no descriptors left: raise fs.file-max".to_owned()
            }
            Some(Errno::EAGAIN) => {
                "the user has no processes left: raise the limit (ulimit -u)".to_owned()
            }
            // The helpers are run by a link in it.
            Some(Errno::ENOENT) => no_proc().map_or_else(|| error.to_string(), str::to_owned),
            _ => error.to_string(),
        };
        Self(format!("no server can be started here: {why}"))
    }
}

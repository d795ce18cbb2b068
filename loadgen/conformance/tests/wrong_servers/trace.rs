//! The trace of the server (`--trace-to`): what it waits for, and what it does for whom.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};

use crate::fault::Fault;

/// A file of JSON lines, or nothing.
pub struct Trace {
    file: Option<File>,
    fault: Option<Fault>,
    started: Instant,
}

impl Trace {
    pub fn open(path: Option<&Path>, fault: Option<Fault>) -> io::Result<Self> {
        let open = |path| OpenOptions::new().append(true).create(true).open(path);
        Ok(Self {
            file: path.map(open).transpose()?,
            fault,
            started: Instant::now(),
        })
    }

    pub fn tell(&self, event: &str, more: Value) {
        let Some(mut file) = self.file.as_ref() else {
            return;
        };
        let mut line = json!({
            "t_ns": self.started.elapsed().as_nanos() as u64, "worker": "main", "event": event,
        });
        if let (Value::Object(line), Value::Object(more)) = (&mut line, more) {
            line.extend(more);
        }
        match (self.fault, event) {
            (Some(Fault::LeavesOutACloseInItsTrace), "close")
            | (Some(Fault::LeavesOutTheStopInItsTrace), "stop") => return,
            (Some(Fault::WritesLessInItsTrace), "write") => {
                line["bytes"] = json!(line["bytes"].as_u64().unwrap_or(0) / 2);
            }
            _ => {}
        }
        // Who has closed it does not want it.
        let _ = file.write_all(format!("{line}\n").as_bytes());
    }

    /// Bytes were read from a client or written to it.
    pub fn moved(&self, event: &str, client: usize, bytes: usize) {
        self.tell(event, json!({"client": client, "bytes": bytes}));
    }
}

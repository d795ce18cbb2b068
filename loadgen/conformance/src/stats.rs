//! The counters that a server prints with `--stats`.

use crate::outcome::{Outcome, failed};
use serde::Deserialize;
use supervisor::Exit;

/// What `--stats` prints.
#[derive(Debug, Deserialize)]
pub struct Stats {
    pub accepted: u64,
    pub closed: u64,
    pub reset: u64,
    pub refused: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub accept_errors: u64,
    pub peak_open: u64,
    pub per_worker: Vec<u64>,
}

impl Stats {
    /// What a server has printed at its end.
    pub fn of(exit: &Exit) -> Outcome<Self> {
        let last = exit.stdout.lines().last().unwrap_or_default();
        serde_json::from_str(last).or_else(|e| {
            failed(
                "one line of JSON with all counters at the end",
                format!("{e}: {last}"),
            )
        })
    }
}

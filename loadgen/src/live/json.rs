//! A JSON object a second.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::Context;
use serde::Serialize;

use crate::console;
use crate::engine::observer::Second;
use crate::recording::histogram::Quantiles;

/// Where JSON lines go.
#[derive(Debug, Clone)]
pub enum Place {
    /// To standard error.
    Stderr,
    /// Into this file, which is made anew.
    File(PathBuf),
}

/// One second of a trial.
#[derive(Serialize)]
struct Line {
    /// From 1.
    trial: usize,
    /// From 1; the warm-up does not count.
    second: u64,
    /// Answers in this second.
    rate: u64,
    /// Errors in this second.
    errors: u64,
    /// Response times in this second.
    response_us: Quantiles,
}

#[derive(Debug)]
pub struct Json {
    /// `None`: it could not be written any more.
    file: Option<File>,
    name: String,
}

impl Json {
    pub fn to(place: &Place) -> anyhow::Result<Self> {
        let (file, name) = match place {
            Place::Stderr => {
                use std::os::fd::AsFd;
                let stderr = io::stderr().as_fd().try_clone_to_owned();
                (stderr.map(File::from), "standard error".to_owned())
            }
            Place::File(path) => (File::create(path), path.display().to_string()),
        };
        let file = file.with_context(|| format!("cannot write {name}"))?;
        Ok(Self {
            file: Some(file),
            name,
        })
    }

    pub fn tell(&mut self, trial: usize, second: &Second) {
        let Some(file) = &mut self.file else { return };
        let line = Line {
            trial,
            second: second.number + 1,
            rate: second.answered,
            errors: second.errors,
            response_us: second.response_us,
        };
        let text = serde_json::to_string(&line).expect("it has nothing but numbers");
        // In one piece, so that a reader never sees half a line.
        if let Err(error) = file.write_all(format!("{text}\n").as_bytes()) {
            console::say(&format!(
                "loadgen: cannot write {}: {error}; --live ends here, the trial goes on",
                self.name
            ));
            self.file = None;
        }
    }
}

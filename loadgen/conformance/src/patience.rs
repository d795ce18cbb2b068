//! How long the clients of a case wait.

use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use crate::outcome::{Outcome, failed};

/// How long a case waits without any progress before it calls the server stuck.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// How long a case takes at most.
pub const LIMIT: Duration = Duration::from_mins(2);

/// How long the clients of a case wait.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Without any progress.
    pub still: Duration,
    /// In all, so that a very slow server ends as well.
    until: Option<Instant>,
}

impl Patience {
    /// For as long as there is progress.
    pub fn new(still: Duration) -> Self {
        Self { still, until: None }
    }

    /// For a case that begins now.
    pub fn for_a_case(self) -> Self {
        Self {
            until: Some(Instant::now() + LIMIT),
            ..self
        }
    }

    /// An error when the case has had its time.
    pub fn check(self) -> io::Result<()> {
        if self.until.is_some_and(|until| Instant::now() > until) {
            let over = format!("the limit of {LIMIT:?} for a case");
            return Err(io::Error::new(ErrorKind::TimedOut, over));
        }
        Ok(())
    }
}

/// Waits a little before the next look at something that sends no event.
pub fn pause() {
    std::thread::sleep(Duration::from_millis(2));
}

/// Waits until `condition` holds.
pub fn eventually(patience: Patience, what: &str, mut condition: impl FnMut() -> bool) -> Outcome {
    let deadline = Instant::now() + patience.still;
    while !condition() {
        if Instant::now() > deadline {
            return failed(what, format!("not within {:?}", patience.still));
        }
        pause();
    }
    Ok(())
}

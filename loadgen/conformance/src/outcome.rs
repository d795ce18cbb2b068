//! The outcome of a case: passed, failed or skipped.

use std::fmt::Display;

/// Why a case did not pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotPassed {
    /// The server did something else.
    Failed {
        /// What the contract says.
        expected: String,
        /// What happened instead.
        seen: String,
    },
    /// The case does not apply to this server, or cannot be tried here.
    Skipped(String),
}

impl NotPassed {
    /// The same, and a failure says for which of many inputs.
    pub(crate) fn about(self, what: impl Display) -> Self {
        match self {
            Self::Failed { expected, seen } => Self::Failed {
                expected: format!("{expected} for {what}"),
                seen,
            },
            skipped @ Self::Skipped(_) => skipped,
        }
    }
}

/// The outcome of a case or of a step; `?` ends the case at the first failure.
pub type Outcome<T = ()> = Result<T, NotPassed>;

pub fn failed<T>(expected: impl Display, seen: impl Display) -> Outcome<T> {
    Err(NotPassed::Failed {
        expected: expected.to_string(),
        seen: seen.to_string(),
    })
}

pub fn skipped<T>(why: impl Display) -> Outcome<T> {
    Err(NotPassed::Skipped(why.to_string()))
}

/// Passes when `right`; `seen` says what was there instead.
pub fn ensure(right: bool, expected: impl Display, seen: impl Display) -> Outcome {
    if right {
        Ok(())
    } else {
        failed(expected, seen)
    }
}

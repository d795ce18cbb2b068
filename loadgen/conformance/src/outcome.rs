//! The outcome of a case: passed, failed or skipped.

use std::fmt::Display;
use std::io;

use nix::errno::Errno;

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
    /// This process lacks what every case needs, such as descriptors. It says nothing about the server.
    Unable(String),
}

impl NotPassed {
    /// The same, and a failure says for which of many inputs.
    pub(crate) fn about(self, what: impl Display) -> Self {
        match self {
            Self::Failed { expected, seen } => Self::Failed {
                expected: format!("{expected} for {what}"),
                seen,
            },
            other => other,
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

/// The outcome of a client's or a server's start that an error of this process prevents, or else a failure.
pub fn prevented<T>(expected: impl Display, error: &io::Error) -> Outcome<T> {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EMFILE | Errno::ENFILE | Errno::EADDRNOTAVAIL) => {
            let why = format!("this process cannot open a connection: {error}");
            Err(NotPassed::Unable(why))
        }
        _ => failed(expected, error),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_this_process_lacks_is_no_failure_of_the_server() {
        let outcome = |errno: Errno| prevented::<()>("a connection", &errno.into()).unwrap_err();
        for lacking in [Errno::EMFILE, Errno::ENFILE, Errno::EADDRNOTAVAIL] {
            assert!(
                matches!(outcome(lacking), NotPassed::Unable(_)),
                "{lacking}"
            );
        }
        let refused = outcome(Errno::ECONNREFUSED);
        assert!(matches!(refused, NotPassed::Failed { .. }), "{refused:?}");
    }
}

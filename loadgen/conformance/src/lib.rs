//! The conformance suite: what every server must do, whichever way it waits.
//!
//! A [`Case`] is one behaviour of the server contract with a name such as `life::reset_idle`. It is
//! tried on a [`Subject`]: a server program, which each case starts for itself, or an address where
//! somebody else's server runs, on which the cases that must own the process are skipped.
//!
//! A crate under `crates/` runs all cases as tests of its own with five lines:
//!
//! ```no_run
//! # const PROGRAM: &str = "epoll-server";
//! fn main() -> std::process::ExitCode {
//!     conformance::conformance(PROGRAM, &["--trigger edge"])
//! }
//! ```

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::fmt::Display;
use std::process::ExitCode;
use std::time::Duration;

use libtest_mimic::{Arguments, Completion, Failed, Trial};

pub use self::process::{end_servers_when_interrupted, raise_descriptor_limit};
pub use self::soak::{Soaked, soak};
pub use self::subject::Subject;
use supervisor::Mode;

mod bytes;
mod client;
mod command_line;
mod http;
mod isolation;
mod kernel;
mod leaks;
mod life;
mod limits;
mod once;
mod process;
mod signals;
mod soak;
mod subject;

/// How long a case waits while nothing at all moves before it calls the server stuck.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// How long a case takes at the most, however much moves.
pub const LIMIT: Duration = Duration::from_mins(2);

/// One behaviour that every server must show.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// Its group and its own name, such as `life::reset_idle`.
    pub name: &'static str,
    /// What is tried, in one line.
    pub about: &'static str,
    /// The protocol that the server must speak.
    pub mode: Mode,
    /// What there must be to try it on.
    pub needs: Needs,
    run: fn(&Subject) -> Tried,
}

/// What a case is tried on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// An address where somebody serves.
    Address,
    /// A process that can be signalled and looked into, whosever program it is.
    Process,
    /// A program that has the flags of the server contract.
    Flags,
}

/// A case that works with an address, too.
const fn case(
    mode: Mode,
    name: &'static str,
    about: &'static str,
    run: fn(&Subject) -> Tried,
) -> Case {
    Case {
        name,
        about,
        mode,
        needs: Needs::Address,
        run,
    }
}

/// A case that signals the server's process or looks into it, and leaves its flags alone.
const fn watching(
    mode: Mode,
    name: &'static str,
    about: &'static str,
    run: fn(&Subject) -> Tried,
) -> Case {
    Case {
        needs: Needs::Process,
        ..case(mode, name, about, run)
    }
}

/// A case that must own the server's process.
const fn owning(
    mode: Mode,
    name: &'static str,
    about: &'static str,
    run: fn(&Subject) -> Tried,
) -> Case {
    Case {
        needs: Needs::Flags,
        ..case(mode, name, about, run)
    }
}

/// Why a case did not pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
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

impl Outcome {
    /// A failure of one of many things that a case tries says which.
    fn about(self, what: impl Display) -> Self {
        match self {
            Self::Failed { expected, seen } => Self::Failed {
                expected: format!("{expected} for {what}"),
                seen,
            },
            skipped @ Self::Skipped(_) => skipped,
        }
    }
}

/// What a case comes to; `?` ends it at the first thing that is wrong.
pub type Tried<T = ()> = Result<T, Outcome>;

fn failed<T>(expected: impl Display, seen: impl Display) -> Tried<T> {
    Err(Outcome::Failed {
        expected: expected.to_string(),
        seen: seen.to_string(),
    })
}

fn skipped<T>(why: impl Display) -> Tried<T> {
    Err(Outcome::Skipped(why.to_string()))
}

/// Passes when `right`; `seen` says what was there instead.
fn ensure(right: bool, expected: impl Display, seen: impl Display) -> Tried {
    if right {
        Ok(())
    } else {
        failed(expected, seen)
    }
}

impl Case {
    /// The group, such as `life`.
    pub fn group(&self) -> &'static str {
        self.name
            .split_once("::")
            .map_or(self.name, |(group, _)| group)
    }

    /// Tries the case, with a limit of time and a log of its own for what the server says on stderr.
    pub fn try_on(&self, subject: &Subject) -> Tried {
        let subject = subject.of_a_case();
        subject.offers_mode(self.mode)?;
        subject.offers_what(self.needs)?;
        (self.run)(&subject).map_err(|outcome| match outcome {
            Outcome::Failed { expected, seen } => Outcome::Failed {
                expected,
                seen: seen + &subject.last_words(),
            },
            skipped @ Outcome::Skipped(_) => skipped,
        })
    }

    /// The case as a test of cargo's, with `kind` in brackets before its name.
    pub fn test(self, kind: &str, subject: Subject) -> Trial {
        let tried = move || match self.try_on(&subject) {
            Ok(()) => Ok(Completion::Completed),
            Err(Outcome::Skipped(why)) => Ok(Completion::ignored_with(why)),
            Err(Outcome::Failed { expected, seen }) => {
                let about = self.about;
                Err(Failed::from(format!(
                    "{about}\nexpected: {expected}\nseen: {seen}"
                )))
            }
        };
        Trial::ignorable_test(self.name, tried).with_kind(kind)
    }
}

/// All cases, group by group.
pub fn cases() -> Vec<Case> {
    [
        bytes::CASES,
        life::CASES,
        isolation::CASES,
        once::CASES,
        http::CASES,
        limits::CASES,
        leaks::CASES,
        signals::CASES,
        command_line::CASES,
    ]
    .concat()
}

/// Runs every case as a test with cargo's usual output and flags: on the plain server `program`,
/// and again for each of `variants`, which are flags such as `--trigger edge`.
///
/// For the `main` of a test with `harness = false`.
pub fn conformance(program: &str, variants: &[&str]) -> ExitCode {
    let mut tests = Vec::new();
    for variant in std::iter::once("").chain(variants.iter().copied()) {
        let command: Vec<OsString> = std::iter::once(program)
            .chain(variant.split_whitespace())
            .map(Into::into)
            .collect();
        let subject = Subject::program(command, PATIENCE);
        let cases = cases().into_iter();
        tests.extend(cases.map(|case| case.test(variant, subject.clone())));
    }
    run_tests(tests)
}

/// Runs tests that start servers, as the command line of this process says; no server outlives it.
pub fn run_tests(tests: Vec<Trial>) -> ExitCode {
    let mut arguments = Arguments::from_args();
    end_servers_when_interrupted();
    raise_descriptor_limit();
    // Most cases wait for a server most of the time.
    arguments.test_threads.get_or_insert_with(|| 2 * cores());
    libtest_mimic::run(&arguments, tests).exit_code()
}

/// Processors of this machine.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, Into::into)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::cases;

    fn names() -> BTreeSet<&'static str> {
        cases().iter().map(|case| case.name).collect()
    }

    #[test]
    fn names_are_unique() {
        assert_eq!(names().len(), cases().len());
    }

    #[test]
    fn the_threat_list_names_cases_that_exist() {
        let list = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reliability.md");
        let text = std::fs::read_to_string(list).expect("the threat list is there");
        let groups: BTreeSet<_> = cases().iter().map(super::Case::group).collect();
        let named = text.split('`').filter(|word| {
            word.split_once("::")
                .is_some_and(|(group, name)| groups.contains(group) && name != "*")
        });
        let unknown: Vec<_> = named.filter(|name| !names().contains(name)).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }
}

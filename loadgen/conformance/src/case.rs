//! A case: one behaviour of the server contract.

use libtest_mimic::{Completion, Failed, Trial};

use crate::outcome::{NotPassed, Outcome};
use crate::target::{Needs, Target};
use supervisor::Mode;

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
    run: fn(&Target) -> Outcome,
}

/// A case that needs no more than an address.
pub(crate) const fn case(
    mode: Mode,
    name: &'static str,
    about: &'static str,
    run: fn(&Target) -> Outcome,
) -> Case {
    Case {
        name,
        about,
        mode,
        needs: Needs::Address,
        run,
    }
}

/// A case that signals the server's processes or looks into them, and leaves the flags alone.
pub(crate) const fn process_case(
    mode: Mode,
    name: &'static str,
    about: &'static str,
    run: fn(&Target) -> Outcome,
) -> Case {
    Case {
        needs: Needs::Process,
        ..case(mode, name, about, run)
    }
}

/// A case that gives the server flags or limits of its own.
pub(crate) const fn program_case(
    mode: Mode,
    name: &'static str,
    about: &'static str,
    run: fn(&Target) -> Outcome,
) -> Case {
    Case {
        needs: Needs::Program,
        ..case(mode, name, about, run)
    }
}

impl Case {
    /// The group, such as `life`.
    pub fn group(&self) -> &'static str {
        self.name
            .split_once("::")
            .map_or(self.name, |(group, _)| group)
    }

    /// Tries the case. A failure quotes the last lines that its servers wrote to stderr.
    pub fn try_on(&self, target: &Target) -> Outcome {
        let target = target.for_a_case();
        target.require_mode(self.mode)?;
        target.require(self.needs)?;
        (self.run)(&target).map_err(|not_passed| match not_passed {
            NotPassed::Failed { expected, seen } => NotPassed::Failed {
                expected,
                seen: seen + &target.last_words(),
            },
            other => other,
        })
    }

    /// The case as a test that `cargo test` shows, with `kind` in brackets before its name.
    pub fn test(self, kind: &str, target: Target) -> Trial {
        let run = move || match self.try_on(&target) {
            Ok(()) => Ok(Completion::Completed),
            Err(NotPassed::Skipped(why)) => Ok(Completion::ignored_with(why)),
            Err(NotPassed::Unable(why)) => Err(Failed::from(why)),
            Err(NotPassed::Failed { expected, seen }) => {
                let about = self.about;
                Err(Failed::from(format!(
                    "{about}\nexpected: {expected}\nseen: {seen}"
                )))
            }
        };
        Trial::ignorable_test(self.name, run).with_kind(kind)
    }
}

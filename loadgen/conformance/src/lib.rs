//! The conformance suite: what every server must do, whichever way it waits.
//!
//! A [`Case`] is one behaviour of the server contract with a name such as `life::reset_idle`. It is
//! tried on a [`Target`]: a server program, which each case starts for itself, or the address of a server
//! that runs already. With an address, cases that start the program are skipped.
//!
//! A crate under `crates/` runs all cases as tests of its own with five lines:
//!
//! ```no_run
//! # const PROGRAM: &str = "epoll-server";
//! fn main() -> std::process::ExitCode {
//!     conformance::check(PROGRAM, &["--workers 4"])
//! }
//! ```
//!
//! What no case tries, because few servers have it, a crate tries in further tests; an [`OwnServer`] is theirs.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use supervisor::{Unable, keeper, limit};

pub use self::case::Case;
pub use self::client::pattern;
pub use self::outcome::{NotPassed, Outcome};
pub use self::own_server::OwnServer;
pub use self::patience::{LIMIT, PATIENCE};
pub use self::soak::{Soaked, soak};
pub use self::target::{Needs, Target};

mod case;
mod cases;
mod client;
pub mod completions;
mod kernel;
mod outcome;
mod own_server;
mod patience;
mod resources;
mod server;
mod soak;
mod squeeze;
mod start;
mod stats;
mod target;

/// All cases, group by group.
pub fn cases() -> Vec<Case> {
    cases::ALL.concat()
}

/// Runs every case as a test with cargo's usual output and flags: on the plain server `program`,
/// and again for each of `variants`, which are flags such as `--workers 4`.
///
/// For the `main` of a test with `harness = false`.
pub fn check(program: &str, variants: &[&str]) -> ExitCode {
    supervisor::run_helper_if_asked();
    let mut tests = Vec::new();
    for variant in std::iter::once("").chain(variants.iter().copied()) {
        let command: Vec<OsString> = std::iter::once(program)
            .chain(variant.split_whitespace())
            .map(Into::into)
            .collect();
        let target = Target::program(command, PATIENCE);
        let cases = cases().into_iter();
        tests.extend(cases.map(|case| case.test(variant, target.clone())));
    }
    run_tests(tests)
}

/// Runs tests that start servers, chosen by the command line of this process. No server outlives it.
pub fn run_tests(tests: Vec<Trial>) -> ExitCode {
    let mut arguments = Arguments::from_args();
    let at_once =
        prepare().expect("a process may block signals and raise its limit of descriptors");
    arguments.test_threads.get_or_insert(at_once);
    libtest_mimic::run(&arguments, tests).exit_code()
}

/// Descriptors of this process that almost every case has enough of: the largest has 200 clients at a time. One skips
/// itself where it has not enough.
const DESCRIPTORS: usize = 256;

/// Hears of the ends of servers, ends all when this process is interrupted, and raises its limit of descriptors for many
/// clients. Call it before the first server is started, while there is one thread. Returns how many cases may be tried
/// at once.
///
/// # Errors
/// When the kernel refuses one of these; [`Unable`] when the limit of descriptors is too low.
pub fn prepare() -> anyhow::Result<usize> {
    supervisor::hear_of_children()?;
    keeper::end_servers_when_interrupted()?;
    let limit = limit::raise_descriptors()?;
    if limit < DESCRIPTORS {
        anyhow::bail!(Unable::new(format!(
            "the cases need {DESCRIPTORS} descriptors and the hard limit is {limit}: raise it (ulimit -Hn)"
        )));
    }
    // Most cases wait for a server most of the time.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Ok((limit / DESCRIPTORS / 2).clamp(1, 2 * cores))
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

//! What this program does when it runs as a helper.

use std::io::Write;

use crate::helper::{self, CHILD, KEEPER, LAUNCHER, LIMITER};
use crate::{inheritance, keeper, launch, limit};

/// The exit code of a helper that failed, for example because the program does not exist. Shells use the same.
const EXIT_FAILED: i32 = 127;

/// Call this first in the `main` of each program that starts servers.
///
/// If this process was started as a helper, it does the helper's work and exits. Otherwise it returns at once.
pub fn run_helper_if_asked() {
    // This link leads to the running program, also if its file was replaced meanwhile.
    helper::use_helper("/proc/self/exe");
    let mut arguments = std::env::args_os();
    let role = arguments.next().unwrap_or_default();
    let done = match role.to_str() {
        Some(LAUNCHER) => launch::become_program(arguments),
        Some(KEEPER) => keeper::keep(),
        Some(CHILD) => inheritance::wait_for_parents_end(),
        Some(LIMITER) => {
            let request = arguments.next().unwrap_or_default();
            limit::set_as_requested(&request.to_string_lossy())
        }
        _ => return,
    };
    match done {
        Ok(()) => std::process::exit(0),
        Err(error) => {
            // If nobody reads it, the exit code says that it failed.
            let _ = writeln!(std::io::stderr(), "{error}");
            std::process::exit(EXIT_FAILED);
        }
    }
}

//! Work that needs a process of its own: this program, run again in another role.
//!
//! A server is launched by a helper, which can still be looked at and told to wait before the server's
//! program takes its place. The [`keeper`](crate::keeper) is a helper as well: it is there when this
//! process has been killed. The role is the name with which the helper is run (its `argv[0]`), so that it
//! takes nothing from a program's own command line.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

pub(crate) const LAUNCHER: &str = "supervisor-launcher";
pub(crate) const KEEPER: &str = "supervisor-keeper";
pub(crate) const LIMITER: &str = "supervisor-limiter";
pub(crate) const CHILD: &str = "supervisor-child";

/// The program that is run as a helper.
static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// Lets `program`, whose `main` calls [`run_helper_if_asked`](crate::run_helper_if_asked), be the helper: for a
/// test whose `main` is not its own.
pub fn use_helper(program: impl Into<PathBuf>) {
    // Whoever came first named a program that is as good.
    let _ = PROGRAM.set(program.into());
}

/// The command of a helper.
pub(crate) fn command(role: &str) -> io::Result<Command> {
    let Some(program) = PROGRAM.get() else {
        // The program would run itself again and again.
        return Err(io::Error::other(
            "`main` does not call supervisor::run_helper_if_asked()",
        ));
    };
    let mut command = Command::new(program);
    command.arg0(role);
    Ok(command)
}

//! Helpers: this program runs itself again for work that needs another process.
//!
//! The launcher waits, and then becomes the server's program. The [`keeper`](crate::keeper) lives on when this process
//! is killed. The limiter changes a limit as another user. A helper is recognised by its name (`argv[0]`), so it needs
//! nothing on the command line of the program.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use crate::unable::Unable;

pub(crate) const LAUNCHER: &str = "supervisor-launcher";
pub(crate) const KEEPER: &str = "supervisor-keeper";
pub(crate) const LIMITER: &str = "supervisor-limiter";
pub(crate) const CHILD: &str = "supervisor-child";

/// The program that is run as a helper.
static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// Uses `program` for the helpers; its `main` calls [`run_helper_if_asked`](crate::run_helper_if_asked). This is for
/// tests that have no `main` of their own.
pub fn use_helper(program: impl Into<PathBuf>) {
    // If another one was named before, it does as well.
    let _ = PROGRAM.set(program.into());
}

/// Whether servers can be started here at all.
///
/// # Errors
/// Why not: the program of the helpers cannot be opened.
pub fn ensure_able() -> Result<(), Unable> {
    File::open(program()?)?;
    Ok(())
}

/// The command of a helper.
pub(crate) fn command(role: &str) -> io::Result<Command> {
    let mut command = Command::new(program()?);
    command.arg0(role);
    Ok(command)
}

fn program() -> io::Result<&'static PathBuf> {
    // A helper would start helpers in turn, without end.
    let unknown = || io::Error::other("`main` does not call supervisor::run_helper_if_asked()");
    PROGRAM.get().ok_or_else(unknown)
}

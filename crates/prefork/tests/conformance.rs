//! Tries the server contract, case by case.
//!
//! Not with `--accept reuseport`: there of two clients at once one may have to wait for the other,
//! whatever the number of workers, and the cases with several clients expect that none has to.

fn main() -> std::process::ExitCode {
    conformance::check(env!("CARGO_BIN_EXE_prefork-server"), &[])
}

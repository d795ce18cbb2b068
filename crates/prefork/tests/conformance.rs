//! Tries the server contract, case by case.
//!
//! Not with `--accept reuseport`: there one of two clients may have to wait for the other, whatever
//! the number of workers. The cases with several clients expect that none has to wait.

fn main() -> std::process::ExitCode {
    conformance::check(env!("CARGO_BIN_EXE_prefork-server"), &[])
}

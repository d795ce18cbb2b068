//! Tries the server contract, case by case; with a ring of two entries, rare events happen often.

fn main() -> std::process::ExitCode {
    conformance::check(env!("CARGO_BIN_EXE_io-uring-server"), &["--entries 2"])
}

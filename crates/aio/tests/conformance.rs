//! Tries the server contract, case by case; a ring for three requests is full with two clients.

fn main() -> std::process::ExitCode {
    conformance::check(env!("CARGO_BIN_EXE_aio-server"), &["--entries 3"])
}

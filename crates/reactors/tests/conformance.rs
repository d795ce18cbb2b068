//! Tries the server contract, case by case.

fn main() -> std::process::ExitCode {
    loadgen::check::conformance(env!("CARGO_BIN_EXE_reactors-server"), &["--workers 4"])
}

//! Tries the server contract, case by case.

fn main() -> std::process::ExitCode {
    conformance::check(env!("CARGO_BIN_EXE_coroutines-server"), &[])
}

//! Tries the server contract, case by case; a ring of two entries makes the rare usual.

fn main() -> std::process::ExitCode {
    conformance::check(env!("CARGO_BIN_EXE_io-uring-server"), &["--entries 2"])
}

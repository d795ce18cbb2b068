//! Tries the server contract, case by case; with a ring of two buffers and one entry, rare events
//! happen often.

fn main() -> std::process::ExitCode {
    conformance::check(
        env!("CARGO_BIN_EXE_io-uring-multishot-server"),
        &["--ring-buffers 2 --entries 1"],
    )
}

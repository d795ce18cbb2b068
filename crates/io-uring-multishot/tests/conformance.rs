//! Tries the server contract, case by case; a ring of two buffers and one entry makes the rare usual.

fn main() -> std::process::ExitCode {
    conformance::check(
        env!("CARGO_BIN_EXE_io-uring-multishot-server"),
        &["--ring-buffers 2 --entries 1"],
    )
}

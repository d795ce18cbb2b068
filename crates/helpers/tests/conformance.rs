//! Tries the server contract, case by case, also with requests that helpers have worked on.

fn main() -> std::process::ExitCode {
    conformance::check(
        env!("CARGO_BIN_EXE_helpers-server"),
        &["--block exp:50us@50%"],
    )
}

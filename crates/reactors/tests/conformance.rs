//! Tries the server contract, case by case.

fn main() -> std::process::ExitCode {
    let variants = [
        "--workers 4",
        "--workers 4 --wake exclusive",
        "--workers 4 --wake herd",
    ];
    conformance::check(env!("CARGO_BIN_EXE_reactors-server"), &variants)
}

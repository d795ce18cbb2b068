//! The command line of `loadgen`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A TCP load generator whose latency figures can be checked.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Check(loadgen::check::Args),
    #[command(hide = true)]
    Launch(loadgen::process::LaunchArgs),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Check(args) => loadgen::check::run(&args),
        Command::Launch(launch) => launch.run().map(|never| match never {}),
    };
    result.unwrap_or_else(|error| {
        eprintln!("loadgen: {error:#}");
        ExitCode::FAILURE
    })
}

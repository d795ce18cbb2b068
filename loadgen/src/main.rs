//! The command line of `loadgen`.

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use loadgen::{cli, console};

/// A TCP load generator whose latency figures can be checked.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Load one server, print its table, write its histograms
    Run(Box<cli::run::RunArgs>),
    /// Make one result of those of several generators, or one of interval logs
    Merge(cli::merge::MergeArgs),
    /// Ask how far the clocks of other hosts are off
    Clock(cli::clock::ClockArgs),
    /// Watch a server on its own host, while others load it
    Observe(cli::observe::ObserveArgs),
    /// Start each server of a line-up, run the scenarios, write results/<run>/
    Bench(Box<cli::bench::BenchArgs>),
    /// Try published claims on this machine, each with a verdict
    Answers(Box<cli::answers::AnswersArgs>),
    Check(cli::check::Args),
    /// Print the tables of a run, and write its report.html, summary.md and summary.csv again
    Report(cli::report::ReportArgs),
    /// Compare two benches, or two servers
    Compare(cli::compare::CompareArgs),
    /// Find the highest rate that meets a goal such as p99<1ms
    Search(Box<cli::search::SearchArgs>),
    /// Compare two servers in turns, until the ratio of their figures is known
    Versus(Box<cli::versus::VersusArgs>),
    /// Draw how a server waited, from its trace or from a scene that is played
    Timeline(cli::timeline::TimelineArgs),
    /// Print the completion script of a shell
    Completions(cli::completions::CompletionsArgs),
}

fn main() -> ExitCode {
    supervisor::run_helper_if_asked();
    if let Err(error) = supervisor::hear_of_children() {
        return failed(&error.into());
    }
    let cli = match Cli::try_parse_from(cli::habits::with_command(std::env::args_os())) {
        Ok(cli) => cli,
        Err(error) => return told(&error),
    };
    let result = match cli.command {
        Command::Run(run) => run.run(),
        Command::Merge(merge) => merge.run(),
        Command::Clock(clock) => clock.run(),
        Command::Observe(observe) => observe.run(),
        Command::Bench(bench) => bench.run(),
        Command::Answers(answers) => answers.run(),
        Command::Check(args) => cli::check::run(&args),
        Command::Report(report) => report.run(),
        Command::Compare(compare) => compare.run(),
        Command::Search(search) => search.run(),
        Command::Versus(versus) => versus.run(),
        Command::Timeline(timeline) => timeline.run(),
        Command::Completions(completions) => completions.run(&Cli::command()),
    };
    result.unwrap_or_else(|error| failed(&error))
}

/// Prints what clap has to say instead of a command: help, or what is wrong with the flags.
fn told(message: &clap::Error) -> ExitCode {
    if let Some(answer) = cli::habits::answer(message) {
        console::say(&format!("loadgen: {answer}"));
        return ExitCode::from(cli::EXIT_USAGE);
    }
    let written = message.print();
    if message.use_stderr() {
        return ExitCode::from(cli::EXIT_USAGE);
    }
    console::printed(written).map_or_else(|error| failed(&error), |_| ExitCode::SUCCESS)
}

fn failed(error: &anyhow::Error) -> ExitCode {
    console::say(&format!("loadgen: {error:#}"));
    if error.is::<cli::Usage>() {
        ExitCode::from(cli::EXIT_USAGE)
    } else if error.is::<supervisor::Unable>() {
        ExitCode::from(cli::EXIT_INVALID)
    } else {
        ExitCode::FAILURE
    }
}

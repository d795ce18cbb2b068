//! `loadgen completions`: what a shell needs to complete loadgen's command line.

use std::process::ExitCode;

use clap_complete::Shell;

use crate::console;

/// The flags of `loadgen completions`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  source <(loadgen completions bash)
  loadgen completions bash > ~/.local/share/bash-completion/completions/loadgen
  loadgen completions fish > ~/.config/fish/completions/loadgen.fish")]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

impl CompletionsArgs {
    /// Prints the script for this command line.
    ///
    /// # Errors
    /// Those of [`console::print`].
    pub fn run(&self, command: &clap::Command) -> anyhow::Result<ExitCode> {
        let name = command.get_name().to_owned();
        // The scripts would offer hidden commands.
        let offered = command.get_subcommands().filter(|one| !one.is_hide_set());
        let mut command = clap::Command::new(name.clone())
            .version(env!("CARGO_PKG_VERSION"))
            .subcommands(offered.cloned());
        // Not straight to standard output: clap_complete panics if it cannot write.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, name, &mut script);
        console::print(&String::from_utf8(script)?)?;
        Ok(ExitCode::SUCCESS)
    }
}

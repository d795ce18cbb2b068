//! The help texts, and the completion scripts.

use std::process::Command;

fn loadgen(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The names in the list of `loadgen --help`.
fn subcommands() -> Vec<String> {
    let help = loadgen(&["--help"]);
    let list = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let list = list.take_while(|line| !line.is_empty());
    // The text of a command that needs several lines is indented further.
    let names = list.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names
        .map(|line| line.split_whitespace().next().unwrap().to_owned())
        .filter(|name| name != "help")
        .collect()
}

#[test]
fn every_subcommand_shows_two_examples() {
    let subcommands = subcommands();
    assert!(subcommands.len() >= 8, "{subcommands:?}");
    for subcommand in subcommands {
        let help = loadgen(&[&subcommand, "--help"]);
        let (_, examples) = help
            .split_once("Examples:\n")
            .unwrap_or_else(|| panic!("{help}"));
        let shown = examples
            .lines()
            .filter(|line| line.contains(&format!("loadgen {subcommand} ")));
        assert!(shown.count() >= 2, "{help}");
    }
}

#[test]
fn completions_know_every_subcommand() {
    for shell in ["bash", "zsh", "fish"] {
        let script = loadgen(&["completions", shell]);
        for subcommand in subcommands() {
            assert!(script.contains(&subcommand), "{shell}: {subcommand}");
        }
        assert!(script.contains("server-pid"), "{shell}");
    }
}

//! Signals that were ignored at the start, as `nohup` and a script's background jobs have them, and children of a program
//! that waits for none.

use std::time::Duration;

use nix::sys::signal::Signal;
use supervisor::{Launch, Process};

use crate::scripted::{Script, Server};

const PROGRAM: &str = env!("CARGO_BIN_EXE_loadgen");

fn start(words: &str, ignored: &[Signal]) -> Process {
    supervisor::use_helper(PROGRAM);
    let mut launch = Launch::new(words.split(' ').map(Into::into).collect());
    launch.orders.inheritance.ignored = ignored.iter().map(|&signal| signal as i32).collect();
    launch.run().unwrap()
}

/// The exit code of a command that got a signal when its work on a server had begun: two connections were asked.
fn code_after(command: &str, signal: Signal, ignored: &[Signal]) -> Option<i32> {
    let server = Server::start(Script::Delay(Duration::from_millis(20)));
    let words = command.replace("ADDR", &server.address.to_string());
    let process = start(&format!("{PROGRAM} {words}"), ignored);
    server.await_asked(2);
    process.group().signal_leader(signal);
    process.wait(Duration::from_secs(20)).unwrap().code()
}

#[test]
fn a_signal_that_was_ignored_at_the_start_stays_ignored() {
    // `run` ends with one code for all of them, `check` as a shell says it.
    let run = "run ADDR -c 2 --warmup 10ms -d 1s --no-save --json";
    let check = "check ADDR --case bytes::size --case bytes::around";
    for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM] {
        for (command, interrupted) in [(run, 130), (check, 128 + signal as i32)] {
            let code = code_after(command, signal, &[signal]);
            assert_ne!(code, Some(interrupted), "{command}: {signal}");
            let others: Vec<Signal> = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM]
                .into_iter()
                .filter(|other| *other != signal)
                .collect();
            let code = code_after(command, signal, &others);
            assert_eq!(code, Some(interrupted), "{command}: {signal}");
        }
    }
}

#[test]
fn servers_are_waited_for_although_sigchld_was_ignored_at_the_start() {
    // It asks the program for its limits, and what this one says is no answer.
    let words = format!("{PROGRAM} check --server {PROGRAM}");
    let exit = start(&words, &[Signal::SIGCHLD]).wait(Duration::from_secs(20));
    let exit = exit.unwrap();
    assert_eq!(exit.code(), Some(2), "{exit}");
    assert!(
        exit.stderr.contains("does not keep the server contract"),
        "{exit}"
    );
}

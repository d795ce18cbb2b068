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

/// The exit code of a run that got a signal when its load had begun.
fn code_after(signal: Signal, ignored: &[Signal]) -> Option<i32> {
    let server = Server::start(Script::Echo);
    let words = format!(
        "{PROGRAM} run {} -c 2 --warmup 10ms -d 1s --no-save --json",
        server.address
    );
    let process = start(&words, ignored);
    server.await_asked(2);
    process.group().signal_leader(signal);
    process.wait(Duration::from_secs(20)).unwrap().code()
}

#[test]
fn a_signal_that_was_ignored_at_the_start_stays_ignored() {
    const INTERRUPTED: Option<i32> = Some(130);
    for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM] {
        assert_ne!(code_after(signal, &[signal]), INTERRUPTED, "{signal}");
    }
    assert_eq!(
        code_after(Signal::SIGTERM, &[Signal::SIGHUP, Signal::SIGINT]),
        INTERRUPTED
    );
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

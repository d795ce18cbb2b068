//! Signals that were ignored at the start, as `nohup` and a script's background jobs have them.

use std::time::Duration;

use nix::sys::signal::Signal;
use supervisor::Launch;

use crate::scripted::{Script, Server};

const PROGRAM: &str = env!("CARGO_BIN_EXE_loadgen");

/// The exit code of a run that got a signal when its load had begun.
fn code_after(signal: Signal, ignored: &[Signal]) -> Option<i32> {
    let server = Server::start(Script::Echo);
    let words = format!(
        "{PROGRAM} run {} -c 2 --warmup 10ms -d 1s --no-save --json",
        server.address
    );
    supervisor::use_helper(PROGRAM);
    let mut launch = Launch::new(words.split(' ').map(Into::into).collect());
    launch.orders.inheritance.ignored = ignored.iter().map(|&signal| signal as i32).collect();
    let process = launch.run().unwrap();
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

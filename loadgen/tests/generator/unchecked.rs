//! Readings that the verdict needs and that cannot be taken.

use std::process::{Command, Output};
use std::time::Duration;

use loadgen::results::trial::Trial;
use loadgen::verdict::cause::{Cause, Verdict};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use supervisor::Launch;
use supervisor::limit::{Limit, Resource};

use crate::scripted::{Script, Server};

const PROGRAM: &str = env!("CARGO_BIN_EXE_loadgen");

/// Runs a program where `/proc` is empty. `None`: this user may not hide it.
pub fn without_proc(mut command: Command) -> Option<Output> {
    const NONE: Option<&str> = None;
    let hidden = move || {
        unshare(CloneFlags::CLONE_NEWNS)?;
        mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)?;
        let tmpfs = Some("tmpfs");
        mount(tmpfs, "/proc", tmpfs, MsFlags::empty(), NONE)?;
        nix::Result::Ok(command.output().unwrap())
    };
    // Only the thread that hides it sees no `/proc`, and the processes that it makes.
    std::thread::spawn(hidden).join().unwrap().ok()
}

#[test]
fn nothing_is_valid_where_proc_is_hidden() {
    let server = Server::start(Script::Echo);
    let run = |arguments: &[&str]| {
        let mut command = Command::new(PROGRAM);
        command.args(["run", &server.address.to_string(), "--no-save"]);
        command.args(["-c", "2", "-d", "200ms", "--warmup", "10ms"]);
        command.args(arguments);
        without_proc(command)
    };
    let Some(output) = run(&["--json"]) else {
        println!("skipped: this user may not mount");
        return;
    };
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    // It reads back.
    let trial: Trial = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(trial.verdict, Verdict::Invalid, "{trial:#?}");
    assert!(trial.causes.contains(&Cause::Unchecked), "{trial:#?}");
    assert_eq!(trial.machine.cpu_share, None);
    assert!(trial.generator.cpu_share.unwrap() > 0.0, "{trial:#?}");
    let table = String::from_utf8(run(&[]).unwrap().stdout).unwrap();
    assert!(table.contains("unchecked"), "{table}");
    assert!(table.contains("\nmachine      n/a\n"), "{table}");
    assert!(!table.contains("NaN"), "{table}");
}

#[test]
fn a_search_says_what_to_do_about_the_causes_that_there_were() {
    let server = Server::start(Script::Echo);
    let mut command = Command::new(PROGRAM);
    command.args(["search", &server.address.to_string(), "--goal", "p50<1s"]);
    command.args(["-c", "2", "-d", "100ms", "--warmup", "10ms"]);
    let Some(output) = without_proc(command) else {
        println!("skipped: this user may not mount");
        return;
    };
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("see that /proc is mounted"), "{told}");
}

/// From so few descriptors that nothing works to enough for all connections.
#[test]
fn what_is_valid_was_checked_with_however_few_descriptors() {
    let server = Server::start(Script::Echo);
    supervisor::use_helper(PROGRAM);
    let mut trials = Vec::new();
    for descriptors in 8..=28 {
        let words = format!(
            "{PROGRAM} run {} -c 10 -d 50ms --warmup 10ms --no-save --json",
            server.address
        );
        let mut launch = Launch::new(words.split(' ').map(Into::into).collect());
        launch.orders.limits = vec![Limit::hard(Resource::Descriptors, descriptors)];
        let exit = launch.run().unwrap().wait(Duration::from_secs(20)).unwrap();
        assert!(
            [1, 0, 3].contains(&exit.code().unwrap()),
            "{descriptors}: {}",
            exit.stderr
        );
        let Ok(trial) = serde_json::from_str::<Trial>(&exit.stdout) else {
            assert_eq!(exit.code(), Some(1), "{descriptors}: {}", exit.stdout);
            continue;
        };
        // Whatever was missing was missing here, and not at the server.
        let code = if trial.verdict == Verdict::Valid {
            0
        } else {
            3
        };
        assert_eq!(exit.code(), Some(code), "{descriptors}: {trial:#?}");
        assert!(!exit.stderr.contains("answered nothing"), "{}", exit.stderr);
        let is_checked = trial.machine.steal_share.is_some()
            && trial.generator.cpu_share.is_some_and(|share| share > 0.0);
        assert!(
            is_checked || trial.causes.contains(&Cause::Unchecked),
            "{descriptors}: {trial:#?}"
        );
        trials.push((is_checked, trial.connect_us.count));
    }
    // With few a connection was missing, with the most there was room for all.
    assert!(trials[0].1 < 10, "{trials:?}");
    assert_eq!(trials.last(), Some(&(true, 10)), "{trials:?}");
}

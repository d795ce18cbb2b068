//! Several generators that write to one place.

use std::fs;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::scripted::{Script, Server};

fn start(arguments: &[&str], directory: &std::path::Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args(arguments)
        .current_dir(directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn ends(started: Vec<Child>) -> Vec<Output> {
    let ended = started.into_iter().map(Child::wait_with_output);
    ended.map(Result::unwrap).collect()
}

fn is_refused(output: &Output) -> bool {
    let said = String::from_utf8_lossy(&output.stderr);
    let why = said.contains("another loadgen") || said.contains("holds trials already");
    let refused = [1, 2].contains(&output.status.code().unwrap());
    assert_eq!(why, refused, "{output:?}");
    assert!(!refused || said.lines().count() == 1, "{said}");
    refused
}

#[test]
fn one_of_several_generators_gets_the_directory() {
    let server = Server::start(Script::Echo);
    let address = server.address.to_string();
    let top = tempfile::tempdir().unwrap();
    let run = [
        "run", &address, "-c", "2", "-d", "100ms", "--json", "--out", "out",
    ];
    let all = ends((0..6).map(|_| start(&run, top.path())).collect());
    let mut there: Vec<&Output> = all.iter().filter(|output| !is_refused(output)).collect();
    let only = there.pop().unwrap();
    assert!(there.is_empty(), "{there:?}");
    // Its trial is the one that is kept.
    let kept = fs::read(top.path().join("out/trial-1.json")).unwrap();
    let value = |json: &[u8]| serde_json::from_slice::<serde_json::Value>(json).unwrap();
    assert_eq!(value(&kept), value(&only.stdout));
}

#[test]
fn the_claim_ends_with_the_generator_however_that_ends() {
    let server = Server::start(Script::Echo);
    let address = server.address.to_string();
    let top = tempfile::tempdir().unwrap();
    let run = |duration| {
        let arguments = ["run", &address, "-c", "2", "-d", duration, "--out", "out"];
        start(&arguments, top.path())
    };
    let mut first = run("1h");
    // It has claimed its directory before it connects.
    while server.accepted() < 2 {
        assert_eq!(first.try_wait().unwrap(), None);
        thread::sleep(Duration::from_millis(5));
    }
    assert!(is_refused(&run("50ms").wait_with_output().unwrap()));
    kill(Pid::from_raw(first.id() as i32), Signal::SIGKILL).unwrap();
    first.wait().unwrap();
    assert!(!is_refused(&run("50ms").wait_with_output().unwrap()));
}

#[test]
fn benches_that_begin_in_the_same_second_have_a_directory_each() {
    let top = tempfile::tempdir().unwrap();
    fs::write(
        top.path().join("mine.toml"),
        "[[server]]\nname = \"none\"\ncrate = \"none\"\n[[scenario]]\nname = \"one\"\nquestion = \"?\"\n",
    )
    .unwrap();
    let bench = ["bench", "--scenario-file", "mine.toml", "--no-keep-awake"];
    for output in ends((0..4).map(|_| start(&bench, top.path())).collect()) {
        assert!(output.status.success(), "{output:?}");
    }
    let results = top.path().join("results");
    let runs = fs::read_dir(&results).unwrap();
    let runs = runs.filter(|run| run.as_ref().unwrap().path().join("run.json").exists());
    // And the link to one of them.
    assert_eq!(runs.count(), 5);
    assert!(results.join("latest").is_symlink());
    // Two cannot go on with the same one.
    let resume = ["bench", "--resume", "results/latest"];
    for output in ends((0..2).map(|_| start(&resume, top.path())).collect()) {
        assert!(output.status.success() || is_refused(&output), "{output:?}");
    }
}

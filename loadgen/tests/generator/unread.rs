//! Standard output and standard error that nobody reads, or that cannot be written.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::pty::openpty;

use crate::scripted::{Script, Server};

fn loadgen(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Trials of this length, kept in `out`.
fn run(server: &Server, out: &Path, duration: &str, trials: &str) -> Command {
    let mut command = loadgen(&["run", &server.address.to_string(), "-c", "4"]);
    command.args([
        "-d", duration, "--trials", trials, "--warmup", "10ms", "--out",
    ]);
    command.arg(out);
    command
}

fn trials(out: &Path) -> usize {
    let names = out
        .read_dir()
        .unwrap()
        .map(|file| file.unwrap().file_name());
    names
        .filter(|name| name.to_string_lossy().ends_with(".json"))
        .count()
}

type Stream = fn() -> Stdio;

/// A pipe whose reader has gone.
fn closed() -> Stdio {
    io::pipe().unwrap().1.into()
}

/// Whatever is written here, the disk is full.
fn full() -> Stdio {
    File::options()
        .write(true)
        .open("/dev/full")
        .unwrap()
        .into()
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

#[test]
fn a_trial_is_kept_whoever_reads() {
    let server = Server::start(Script::Echo);
    let top = tempfile::tempdir().unwrap();
    let cases: [(&str, Stream, Stream, usize, &[i32]); 4] = [
        ("pipe", closed, closed, 2, &[0, 1, 3]),
        ("stderr", Stdio::null, closed, 2, &[0, 1, 3]),
        ("full stderr", Stdio::null, full, 2, &[0, 1, 3]),
        // The first trial is there; that it cannot be shown is said.
        ("full stdout", full, Stdio::piped, 1, &[1]),
    ];
    for (name, stdout, stderr, kept, codes) in cases {
        let out = top.path().join(name);
        let mut run = run(&server, &out, "300ms", "2");
        let child = run.stdout(stdout()).stderr(stderr()).spawn().unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr.clone()).unwrap();
        assert!(
            codes.contains(&code(&output).unwrap()),
            "{name}: {output:?}"
        );
        assert_eq!(trials(&out), kept, "{name}");
        if kept == 1 {
            assert_eq!(said.lines().count(), 1, "{said}");
            assert!(said.contains("standard output"), "{said}");
        }
    }
}

#[test]
fn what_only_a_reader_would_keep_is_not_measured_without_one() {
    let server = Server::start(Script::Echo);
    let address = server.address.to_string();
    for arguments in [
        &["run", &address, "--no-save", "--trials", "20"][..],
        &[
            "search",
            &address,
            "--goal",
            "p50<1h",
            "--precision",
            "0.1%",
        ],
    ] {
        let mut command = loadgen(arguments);
        command.args(["-c", "4", "-d", "500ms", "--warmup", "10ms"]);
        let output = command.stdout(closed()).output().unwrap();
        assert!([0, 3].contains(&code(&output).unwrap()), "{output:?}");
        assert_eq!(output.stderr, b"", "{arguments:?}");
    }
    // Four connections of one trial each.
    assert_eq!(server.accepted(), 8);
}

#[test]
fn a_terminal_may_be_closed_in_mid_run() {
    let server = Server::start(Script::Echo);
    let top = tempfile::tempdir().unwrap();
    let out = top.path().join("out");
    let terminal = openpty(None, None).unwrap();
    // Else the program would keep it open itself.
    fcntl(&terminal.master, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).unwrap();
    // Long enough for a line of progress.
    let mut command = run(&server, &out, "1500ms", "1");
    let slave = || Stdio::from(terminal.slave.try_clone().unwrap());
    command.stdout(slave()).stderr(slave());
    let mut child = command.spawn().unwrap();
    drop((command, terminal.slave));
    let mut screen = File::from(terminal.master);
    assert!(screen.read(&mut [0; 64]).unwrap() > 0);
    drop(screen);
    assert!([0, 3].contains(&child.wait().unwrap().code().unwrap()));
    assert_eq!(trials(&out), 1);
}

#[test]
fn a_text_that_cannot_be_written_is_an_error_of_one_line() {
    for arguments in [
        &["--help"][..],
        &["run", "--help"],
        &["--version"],
        &["completions", "bash"],
        &["check", "--list"],
    ] {
        let output = loadgen(arguments).stdout(full()).output().unwrap();
        let said = String::from_utf8(output.stderr.clone()).unwrap();
        assert_eq!(code(&output), Some(1), "{arguments:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{arguments:?}: {said}");
        let output = loadgen(arguments).stdout(closed()).output().unwrap();
        assert_eq!(code(&output), Some(0), "{arguments:?}: {output:?}");
        assert_eq!(output.stderr, b"", "{arguments:?}");
    }
}

#[test]
fn an_error_that_nobody_reads_has_its_exit_code() {
    for (arguments, expected) in [
        (&["run"][..], 2),
        (&["check"], 2),
        (&["run", "127.0.0.1:7", "--shard", "200/200"], 2),
        (&["report", "/dev/null"], 1),
    ] {
        for stderr in [full(), closed()] {
            let mut command = loadgen(arguments);
            let status = command.stderr(stderr).status().unwrap();
            assert_eq!(status.code(), Some(expected), "{arguments:?}");
        }
    }
}

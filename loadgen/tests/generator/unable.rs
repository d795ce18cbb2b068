//! What this process lacks is told as that, and never as a fault of the server.

use std::process::Command;
use std::time::Duration;

use supervisor::limit::{Limit, Resource};
use supervisor::{Exit, Launch};

use crate::unchecked::without_proc;

const PROGRAM: &str = env!("CARGO_BIN_EXE_loadgen");

fn with_descriptors(most: u64, words: &[&str]) -> Exit {
    supervisor::use_helper(PROGRAM);
    let command = [PROGRAM].iter().chain(words);
    let mut launch = Launch::new(command.map(Into::into).collect());
    launch.orders.limits = vec![Limit::hard(Resource::Descriptors, most)];
    let exit = launch.run().unwrap().wait(Duration::from_secs(20));
    exit.unwrap()
}

#[test]
fn too_few_descriptors_are_no_fault_of_the_server() {
    let versus = [
        "versus",
        "--no-save",
        "-c",
        "2",
        "-d",
        "10ms",
        PROGRAM,
        PROGRAM,
    ];
    for words in [
        &["check", "--server", PROGRAM][..],
        &["check", "--server", PROGRAM, "{port}"],
        &["check", "--soak", "1s", "--server", PROGRAM],
        &versus,
    ] {
        for most in [9, 17, 40] {
            let exit = with_descriptors(most, words);
            assert_eq!(exit.code(), Some(3), "{words:?}, {most}: {exit:?}");
            assert_eq!(exit.stdout, "", "{words:?}, {most}");
            let told = exit.stderr.trim_end();
            assert!(
                told.contains("ulimit") && told.lines().count() == 1,
                "{words:?}, {most}: {told}"
            );
        }
    }
}

#[test]
fn where_proc_is_hidden_it_is_named() {
    let out = tempfile::tempdir().unwrap();
    let out = out.path().join("run");
    let out = out.to_str().unwrap();
    let pid = std::process::id().to_string();
    let bench = ["bench", "--scenarios", "ping", "--out", out];
    let run = ["run", "127.0.0.1:1", "--no-save", "--server-pid", &pid];
    for (words, code) in [
        (&["check", "--server", PROGRAM][..], 3),
        (&["check", "--soak", "1s", "--server", PROGRAM], 3),
        (&["versus", "--no-save", PROGRAM, PROGRAM], 3),
        (&bench, 3),
        (&run, 1),
    ] {
        let mut command = Command::new(PROGRAM);
        command.args(words);
        let Some(output) = without_proc(command) else {
            println!("skipped: this user may not mount");
            return;
        };
        assert_eq!(output.status.code(), Some(code), "{words:?}: {output:?}");
        assert!(output.stdout.is_empty(), "{words:?}: {output:?}");
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(
            told.contains("/proc is missing or hidden") && told.lines().count() == 1,
            "{words:?}: {told}"
        );
    }
}

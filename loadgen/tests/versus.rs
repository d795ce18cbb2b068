//! `loadgen versus` with servers that behave well and badly.
//!
//! This program is also those servers: `versus BEHAVIOUR [ADDR]`. How long a trial takes, and whether it is VALID on a
//! busy machine, is not what is tested here.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Output, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Trial};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

const LONG: Duration = Duration::from_mins(1);
/// The first argument of a server.
const SERVER: &str = "serve";

fn main() -> ExitCode {
    supervisor::run_helper_if_asked();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [first, behaviour, address @ ..] = &arguments[..]
        && first == SERVER
    {
        return serve(behaviour, address.first().map(String::as_str));
    }
    let tests: [(&str, fn()); 7] = [
        ("each_is_told_where_to_listen", each_is_told_where_to_listen),
        ("a_server_that_fails_is_named", a_server_that_fails_is_named),
        ("wrong_answers_are_a_failure", wrong_answers_are_a_failure),
        (
            "the_time_may_be_over_before_the_ratio_is_known",
            the_time_may_be_over_before_the_ratio_is_known,
        ),
        ("ctrl_c_ends_it", ctrl_c_ends_it),
        ("what_is_saved_is_a_run", what_is_saved_is_a_run),
        ("bad_orders_are_refused", bad_orders_are_refused),
    ];
    let tests = tests.map(|(name, test)| {
        Trial::test(name, move || {
            test();
            Ok(())
        })
    });
    libtest_mimic::run(&Arguments::from_args(), tests.into()).exit_code()
}

/// A server: `good`, `ready` (chooses its address and says it), `ending` (ends at once), `wrong` (answers something
/// else), `mute` (says something else than its address).
fn serve(behaviour: &str, address: Option<&str>) -> ExitCode {
    if behaviour == "ending" {
        report("no such flag: --fast");
        return ExitCode::from(7);
    }
    let listener = TcpListener::bind(address.unwrap_or("127.0.0.1:0")).unwrap();
    let line = match behaviour {
        "ready" => format!("listening on {}\n", listener.local_addr().unwrap()),
        "mute" => "hello\n".to_owned(),
        _ => String::new(),
    };
    std::io::stdout().write_all(line.as_bytes()).unwrap();
    for client in listener.incoming().flatten() {
        let wrong = behaviour == "wrong";
        std::thread::spawn(move || echo(client, wrong));
    }
    ExitCode::SUCCESS
}

fn report(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn echo(mut client: TcpStream, wrong: bool) {
    let mut buffer = [0; 4096];
    while let Ok(n @ 1..) = client.read(&mut buffer) {
        if wrong {
            buffer[0] = !buffer[0];
        }
        if client.write_all(&buffer[..n]).is_err() {
            return;
        }
    }
}

/// The command of a server.
fn server(behaviour: &str, address: &str) -> String {
    let program = std::env::current_exe().unwrap();
    format!("{} {SERVER} {behaviour} {address}", program.display())
}

/// Where a comparison runs.
struct Stage {
    top: TempDir,
}

impl Stage {
    fn new() -> Self {
        Self {
            top: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.top.path().join(name)
    }

    fn versus(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
        command
            // Without a warm-up the first requests are measured, and the drain waits for them: each client is answered,
            // however long this machine stands still.
            .args(["versus", "-c", "2", "-d", "100ms", "--warmup", "0s"])
            // The spinning threads of one comparison would disturb another one beside it.
            .args(["--drain", "1m", "--no-keep-awake"])
            .args(arguments)
            .current_dir(self.top.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Waits until no process is left that was started here.
    fn await_no_server(&self) {
        let deadline = Instant::now() + LONG;
        let ours = |process: &procfs::process::Process| {
            let directory = process.cwd();
            directory.is_ok_and(|directory| directory == self.top.path())
        };
        while procfs::process::all_processes()
            .unwrap()
            .flatten()
            .any(|process| ours(&process))
        {
            assert!(Instant::now() < deadline, "a server is left");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The object that it printed, which is as the schema says.
fn answer(output: &Output) -> Value {
    let answer = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let schema = include_str!("../../docs/schema/versus.schema.json");
    let schema = jsonschema::validator_for(&serde_json::from_str(schema).unwrap()).unwrap();
    let faults: Vec<String> = schema
        .iter_errors(&answer)
        .map(|fault| format!("{}: {fault}", fault.instance_path()))
        .collect();
    assert!(faults.is_empty(), "{faults:#?}\n{answer:#}");
    answer
}

/// A width that no number of blocks reaches.
const NEVER: [&str; 2] = ["--within", "0.000001%"];

fn each_is_told_where_to_listen() {
    let stage = Stage::new();
    for address in ["{addr}", "127.0.0.1:{port}"] {
        let (a, b) = (server("good", address), server("ready", ""));
        let output = stage
            .versus(&["--budget", "3s", "--json", "--no-save"])
            .args(NEVER)
            .args(["--", &a, &b])
            .output()
            .unwrap();
        let answer = answer(&output);
        assert_eq!(answer["ended"], "budget", "{answer:#}");
        let tried = answer["blocks"].as_u64().unwrap() + answer["invalid"].as_u64().unwrap();
        assert!(tried > 0, "{answer:#}");
        let causes = answer["causes"].as_array().unwrap();
        assert_eq!(causes.is_empty(), answer["invalid"] == 0, "{answer:#}");
        assert_eq!(answer["same_binary"], true);
        assert_eq!(answer["a"]["command"], a);
        assert_eq!(answer["a"]["sha256"], answer["b"]["sha256"]);
    }
    assert!(!stage.path("results").exists());
    stage.await_no_server();
}

fn a_server_that_fails_is_named() {
    let stage = Stage::new();
    let good = server("good", "{addr}");
    for (a, b, expected) in [
        (
            &server("ending", "{addr}"),
            &good,
            "loadgen: A failed: ended before it was ready: exit code 7: no such flag: --fast\n",
        ),
        (
            &server("mute", ""),
            &good,
            "loadgen: A failed: began with `hello`, not with `listening on ADDRESS` (its command has no {port} and no \
             {addr}, so its first line must be `listening on ADDRESS`)\n",
        ),
        (
            &"./there-is-no-such-server {addr}".to_owned(),
            &good,
            "loadgen: A failed: ended before it was ready: exit code 127: cannot start ./there-is-no-such-server: ",
        ),
    ] {
        let output = stage
            .versus(&["--budget", "1m", "--no-save", a, b])
            .output()
            .unwrap();
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(error.starts_with(expected), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
    stage.await_no_server();
}

fn wrong_answers_are_a_failure() {
    let stage = Stage::new();
    let (good, wrong) = (server("good", "{addr}"), server("wrong", "{addr}"));
    let output = stage
        .versus(&["--budget", "1m", "--json", "--out", "out", &wrong, &good])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let error = text(&output.stderr);
    assert!(
        error.starts_with("loadgen: A failed: ") && error.contains(" wrong answer"),
        "{error}"
    );
    let answer = answer(&output);
    assert_eq!(answer["ended"], "failed");
    assert_eq!(answer["side"], "a");
    assert!(
        !answer["reason"].as_str().unwrap().starts_with("FAILED"),
        "{answer:#}"
    );
    assert_eq!(answer["blocks"], 0);
    assert!(
        stage
            .path("out/versus/a/connections-2/trial-1.json")
            .exists()
    );
}

fn the_time_may_be_over_before_the_ratio_is_known() {
    let stage = Stage::new();
    let good = server("good", "{addr}");
    let output = stage
        .versus(&["--budget", "4s", "--no-save", &good, &good])
        .args(NEVER)
        .output()
        .unwrap();
    let said = text(&output.stdout);
    assert!(said.contains("A and B are the same binary.\n"), "{said}");
    assert!(said.contains("The budget was over "), "{said}");
    // With three blocks that count there are intervals.
    let unknown = said.contains("but a comparison needs 3");
    assert_eq!(output.status.code() == Some(3), unknown, "{said}");
}

fn ctrl_c_ends_it() {
    let stage = Stage::new();
    let good = server("good", "{addr}");
    let mut versus = stage
        .versus(&["--budget", "1h", "--json", "--out", "out", &good, &good])
        .args(NEVER)
        .spawn()
        .unwrap();
    let first = stage.path("out/versus/a/connections-2/trial-1.json");
    let deadline = Instant::now() + LONG;
    while !first.exists() {
        assert!(Instant::now() < deadline, "no trial finished");
        assert!(versus.try_wait().unwrap().is_none(), "it ended by itself");
        std::thread::sleep(Duration::from_millis(5));
    }
    kill(Pid::from_raw(versus.id() as i32), Signal::SIGINT).unwrap();
    let output = versus.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    assert_eq!(answer(&output)["ended"], "interrupted");
    assert!(first.exists());
    stage.await_no_server();
}

fn what_is_saved_is_a_run() {
    let stage = Stage::new();
    let good = server("good", "{addr}");
    let output = stage
        .versus(&[
            "--budget", "3s", "--rate", "500", "--figure", "p50", &good, &good,
        ])
        .args(NEVER)
        .output()
        .unwrap();
    let results: Vec<PathBuf> = fs::read_dir(stage.path("results"))
        .unwrap_or_else(|error| panic!("{error}: {output:?}"))
        .map(|entry| entry.unwrap().path())
        .collect();
    let [results] = &results[..] else {
        panic!("{results:?}");
    };
    let loadgen = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_loadgen"))
            .args(arguments)
            .arg(results)
            .current_dir(stage.top.path())
            .output()
            .unwrap()
    };
    let report = loadgen(&["report"]);
    assert!(report.status.success(), "{report:?}");
    assert!(!text(&report.stdout).contains("Incomplete"), "{report:?}");
    let summary = fs::read_to_string(results.join("summary.csv")).unwrap();
    let rows: Vec<&str> = summary.lines().skip(1).collect();
    // Where each trial of A stays INVALID, it is never B's turn.
    let begins = |row: &&str, server| row.starts_with(&format!("versus,connections-2,{server},"));
    assert!(rows.iter().any(|row| begins(row, "a")), "{summary}");
    assert!(
        rows.iter().all(|row| begins(row, "a") || begins(row, "b")),
        "{summary}"
    );
    let run: Value = serde_json::from_slice(&fs::read(results.join("run.json")).unwrap()).unwrap();
    // A block that ends with B's INVALID trial leaves B with one more than A.
    let logs = ["a", "b"].map(|server| {
        let trials = fs::read_dir(results.join("versus").join(server).join("connections-2"));
        let logs = trials.into_iter().flatten().flatten();
        logs.filter(|file| file.path().extension().is_some_and(|kind| kind == "hlog"))
            .count()
    });
    assert_eq!(run["settings"]["trials"], logs[0].max(logs[1]), "{run:#}");

    let resume = loadgen(&["bench", "--resume"]);
    let error = text(&resume.stderr);
    assert!(error.contains("is a run of `loadgen versus`"), "{error}");
    assert_eq!(resume.status.code(), Some(1));
}

fn bad_orders_are_refused() {
    let stage = Stage::new();
    for (arguments, expected) in [
        (&["one {addr}"][..], "<B>"),
        (
            &["one {addr}", "two '{addr}"],
            "B: a quote is not closed: two '{addr}",
        ),
        (&["", "two {addr}"], "A: the command is empty"),
        (&["one", "two", "three"], "three"),
        (
            &["--budget", "1s", "one", "two"],
            "--budget: must be at least 1s 200ms for 3 blocks of four trials",
        ),
        (&["--within", "0", "one", "two"], "must be above 0"),
        (&["--figure", "max", "one", "two"], "rate, p50, p99, cpu"),
        (
            &["--server-cpus", "999", "one", "two"],
            "core 999 is not among those",
        ),
        (&["--spin", "one", "two"], "--rate"),
        (&["--server-pid", "1", "one", "two"], "--server-pid"),
    ] {
        let output = stage.versus(arguments).output().unwrap();
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {error}");
        assert!(error.contains(expected), "{error}");
    }
    assert!(!stage.path("results").exists(), "nothing was begun");
}

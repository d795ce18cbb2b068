//! The bench with servers that behave well and badly, in the hands of a user who interrupts it.
//!
//! This program is also those servers, under the name `BEHAVIOUR-server`, and a process that sleeps, under `sleep`.

#![allow(clippy::print_stdout, reason = "a test reads what its servers print")]

use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Output, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Trial};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use supervisor::Launch;
use supervisor::limit::{Limit, Resource};
use tempfile::TempDir;

const LONG: Duration = Duration::from_mins(1);
/// Processes of the server `many` beside itself.
const CHILDREN: usize = 150;

fn main() -> ExitCode {
    supervisor::run_helper_if_asked();
    let mut arguments = std::env::args();
    let name = arguments.next().unwrap();
    let name = Path::new(&name).file_name().unwrap().to_str().unwrap();
    if let Some(behaviour) = name.strip_suffix("-server") {
        return serve(behaviour, &arguments.collect::<Vec<_>>());
    }
    if name == "sleep" {
        std::thread::sleep(LONG);
        return ExitCode::SUCCESS;
    }
    let tests: [(&str, fn()); 13] = [
        ("every_server_has_its_row", every_server_has_its_row),
        (
            "stages_and_goals_are_in_all_results",
            stages_and_goals_are_in_all_results,
        ),
        (
            "servers_that_fail_are_said_to_fail",
            servers_that_fail_are_said_to_fail,
        ),
        (
            "more_processes_than_descriptors_are_all_counted",
            more_processes_than_descriptors_are_all_counted,
        ),
        ("an_interrupted_bench_goes_on", an_interrupted_bench_goes_on),
        (
            "a_server_that_failed_has_no_figures_until_it_succeeds",
            a_server_that_failed_has_no_figures_until_it_succeeds,
        ),
        (
            "a_server_stands_still_when_it_is_told",
            a_server_stands_still_when_it_is_told,
        ),
        (
            "a_server_that_dies_is_a_failure",
            a_server_that_dies_is_a_failure,
        ),
        (
            "trials_of_different_programs_are_not_mixed",
            trials_of_different_programs_are_not_mixed,
        ),
        (
            "a_killed_bench_leaves_no_server_and_goes_on",
            a_killed_bench_leaves_no_server_and_goes_on,
        ),
        (
            "the_default_place_is_results_and_latest_leads_there",
            the_default_place_is_results,
        ),
        (
            "a_place_that_cannot_be_written_is_one_line",
            a_place_that_cannot_be_written_is_one_line,
        ),
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

/// A server: `good`, `small` (says that it serves one client), `rubbish` (no ready line), `dying`
/// (ends at the first message), `wrong` (answers something else), `second` (does so if it is the
/// second to start), `silent` (answers nothing), `single` (answers one client), `many` (has [`CHILDREN`]), `ailing` (ends at once
/// unless there is a file `well`; with a file `slow` it says that it began, and is never ready).
fn serve(behaviour: &str, arguments: &[String]) -> ExitCode {
    if arguments.iter().any(|flag| flag == "--describe") {
        let clients = if behaviour == "small" { "1" } else { "null" };
        println!(
            r#"{{"name":"{behaviour}","family":"","summary":"","flags":[],"limits":{{"clients":{clients},"why":"it is small"}}}}"#
        );
        return ExitCode::SUCCESS;
    }
    if behaviour == "ailing" {
        if Path::new("slow").exists() {
            fs::write("began", "").unwrap();
            std::thread::sleep(LONG);
        }
        if !Path::new("well").exists() {
            return ExitCode::FAILURE;
        }
    }
    if behaviour == "rubbish" {
        println!("hello");
    }
    let child = |_| {
        let mut child = Command::new("/proc/self/exe");
        child.arg0("sleep").stdout(Stdio::null()).spawn().unwrap()
    };
    let children = if behaviour == "many" { CHILDREN } else { 0 };
    let _children: Vec<Child> = (0..children).map(child).collect();
    let at = arguments
        .iter()
        .position(|flag| flag == "--listen")
        .unwrap();
    let listener = TcpListener::bind(&arguments[at + 1]).unwrap();
    println!("listening on {}", listener.local_addr().unwrap());
    let behaviour = match behaviour {
        "second" if nth_start() == 2 => "wrong",
        behaviour => behaviour,
    };
    for (number, client) in listener.incoming().flatten().enumerate() {
        let behaviour = match behaviour {
            "single" if number > 0 => "silent",
            behaviour => behaviour,
        };
        let behaviour = behaviour.to_owned();
        std::thread::spawn(move || echo(client, &behaviour));
    }
    ExitCode::SUCCESS
}

/// Which start of a server this is in its directory.
fn nth_start() -> usize {
    let mut starts = fs::OpenOptions::new();
    let mut starts = starts.create(true).append(true).open("starts").unwrap();
    starts.write_all(b"x").unwrap();
    fs::metadata("starts").unwrap().len() as usize
}

fn echo(mut client: TcpStream, behaviour: &str) {
    let mut buffer = [0; 4096];
    while let Ok(n @ 1..) = client.read(&mut buffer) {
        match behaviour {
            "dying" => std::process::exit(9),
            "wrong" => buffer[0] = !buffer[0],
            "silent" => continue,
            _ => {}
        }
        if client.write_all(&buffer[..n]).is_err() {
            return;
        }
    }
}

/// A directory with a scenario file and servers.
struct Stage {
    top: TempDir,
}

impl Stage {
    fn new(servers: &[&str], scenario: &str) -> Self {
        let stage = Self {
            top: tempfile::tempdir().unwrap(),
        };
        let mut text = format!("warmup = \"20ms\"\nduration = \"100ms\"\n{scenario}\n");
        for server in servers {
            writeln!(
                text,
                "[[server]]\nname = \"{server}\"\ncrate = \"{server}\""
            )
            .unwrap();
            if *server != "missing" {
                let program = std::env::current_exe().unwrap();
                symlink(program, stage.path(&format!("{server}-server"))).unwrap();
            }
        }
        fs::write(stage.path("mine.toml"), text).unwrap();
        stage
    }

    fn path(&self, name: &str) -> PathBuf {
        self.top.path().join(name)
    }

    fn bench(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
        command
            .arg("bench")
            .args(arguments)
            .current_dir(self.top.path());
        // The spinning threads of one bench would disturb another bench beside it.
        if !arguments.contains(&"--resume") {
            command.arg("--no-keep-awake");
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// A new bench of the scenario file, into `out`.
    fn fresh(&self, more: &[&str]) -> Command {
        let mut arguments = vec![
            "--scenario-file",
            "mine.toml",
            "--servers-dir",
            ".",
            "--out",
            "out",
        ];
        arguments.extend(more);
        self.bench(&arguments)
    }

    /// The finished trials in `out`, and when they were written.
    fn trials(&self) -> Vec<(PathBuf, std::time::SystemTime)> {
        let mut found = Vec::new();
        let mut directories = vec![self.path("out")];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
                let path = entry.path();
                if entry
                    .file_name()
                    .to_string_lossy()
                    .starts_with(".unfinished-")
                {
                    // A kill may leave one half written, which is no trial yet.
                } else if path.is_dir() {
                    directories.push(path);
                } else if path.extension().is_some_and(|kind| kind == "json")
                    && entry.file_name().to_string_lossy().starts_with("trial-")
                {
                    found.push((path, entry.metadata().unwrap().modified().unwrap()));
                }
            }
        }
        found.sort();
        found
    }

    /// Waits for the first trials of a bench that runs.
    fn await_trials(&self, bench: &mut Child, number: usize) {
        let deadline = Instant::now() + LONG;
        while self.trials().len() < number {
            assert!(Instant::now() < deadline, "no trial finished");
            assert!(
                bench.try_wait().unwrap().is_none(),
                "the bench ended before it was interrupted"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until no process is left that a bench of this stage has started: they are in its directory.
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

fn succeed(output: &Output) {
    assert!(
        output.status.success(),
        "{}: {}",
        output.status,
        text(&output.stderr)
    );
}

/// Its clients have to wait for this time, and then it goes on. If the machine is busy they wait longer.
fn a_server_stands_still_when_it_is_told() {
    let stage = Stage::new(
        &["good"],
        "[[scenario]]\nname = \"stop\"\nquestion = \"?\"\nduration = \"1s\"\ndrain = \"1m\"\n\
        let_sleep = true\nstandstill = { length = \"300ms\", every = \"400ms\" }",
    );
    succeed(&stage.fresh(&[]).output().unwrap());
    stage.await_no_server();
    let (path, _) = stage.trials().remove(0);
    let trial: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let longest = trial["response_us"]["max"].as_f64().unwrap();
    assert!(longest >= 290_000.0, "{trial}");
    assert_eq!(trial["answered"], trial["scheduled"], "{trial}");
}

fn every_server_has_its_row() {
    let servers = ["good", "small", "rubbish", "dying", "wrong", "missing"];
    // Without a warm-up the first requests are measured, and the drain waits for them: each client is answered,
    // however long this machine stands still.
    let scenario = "[[scenario]]\nname = \"pair\"\nquestion = \"Two clients?\"\nconnections = 2\n\
        warmup = \"0s\"\nduration = \"1s\"\ndrain = \"1m\"";
    let stage = Stage::new(&servers, scenario);
    let output = stage.fresh(&["--strict"]).output().unwrap();
    assert_eq!(
        output.status.code(),
        Some(1),
        "`wrong` is FAILED: {}",
        text(&output.stderr)
    );

    let mut csv = csv::Reader::from_path(stage.path("out/summary.csv")).unwrap();
    let rows: Vec<std::collections::HashMap<String, String>> =
        csv.deserialize().collect::<Result<_, _>>().unwrap();
    assert_eq!(rows.len(), servers.len());
    let row = |server: &str| rows.iter().find(|row| row["server"] == server).unwrap();
    for (server, status, reason) in [
        ("good", "measured", ""),
        (
            "small",
            "not-applicable",
            "serves 1 client at once (it is small), this test has 2",
        ),
        ("rubbish", "failed", "began with `hello`"),
        ("dying", "failed", "died: exit code 9"),
        ("wrong", "measured", ""),
        ("missing", "unavailable", "beside loadgen"),
    ] {
        let row = row(server);
        assert_eq!(row["status"], status, "{server}");
        assert!(
            row["reason"].contains(reason),
            "{server}: {}",
            row["reason"]
        );
    }
    let good = row("good");
    assert!(good["requests_per_s"].parse::<f64>().unwrap() > 0.0);
    assert!(good["max_us"].parse::<f64>().unwrap() > 0.0);
    assert!(good["cpu_us_per_request"].parse::<f64>().unwrap() > 0.0);
    assert_eq!(
        (
            good["clients_answered"].as_str(),
            good["processes"].as_str()
        ),
        ("2", "1")
    );
    // The acceptor and a thread for each client: they are still there when they are counted.
    assert_eq!(good["threads"], "3");
    let wrong = row("wrong");
    assert_eq!(wrong["verdict"], "FAILED");
    assert!(
        wrong["causes"].contains("wrong-answers"),
        "{}",
        wrong["causes"]
    );
    assert!(!wrong["notes"].contains("repeated"), "{}", wrong["notes"]);

    let shown = text(&output.stdout);
    assert!(
        shown.contains("pair: Two clients?\n  (closed loop;"),
        "{shown}"
    );
    assert!(shown.contains("FAILED, not ranked:"), "{shown}");
    assert!(
        output.stderr.is_empty(),
        "no progress bar in a pipe: {}",
        text(&output.stderr)
    );
    assert!(!shown.contains('\u{1b}'), "no colours in a pipe");
    let markdown = fs::read_to_string(stage.path("out/summary.md")).unwrap();
    assert!(
        markdown.contains("| server ") && markdown.contains("missing: unavailable"),
        "{markdown}"
    );

    let report = Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args(["report", "out"])
        .current_dir(stage.top.path())
        .output()
        .unwrap();
    assert_eq!(report.status.code(), Some(1), "as that of the bench");
    assert_eq!(
        fs::read_to_string(stage.path("out/summary.md")).unwrap(),
        markdown
    );
    stage.await_no_server();
}

/// A foreign server, asked as `run` can ask: by bytes of a protocol of its own, in stages, with a goal.
fn stages_and_goals_are_in_all_results() {
    let scenario = "[[scenario]]\nname = \"ramp\"\nquestion = \"Does it keep up?\"\nmode = \"raw\"\n\
        send_file = \"ask.bin\"\nexpect_bytes = 2\ntimeout = \"20s\"\nstages = \"0-400/200ms,400/100ms\"\n\
        goal = [\"failed<=0\", \"p50<1us\"]\n[[server]]\nname = \"foreign\"\n\
        command = [\"./good-server\", \"--listen\", \"{addr}\"]\nmodes = [\"raw\"]";
    let stage = Stage::new(&["good"], scenario);
    fs::write(stage.path("ask.bin"), [0xff, 0]).unwrap();
    let output = stage.fresh(&[]).output().unwrap();
    let shown = text(&output.stdout);
    let told = text(&output.stderr);
    // An INVALID trial is no missed goal, and on a busy machine there may be one.
    let invalid = shown.contains("INVALID, not ranked");
    assert_eq!(
        output.status.code(),
        Some(if invalid { 0 } else { 4 }),
        "{shown}{told}"
    );
    fs::remove_file(stage.path("ask.bin")).unwrap();
    let report = Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args(["report", "out"])
        .current_dir(stage.top.path())
        .output()
        .unwrap();
    assert_eq!(report.status.code(), Some(0), "{}", text(&report.stderr));
    let of = |name: &str| fs::read_to_string(stage.path("out").join(name)).unwrap();
    for server in ["good", "foreign"] {
        let trial = of(&format!("ramp/{server}/connections-1/trial-1.json"));
        let trial: serde_json::Value = serde_json::from_str(&trial).unwrap();
        let stages = trial["stages"].as_array().unwrap();
        let scheduled: u64 = stages
            .iter()
            .map(|s| s["scheduled"].as_u64().unwrap())
            .sum();
        assert_eq!(stages.len(), 2);
        assert_eq!(Some(scheduled), trial["scheduled"].as_u64());
        assert_eq!(trial["goals"][0]["met"], true);
        assert_eq!(trial["goals"][1]["met"], false);
        let html = of("report.html")
            .replace("&lt;", "<")
            .replace("&#x2f;", "/");
        for page in [&shown, &of("summary.md"), &html] {
            let said = page.contains(&format!("{server}: failed<=0% met"));
            assert!(said && page.contains("p50<1us missed"), "{page}");
            assert!(page.contains("0 to 400"), "{page}");
            assert!(page.contains("stages 0-400/200ms,400/100ms"), "{page}");
        }
    }
    let run = of("run.json");
    assert!(
        run.contains("\"name\": \"ask.bin\"") && run.contains("/wA="),
        "{run}"
    );
}

/// Whatever the other verdicts are where others keep this machine busy.
fn servers_that_fail_are_said_to_fail() {
    let servers = ["good", "wrong", "second", "silent", "single"];
    let scenario = "trials = 3\n[[scenario]]\nduration = \"300ms\"\nname = \"pair\"\nquestion = \"Two clients?\"\nconnections = 2\n\
        drain = \"100ms\"";
    let stage = Stage::new(&servers, scenario);
    let output = stage.fresh(&["--strict"]).output().unwrap();
    let shown = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{shown}");
    let mut csv = csv::Reader::from_path(stage.path("out/summary.csv")).unwrap();
    let rows: Vec<std::collections::HashMap<String, String>> =
        csv.deserialize().collect::<Result<_, _>>().unwrap();
    let row = |server: &str| rows.iter().find(|row| row["server"] == server).unwrap();
    // Where others keep this machine busy, a trial of a silent server is INVALID: a server that did not run did not
    // fail.
    let left_out: usize = row("silent")["trials_left_out"].parse().unwrap();
    let all_invalid = row("silent")["verdict"] == "INVALID";
    let silent = if all_invalid { 0 } else { 3 - left_out };
    let silent = silent.to_string();
    for (server, failed, unanswered) in [
        ("good", "0", "0"),
        ("wrong", "3", "0"),
        ("second", "1", "0"),
        ("silent", silent.as_str(), "2"),
        ("single", "0", "1"),
    ] {
        let row = row(server);
        assert_eq!(row["verdict"] == "FAILED", failed != "0", "{row:?}");
        assert_eq!(row["trials_failed"], failed, "{row:?}");
        let wrong = ["wrong", "second"].contains(&server);
        assert_eq!(row["wrong_answers"] != "0", wrong, "{row:?}");
        assert_eq!(row["clients_unanswered"], unanswered, "{row:?}");
        // Only INVALID trials are repeated.
        let repeated = &row["notes"];
        assert!(!repeated.contains("wrong-answers"), "{repeated}");
    }
    assert!(shown.contains("FAILED, not ranked:"), "{shown}");
    let said = format!("silent: FAILED: no answer in {silent} of 3 trials");
    assert!(shown.contains(&said) || silent == "0", "{shown}");
    for said in [" in 1 of 3 trials", "1 of 2 clients never answered"] {
        assert!(shown.contains(said), "{said}: {shown}");
    }
    let page = fs::read_to_string(stage.path("out/report.html")).unwrap();
    assert!(
        page.contains("FAILED, not ranked."),
        "it has a group of them"
    );

    let compare = Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args(["compare", "out:good", "out:second"])
        .current_dir(stage.top.path())
        .output()
        .unwrap();
    let said = text(&compare.stdout);
    assert_eq!(compare.status.code(), Some(1), "{said}");
    assert!(said.contains("B: FAILED: "), "{said}");
    stage.await_no_server();
}

fn more_processes_than_descriptors_are_all_counted() {
    let stage = Stage::new(
        &["many"],
        "[[scenario]]\nname = \"crowd\"\nquestion = \"?\"",
    );
    let place = |name: &str| stage.path(name).into_os_string();
    let mut command = vec![env!("CARGO_BIN_EXE_loadgen").into(), "bench".into()];
    for (flag, value) in [
        ("--scenario-file", place("mine.toml")),
        ("--servers-dir", place(".")),
        ("--out", place("out")),
    ] {
        command.extend([flag.into(), value]);
    }
    command.push("--no-keep-awake".into());
    let mut launch = Launch::new(command);
    launch.orders.limits = vec![Limit::hard(Resource::Descriptors, 140)];
    let exit = launch.run().unwrap().wait(2 * LONG).unwrap();
    assert!(exit.status.success(), "{}", exit.with_last_words());
    let [(trial, _)] = &stage.trials()[..] else {
        panic!("one server, one trial");
    };
    let trial: serde_json::Value = serde_json::from_slice(&fs::read(trial).unwrap()).unwrap();
    assert_eq!(trial["server"]["processes"], CHILDREN + 1);
}

const LONG_BENCH: &str =
    "trials = 3\n[[scenario]]\nname = \"ping\"\nquestion = \"?\"\nvary = { connections = [1, 2] }";

fn an_interrupted_bench_goes_on() {
    let stage = Stage::new(&["good"], LONG_BENCH);
    let mut bench = stage.fresh(&[]).spawn().unwrap();
    stage.await_trials(&mut bench, 1);
    kill(Pid::from_raw(bench.id() as i32), Signal::SIGINT).unwrap();
    let output = bench.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
    assert!(
        text(&output.stdout).contains("--resume out"),
        "{}",
        text(&output.stdout)
    );
    stage.await_no_server();
    let finished = stage.trials();
    assert!(
        !finished.is_empty() && finished.len() < 6,
        "{}",
        finished.len()
    );
    let summary = fs::read_to_string(stage.path("out/summary.csv")).unwrap();
    assert!(
        summary.contains("ping,connections-1,good,measured"),
        "{summary}"
    );

    succeed(&stage.bench(&["--resume", "out"]).output().unwrap());
    let all = stage.trials();
    assert_eq!(all.len(), 6);
    for trial in &finished {
        assert!(all.contains(trial), "{} was done again", trial.0.display());
    }
}

fn a_server_that_failed_has_no_figures_until_it_succeeds() {
    let stage = Stage::new(
        &["ailing"],
        "trials = 2\n[[scenario]]\nname = \"ping\"\nquestion = \"?\"",
    );
    let marker = stage.path("out/ping/ailing/connections-1/no-result.json");
    let report = |code| {
        let report = Command::new(env!("CARGO_BIN_EXE_loadgen"))
            .args(["report", "out"])
            .current_dir(stage.top.path())
            .output()
            .unwrap();
        assert_eq!(report.status.code(), Some(code), "{report:?}");
    };
    let output = stage.fresh(&[]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(marker.exists());
    report(1);

    fs::write(stage.path("slow"), "").unwrap();
    let mut bench = stage.bench(&["--resume", "out"]).spawn().unwrap();
    let deadline = Instant::now() + LONG;
    while !stage.path("began").exists() {
        assert!(Instant::now() < deadline, "it is not tried again");
        std::thread::sleep(Duration::from_millis(5));
    }
    bench.kill().unwrap();
    bench.wait().unwrap();
    stage.await_no_server();
    assert!(marker.exists(), "it has not succeeded");

    fs::remove_file(stage.path("slow")).unwrap();
    fs::write(stage.path("well"), "").unwrap();
    succeed(&stage.bench(&["--resume", "out"]).output().unwrap());
    assert!(!marker.exists());
    assert_eq!(stage.trials().len(), 2);
    report(0);
}

fn a_server_that_dies_is_a_failure() {
    let stage = Stage::new(
        &["good", "dying"],
        "trials = 2\n[[scenario]]\nname = \"ping\"\nquestion = \"?\"",
    );
    let output = stage.fresh(&[]).output().unwrap();
    let shown = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{shown}");
    assert!(
        shown.contains("dying: failed: died: exit code 9 (trial 1)"),
        "{shown}"
    );
}

fn trials_of_different_programs_are_not_mixed() {
    let stage = Stage::new(
        &["good", "missing", "ailing"],
        "[[scenario]]\nname = \"ping\"\nquestion = \"?\"",
    );
    let output = stage.fresh(&[]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let refused = |expected: &str| {
        let output = stage.bench(&["--resume", "out"]).output().unwrap();
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(
            error.contains(expected) && error.lines().count() == 1,
            "{error}"
        );
    };
    let server = stage.path("good-server");
    fs::remove_file(&server).unwrap();
    refused("the program of `good` has disappeared");
    symlink(env!("CARGO_BIN_EXE_loadgen"), &server).unwrap();
    refused("the program of `good` has changed");
    fs::remove_file(&server).unwrap();
    symlink(std::env::current_exe().unwrap(), &server).unwrap();

    // A program that did not exist has no trials that could be mixed, nor has one that failed and was mended.
    symlink(&server, stage.path("missing-server")).unwrap();
    let mended = stage.path("ailing-server");
    fs::remove_file(&mended).unwrap();
    fs::copy(std::env::current_exe().unwrap(), &mended).unwrap();
    let mut program = fs::File::options().append(true).open(&mended).unwrap();
    program.write_all(b"mended").unwrap();
    drop(program);
    fs::write(stage.path("well"), "").unwrap();
    succeed(&stage.bench(&["--resume", "out"]).output().unwrap());
    let path = stage.path("out/run.json");
    let mut run: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let programs = run["programs"].clone();
    assert_eq!(programs["servers"]["good"], programs["servers"]["missing"]);
    run["programs"]["loadgen"] = "0".repeat(64).into();
    fs::write(&path, run.to_string()).unwrap();
    refused("loadgen has changed");

    // A run of an older version has no hashes of its programs.
    let keys = run.as_object_mut().unwrap();
    assert!(keys.remove("programs").is_some() && keys.remove("commit").is_some());
    fs::write(&path, run.to_string()).unwrap();
    succeed(&stage.bench(&["--resume", "out"]).output().unwrap());
}

fn a_killed_bench_leaves_no_server_and_goes_on() {
    let stage = Stage::new(&["good"], LONG_BENCH);
    let mut bench = stage.fresh(&[]).spawn().unwrap();
    stage.await_trials(&mut bench, 2);
    bench.kill().unwrap();
    bench.wait().unwrap();
    stage.await_no_server();
    let finished = stage.trials();
    for (trial, _) in &finished {
        let json: serde_json::Value = serde_json::from_slice(&fs::read(trial).unwrap()).unwrap();
        assert_eq!(json["schema_version"], 1);
        assert!(trial.with_extension("hlog").exists());
    }
    succeed(&stage.bench(&["--resume", "out"]).output().unwrap());
    assert_eq!(stage.trials().len(), 6);
}

fn the_default_place_is_results() {
    let stage = Stage::new(&["good"], "[[scenario]]\nname = \"ping\"\nquestion = \"?\"");
    let output = stage
        .bench(&["--scenario-file", "mine.toml", "--servers-dir", "."])
        .output()
        .unwrap();
    succeed(&output);
    let link = fs::read_link(stage.path("results/latest")).unwrap();
    assert!(link.is_relative());
    assert!(stage.path("results").join(link).join("summary.md").exists());
    // It does not continue, so it changes nothing.
    let before = fs::read_to_string(stage.path("results/latest/summary.csv")).unwrap();
    succeed(
        &stage
            .bench(&["--resume", "results/latest"])
            .output()
            .unwrap(),
    );
    assert_eq!(
        fs::read_to_string(stage.path("results/latest/summary.csv")).unwrap(),
        before
    );
}

fn a_place_that_cannot_be_written_is_one_line() {
    let stage = Stage::new(&["good"], "[[scenario]]\nname = \"ping\"\nquestion = \"?\"");
    fs::write(stage.path("file"), "").unwrap();
    let arguments = [
        "--scenario-file",
        "mine.toml",
        "--servers-dir",
        ".",
        "--out",
        "file/out",
    ];
    let output = stage.bench(&arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert!(
        error.starts_with("loadgen: cannot write to file/out") && error.lines().count() == 1,
        "{error}"
    );
}

fn bad_orders_are_refused() {
    let stage = Stage::new(
        &["good"],
        "[[scenario]]\nname = \"ping\"\nquestion = \"?\"\nsiez = 7",
    );
    for (arguments, expected) in [
        (
            &["--scenario-file", "mine.toml"][..],
            "mine.toml:6: unknown field `siez`",
        ),
        (
            &["--scenario-file", "none.toml"],
            "cannot read the scenario file none.toml",
        ),
        (
            &["--servers", "epol"],
            "there is no server `epol`; there are sequential, ",
        ),
        (
            &["--scenarios", "pong"],
            "there is no scenario `pong`; there are ping, ",
        ),
        (&["--profile", "slow"], "quick"),
        (&["--server-cpus", "999"], "core 999 is not among those"),
        (&["--resume", "out", "--seed", "7"], "cannot be used with"),
        (&["--trials", "0"], "0 is not in"),
        (&["--duration", "580000000000years"], "a year at most"),
        (&["--duration", "soon"], "for '--duration <DURATION>'"),
    ] {
        let output = stage.bench(arguments).output().unwrap();
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {error}");
        assert!(error.contains(expected), "{error}");
    }
    assert!(!stage.path("results").exists(), "nothing was begun");
    let output = stage.bench(&["--resume", "."]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("holds no run"),
        "{}",
        text(&output.stderr)
    );
}

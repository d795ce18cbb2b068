//! Several generators that share a load.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, SystemTime};

use loadgen::workload::load::{Arrivals, Shard};
use loadgen::workload::schedule::Schedule;
use proptest::prelude::*;
use serde_json::Value;

use crate::scripted::{Script, Server};

fn loadgen() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
    // What the test itself was launched with.
    for (name, _) in std::env::vars() {
        let launchers = [
            "OMPI_",
            "PMIX_",
            "SLURM_",
            "JOB_COMPLETION_",
            "PARALLEL_",
            "SHARDS",
        ];
        if launchers.iter().any(|launcher| name.starts_with(launcher)) {
            command.env_remove(name);
        }
    }
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn json_of(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}\n{output:?}"))
}

#[test]
fn the_launcher_says_which_shard_it_is_and_the_shards_are_the_whole() {
    let server = Server::start(Script::Echo);
    let run = |environment: [(&str, String); 2]| {
        let output = loadgen()
            .args([
                "run",
                &server.address.to_string(),
                "--shard",
                "auto",
                "--no-save",
            ])
            .args(["-r", "1000.5", "--arrivals", "constant", "-d", "200ms"])
            .args(["--warmup", "0s", "-c", "10", "--idle", "5", "--json"])
            .envs(environment)
            .output()
            .unwrap();
        let number = text(&output.stderr);
        let number = number.lines().find(|line| line.contains("shard")).unwrap();
        (number.to_owned(), json_of(&output))
    };
    let (mut scheduled, mut connections) = (0, 0);
    for index in 0..7 {
        let (said, trial) = run([
            ("SLURM_PROCID", index.to_string()),
            ("SLURM_NTASKS", "7".to_owned()),
        ]);
        let which = format!(
            "loadgen: shard {}/7 (Slurm: SLURM_PROCID={index}",
            index + 1
        );
        assert!(said.starts_with(&which), "{said}");
        scheduled += trial["scheduled"].as_u64().unwrap();
        connections += trial["connections"].as_u64().unwrap();
    }
    // One each 999.5 us, beginning at 0: 200 ms hold 201.
    assert_eq!((scheduled, connections), (201, 10));
}

#[test]
fn a_launcher_that_is_not_there_or_contradicts_another_is_named() {
    for (environment, why) in [
        (&[][..], "--shard I/N"),
        (&[("JOB_COMPLETION_INDEX", "1")], "set SHARDS"),
        (
            &[
                ("PMIX_RANK", "1"),
                ("SLURM_PROCID", "0"),
                ("SLURM_NTASKS", "3"),
            ],
            "PMIX_RANK=1; Slurm: SLURM_PROCID=0, SLURM_NTASKS=3",
        ),
    ] {
        let output = loadgen()
            .args(["run", "127.0.0.1:7", "--shard", "auto"])
            .envs(environment.iter().copied())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let said = text(&output.stderr);
        assert!(said.contains(why) && said.lines().count() == 1, "{said}");
    }
}

fn shards(of: usize) -> impl Iterator<Item = Shard> {
    (0..of).map(move |index| Shard { index, of })
}

const HORIZON: u64 = 2_000_000_000;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// However many there are, and however many threads each of them has.
    #[test]
    fn what_the_shards_send_is_what_one_generator_sends(
        rate in 0.1..3000.0_f64,
        threads in prop::collection::vec(1..5_usize, 1..12),
        constant in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let arrivals = if constant { Arrivals::Constant } else { Arrivals::Poisson };
        let whole: Vec<u64> = Schedule::new(rate, arrivals, seed, HORIZON, 0, 1).collect();
        let mut union = Vec::new();
        for (shard, &threads) in shards(threads.len()).zip(&threads) {
            for thread in 0..threads {
                let (part, parts) = shard.part(thread, threads);
                union.extend(Schedule::new(rate, arrivals, seed, HORIZON, part, parts));
            }
        }
        union.sort_unstable();
        prop_assert_eq!(union, whole);
    }

    #[test]
    fn no_connection_is_lost_or_taken_twice(count in 0..10_000_usize, of in 1..100_usize) {
        prop_assert_eq!(shards(of).map(|shard| shard.share(count)).sum::<usize>(), count);
        let most = shards(of).map(|shard| shard.share(count)).max();
        prop_assert_eq!(most, Some(count.div_ceil(of)));
    }
}

#[test]
fn seven_shards_of_a_thousand_and_a_half() {
    let whole = Schedule::new(1000.5, Arrivals::Constant, 1, HORIZON, 0, 1).count();
    assert_eq!(whole, 2001);
    let each = shards(7).map(|shard| {
        let (part, parts) = shard.part(0, 1);
        Schedule::new(1000.5, Arrivals::Constant, 1, HORIZON, part, parts).count()
    });
    assert_eq!(
        each.collect::<Vec<_>>(),
        [286, 286, 286, 286, 286, 286, 285]
    );
}

#[test]
fn a_shard_of_several_trials_or_of_too_many_is_refused_at_once() {
    for (arguments, why) in [
        (
            &["--shard", "1/2", "--trials", "2"][..],
            "--shard: a shard has one trial",
        ),
        (
            &["--shard", "1/18446744073709551615"],
            "N is at most 1048576",
        ),
        (&["--shard", "1/1048577"], "N is at most 1048576"),
    ] {
        let output = loadgen()
            .args(["run", "127.0.0.1:7", "--no-save"])
            .args(arguments)
            .output()
            .unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.lines().next().unwrap().contains(why), "{said}");
    }
}

/// The trial that a shard wrote.
fn trial_of(out: &Path, shard: &str) -> Value {
    let file = out.join(shard).join("trial-1.json");
    let text = std::fs::read(&file).unwrap_or_else(|error| panic!("{error}: {}", file.display()));
    serde_json::from_slice(&text).unwrap()
}

fn has_cause(trial: &Value, cause: &str) -> bool {
    trial["causes"]
        .as_array()
        .unwrap()
        .iter()
        .any(|found| found == cause)
}

#[test]
fn a_shard_says_of_what_it_is_a_part_and_where_and_when() {
    let server = Server::start(Script::Echo);
    let out = tempfile::tempdir().unwrap();
    let start = SystemTime::now() + Duration::from_millis(700);
    let start = humantime::format_rfc3339_nanos(start).to_string();
    let output = loadgen()
        .args(["run", &server.address.to_string(), "--shard", "2/3"])
        .args(["-r", "300", "-d", "300ms", "--warmup", "100ms", "-c", "5"])
        .args(["--seed", "7", "--start-at", &start, "--out"])
        .arg(out.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let trial = trial_of(out.path(), "shard-2-of-3");
    let shard = &trial["shard"];
    assert_eq!((&shard["number"], &shard["of"]), (&2.into(), &3.into()));
    assert_eq!(shard["target"], server.address.to_string());
    assert_eq!(shard["seed"], 7);
    assert_eq!(shard["asked"]["rate"], 300.0);
    assert_eq!(shard["asked"]["duration_s"], 0.3);
    assert_eq!(shard["start_at"], start.as_str());
    let time = |key: &str| humantime::parse_rfc3339(shard[key].as_str().unwrap()).unwrap();
    let planned = time("start_at") + Duration::from_millis(100);
    assert!(time("begin") >= planned, "{shard}");
    assert!(time("end") > time("begin"), "{shard}");
    // Nobody else writes to its place.
    let again = loadgen()
        .args([
            "run",
            &server.address.to_string(),
            "--shard",
            "2/3",
            "--out",
        ])
        .arg(out.path())
        .output()
        .unwrap();
    assert_eq!(again.status.code(), Some(2));
    assert!(
        text(&again.stderr).contains("holds trials already"),
        "{again:?}"
    );
}

/// A launcher kills the other shards when one ends with an error.
#[test]
fn a_shard_ends_with_0_and_its_verdict_is_in_its_result() {
    let server = Server::start(Script::Silence);
    let out = tempfile::tempdir().unwrap();
    let shard = |shard: &str, arguments: &[&str]| {
        loadgen()
            .args([
                "run",
                &server.address.to_string(),
                "--shard",
                shard,
                "-c",
                "3",
            ])
            .args(["-d", "200ms", "--warmup", "0s", "--drain", "0s", "--out"])
            .arg(out.path())
            .args(arguments)
            .output()
            .unwrap()
    };
    let failed = shard("1/3", &[]);
    assert_eq!(failed.status.code(), Some(0), "{failed:?}");
    assert!(
        text(&failed.stderr).contains("answered nothing"),
        "{failed:?}"
    );
    let trial = trial_of(out.path(), "shard-1-of-3");
    assert_eq!(trial["verdict"], "FAILED");
    let late = shard("2/3", &["--start-at", "2001-01-01T00:00:00Z"]);
    assert_eq!(late.status.code(), Some(0), "{late:?}");
    let trial = trial_of(out.path(), "shard-2-of-3");
    assert!(has_cause(&trial, "started-late"), "{trial}");
    // Alone it is told before it does anything.
    let alone = loadgen()
        .args(["run", &server.address.to_string(), "--no-save"])
        .args(["--start-at", "2001-01-01T00:00:00Z"])
        .output()
        .unwrap();
    assert_eq!(alone.status.code(), Some(2));
    assert!(text(&alone.stderr).contains("has passed"), "{alone:?}");
}

#[test]
fn a_shard_that_is_told_to_stop_keeps_what_it_measured() {
    let server = Server::start(Script::Echo);
    for load in [&["-r", "500"][..], &[]] {
        let out = tempfile::tempdir().unwrap();
        let mut child = loadgen()
            .args([
                "run",
                &server.address.to_string(),
                "--shard",
                "1/2",
                "-c",
                "4",
            ])
            .args(["-d", "1h", "--warmup", "10ms", "--live", "json", "--out"])
            .arg(out.path())
            .args(load)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let second = lines.find(|line| line.as_ref().unwrap().contains("response_us"));
        assert!(second.is_some());
        let pid = nix::unistd::Pid::from_raw(child.id() as i32);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        // It goes on to write.
        let rest: Vec<String> = lines.map(Result::unwrap).collect();
        assert_eq!(child.wait().unwrap().code(), Some(0), "{rest:?}");
        let trial = trial_of(out.path(), "shard-1-of-2");
        assert_eq!(trial["verdict"], "INVALID");
        assert!(has_cause(&trial, "cut-short"), "{trial}");
        let number = |key: &str| trial[key].as_u64().unwrap();
        assert!(number("answered") > 0);
        let ends = ["answered", "failed", "in_flight", "never_sent"];
        let ended: u64 = ends.into_iter().map(number).sum();
        assert_eq!(number("scheduled"), ended, "{trial}");
        let seconds = trial["duration_s"].as_f64().unwrap();
        assert!((0.1..1000.0).contains(&seconds), "{seconds}");
        if !load.is_empty() {
            // Half of 500 a second for as long as it lasted, and not for an hour.
            let due = seconds * 250.0;
            assert!(
                (number("scheduled") as f64 - due).abs() < 8.0 * due.sqrt() + 10.0,
                "{trial}"
            );
        }
    }
}

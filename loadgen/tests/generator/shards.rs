//! Several generators that share a load.

use std::process::{Command, Output};

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

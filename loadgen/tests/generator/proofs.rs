//! Tests the generator's figures against closed forms, and its verdicts under sabotage. `make prove` runs those
//! that need a quiet machine.

use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use loadgen::engine;
use loadgen::measure::trial::judged;
use loadgen::observe::observed::{Observed, ServerCosts};
use loadgen::recording::record::{Recording, ThreadTime};
use loadgen::results::trial::Trial;
use loadgen::verdict::cause::{Cause, Verdict};
use loadgen::verdict::note::Note;
use loadgen::workload::load::{Arrivals, Load, Timestamps, Workload};
use loadgen::workload::schedule::Schedule;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use procfs::{CurrentSI, KernelStats};
use serde_json::Value;

use crate::scripted::{self, Script, Server};
use crate::{Unwatched, open, quiet, run, workload};

/// The mean wait behind one worker with a constant service time, nanoseconds: by Lindley's recursion on
/// the very requests of the trial, so that chance has no part in it.
fn expected_wait(workload: &Workload, service: Duration) -> f64 {
    let Load::Open { rate, arrivals } = workload.load else {
        panic!("a closed loop has no schedule");
    };
    let nanos = |duration: Duration| duration.as_nanos() as f64;
    let warmup = nanos(workload.warmup);
    let horizon = (workload.warmup + workload.duration).as_nanos() as u64;
    let (mut free_at, mut waits, mut count) = (0.0_f64, 0.0, 0.0);
    for due in Schedule::new(rate, arrivals, workload.seed, horizon, 0, 1) {
        let due = due as f64;
        if due >= warmup {
            waits += (free_at - due).max(0.0);
            count += 1.0;
        }
        free_at = free_at.max(due) + nanos(service);
    }
    waits / count
}

/// A core for an exact server, and one for the generator.
fn cores() -> (usize, usize) {
    let [server, generator, ..] = loadgen::observe::cores::allowed_cpus()[..] else {
        panic!("this needs two cores");
    };
    (server, generator)
}

/// A workload for an exact server, each on a core of its own.
pub fn apart(service: Duration) -> Workload {
    let (server, generator) = cores();
    Workload {
        cpus: vec![generator],
        ..workload(scripted::exact(service, 64, server))
    }
}

/// A VALID trial of this workload; as in a bench, one that is INVALID is repeated, but not for ever.
fn valid(workload: impl Fn() -> Workload) -> Trial {
    for _ in 0..5 {
        let (trial, recording) = run(&workload());
        if trial.verdict == Verdict::Valid {
            return trial;
        }
        println!(
            "INVALID, and repeated: {:?}, lateness p99 {:?} us, {:?}",
            trial.causes, trial.lateness_us.p99, recording.threads
        );
    }
    panic!("INVALID five times");
}

/// A seed on whose arrivals the mean wait is within 1 % of that of the theory: in a minute at a utilisation of 0.9
/// chance makes a tenth of difference, which would hide what the generator does.
fn typical(workload: &Workload, service: Duration, theory_us: f64) -> u64 {
    let expected = |seed| {
        let workload = Workload {
            seed,
            ..workload.clone()
        };
        expected_wait(&workload, service) / 1e3
    };
    (1..1000)
        .find(|&seed| (expected(seed) / theory_us - 1.0).abs() < 0.01)
        .expect("one in ten is")
}

#[test]
#[ignore = "needs a quiet machine with two cores: make prove"]
fn waits_follow_queueing_theory() {
    // Long against the way there and back, which is some 10 us longer in one trial than in the next. The generator's core
    // may sleep: of two cores that are busy for a minute a hypervisor takes more than a trial allows.
    let service = Duration::from_millis(5);
    for (utilisation, seconds) in [(0.3, 20), (0.5, 20), (0.7, 20), (0.9, 60)] {
        let theory = utilisation * service.as_secs_f64() * 1e6 / (2.0 * (1.0 - utilisation));
        let mut orders = Workload {
            load: open(utilisation / service.as_secs_f64(), Arrivals::Poisson),
            connections: 200,
            warmup: Duration::from_secs(1),
            duration: Duration::from_secs(seconds),
            drain: Duration::from_secs(1),
            spin: true,
            ..workload(([127, 0, 0, 1], 0).into())
        };
        orders.seed = typical(&orders, service, theory);
        let at = |load| {
            let Workload { target, cpus, .. } = apart(service);
            Workload {
                target,
                cpus,
                load,
                ..orders.clone()
            }
        };
        // With equal gaps, each longer than the service, nobody waits: what is left is the service and the way
        // there and back, under the same load.
        let rate = utilisation / service.as_secs_f64();
        let unqueued = valid(|| at(open(rate, Arrivals::Constant)));
        let trial = valid(|| at(orders.load));
        let found = trial.response_us.mean.unwrap() - unqueued.response_us.mean.unwrap();
        let expected = expected_wait(&orders, service) / 1e3;
        println!(
            "utilisation {utilisation}: mean wait {found:.1} us; M/D/1 {theory:.1} ({:+.1} %), on these arrivals {expected:.1} ({:+.1} %)",
            (found / theory - 1.0) * 100.0,
            (found / expected - 1.0) * 100.0,
        );
        assert!((found / theory - 1.0).abs() < 0.05, "{trial:#?}");
        assert!((found / expected - 1.0).abs() < 0.05, "{trial:#?}");
    }
}

#[test]
#[ignore = "needs a quiet machine with two cores: make prove"]
fn requests_leave_on_time() {
    for (spin, limit) in [(true, 50.0), (false, 150.0)] {
        // What else the kernel and the hypervisor do on this core only ever adds to it. So the trials are short, and one
        // in four at least is to be undisturbed.
        let mut p99s = [0.0; 60].map(|_| {
            let (trial, _) = run(&Workload {
                load: open(20_000.0, Arrivals::Poisson),
                connections: 1000,
                duration: Duration::from_millis(300),
                spin,
                ..apart(Duration::ZERO)
            });
            trial.lateness_us.p99.unwrap()
        });
        p99s.sort_by(f64::total_cmp);
        println!("lateness p99 of each trial, us, spin {spin}: {p99s:.1?}");
        assert!(p99s[p99s.len() / 4] <= limit);
    }
}

/// Ticks that the hypervisor has taken from all cores.
fn stolen() -> u64 {
    let kernel = KernelStats::current().unwrap();
    kernel.total.steal.unwrap_or_default()
}

#[test]
#[ignore = "needs a quiet machine with two cores: make prove"]
fn a_clean_run_is_not_vetoed() {
    let (mut clean, mut disturbed) = (0, 0);
    while clean < 20 {
        let load = if clean % 2 == 0 {
            Load::Closed
        } else {
            open(5000.0, Arrivals::Poisson)
        };
        let before = stolen();
        let (trial, _) = run(&Workload {
            load,
            ..apart(Duration::ZERO)
        });
        if stolen() > before {
            disturbed += 1;
            assert!(disturbed < 60, "only {clean} trials were left alone");
            continue;
        }
        assert_eq!(trial.verdict, Verdict::Valid, "{trial:#?}");
        clean += 1;
    }
    println!("{clean} trials VALID, {disturbed} more from which the hypervisor took time");
}

const TWO_SECONDS: &[&str] = &["--warmup", "0s", "-d", "2s"];

/// `loadgen run` in a process of its own, so that it can be disturbed.
fn spawn(server: &Server, arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args([
            "run",
            &server.address.to_string(),
            "--json",
            "--no-save",
            "-c",
            "4",
        ])
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn causes(child: Child) -> Vec<Cause> {
    let output = child.wait_with_output().unwrap();
    let trial: Value = serde_json::from_slice(&output.stdout).unwrap();
    serde_json::from_value(trial["causes"].clone()).unwrap()
}

#[test]
fn a_stop_of_the_generator_is_seen_in_both_loops() {
    for arguments in [TWO_SECONDS, &[TWO_SECONDS, &["--rate", "1000"]].concat()] {
        let server = Server::start(Script::Echo);
        let child = spawn(&server, arguments);
        // The stop is well within the 2 s of the load.
        server.await_asked(4);
        thread::sleep(Duration::from_millis(300));
        let pid = Pid::from_raw(child.id() as i32);
        kill(pid, Signal::SIGSTOP).unwrap();
        thread::sleep(Duration::from_millis(200));
        kill(pid, Signal::SIGCONT).unwrap();
        assert!(
            causes(child).contains(&Cause::GeneratorLate),
            "{arguments:?}"
        );
    }
}

/// A stop of the generator while it waits for the first answers: the response time holds it, unless it ends at the arrival
/// in the kernel.
#[test]
fn a_stop_of_the_generator_is_read_delay() {
    const STOP: Duration = Duration::from_millis(1500);
    for timestamps in ["sampled", "kernel"] {
        // Its answers arrive early in the stop.
        let server = Server::start(Script::Delay(Duration::from_millis(200)));
        let child = spawn(
            &server,
            &[TWO_SECONDS, &["--timestamps", timestamps]].concat(),
        );
        // No request is on its way from the clock to the kernel then: a stop there would be a part of its response.
        server.await_asked(4);
        let pid = Pid::from_raw(child.id() as i32);
        kill(pid, Signal::SIGSTOP).unwrap();
        thread::sleep(STOP);
        kill(pid, Signal::SIGCONT).unwrap();
        let output = child.wait_with_output().unwrap();
        let trial: Trial = serde_json::from_slice(&output.stdout).unwrap();
        let (response, delay) = (trial.response_us.max, trial.read_delay_us.max);
        if timestamps == "kernel" {
            assert!(delay > Some(0.5 * STOP.as_secs_f64() * 1e6), "{trial:#?}");
            assert!(response < delay, "{trial:#?}");
        } else {
            // A histogram has three significant digits.
            assert!(
                response > Some(0.99 * STOP.as_secs_f64() * 1e6),
                "{trial:#?}"
            );
        }
    }
}

/// This many programs run on the generator's core, and each gets as much of it as the generator.
const HOGS: usize = 4;

#[test]
#[ignore = "needs a quiet machine with two cores: make prove"]
fn a_hog_shows_in_the_read_delay_and_not_in_the_kernels_time() {
    // The server answers so long after a request has arrived.
    let service = Duration::from_micros(100);
    let core = cores().1;
    let trial = |timestamps| {
        run(&Workload {
            connections: 1,
            duration: Duration::from_secs(3),
            timestamps,
            ..apart(service)
        })
        .0
    };
    let both = || [Timestamps::User, Timestamps::Kernel].map(&trial);
    let quiet = both();
    let done = AtomicBool::new(false);
    let hogged = thread::scope(|scope| {
        for _ in 0..HOGS {
            scope.spawn(|| {
                supervisor::pin(&[core]).unwrap();
                while !done.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let hogged = both();
        done.store(true, Ordering::Relaxed);
        hogged
    });
    let us = |time: Option<f64>| time.unwrap_or(f64::NAN);
    for (name, trials) in [("quiet", &quiet), ("hogged", &hogged)] {
        for (timestamps, trial) in ["user", "kernel"].iter().zip(trials) {
            let (service, delay) = (trial.service_us, trial.read_delay_us);
            println!(
                "{name}, {timestamps}: service p50 {:.1} p90 {:.1} p99 {:.1} us, read delay p50 {:.1} p99 {:.1} us",
                us(service.p50),
                us(service.p90),
                us(service.p99),
                us(delay.p50),
                us(delay.p99)
            );
        }
    }
    let ([_, quiet_kernel], [hogged_user, hogged_kernel]) = (&quiet, &hogged);
    // Nine requests of ten leave at once, and by the kernel's time their answers take as long as ever.
    assert!(us(quiet_kernel.service_us.p50) < 1.5 * service.as_secs_f64() * 1e6);
    assert!(us(hogged_kernel.service_us.p90) < 1.2 * us(quiet_kernel.service_us.p90));
    // A hog that has the core keeps it for a tick of the scheduler, some milliseconds.
    assert!(us(hogged_kernel.read_delay_us.p99) > 1_000.0);
    assert!(us(hogged_user.service_us.p99) > 1_000.0);
}

#[test]
fn a_stop_for_the_whole_run_is_seen() {
    let server = Server::start(Script::Echo);
    let child = spawn(&server, &["--warmup", "2s", "-d", "100ms"]);
    server.await_asked(4);
    let pid = Pid::from_raw(child.id() as i32);
    kill(pid, Signal::SIGSTOP).unwrap();
    thread::sleep(Duration::from_millis(2200));
    kill(pid, Signal::SIGCONT).unwrap();
    assert!(causes(child).contains(&Cause::GeneratorLate));
}

/// A server that polls uses a whole core whether it has work or not, so its CPU time is no proof that it was the limit.
#[test]
fn a_full_generator_is_said_whatever_the_server_does() {
    let server = Server::start(Script::Echo);
    let workload = workload(server.address);
    let mut recording = engine::trial::run(&workload, &mut Unwatched).unwrap();
    let notes = |recording: &Recording, core_share: f64| {
        let rate = recording.counts.in_time as f64 / workload.duration.as_secs_f64();
        let observed = Observed {
            server: Some(ServerCosts {
                pid: 1,
                cpu_us_per_request: Some(core_share * 1e6 / rate),
                context_switches_per_request: None,
                syscalls_per_request: None,
                pss_kib: None,
                threads: Some(1),
                processes: Some(1),
            }),
            server_cores: 2,
            ..quiet()
        };
        let mut notes = judged(&workload, recording, &observed).notes;
        notes.retain(|note| note.word() == "generator-bound");
        notes
    };
    let span = workload.duration;
    let busy = |share| ThreadTime {
        span,
        cpu: span.mul_f64(share),
        ..ThreadTime::default()
    };
    let bound = |server_busy| [Note::GeneratorBound { server_busy }];
    recording.threads = vec![busy(0.98)];
    assert_eq!(notes(&recording, 0.5), bound(false));
    assert_eq!(notes(&recording, 1.0), bound(true));
    recording.threads = vec![busy(0.9)];
    assert_eq!(notes(&recording, 1.0), []);
}

/// To begin, half a thousand clients each send 60,000 bytes, which takes one turn of the loop far longer than any wait.
/// Other programs may really stop the generator, which only ever adds to it: one of ten trials must be free of stops.
#[test]
fn work_is_no_stop() {
    let undisturbed = (0..10).any(|_| {
        let server = Server::start(Script::Silence);
        let (_, recording) = run(&Workload {
            connections: 500,
            size: 60_000,
            warmup: Duration::ZERO,
            duration: Duration::from_millis(300),
            drain: Duration::ZERO,
            ..workload(server.address)
        });
        println!("{:?}", recording.threads);
        recording.threads[0].stopped.is_zero()
    });
    assert!(undisturbed);
}

#[test]
fn a_hog_on_its_core_is_seen_in_both_loops() {
    // The hogs and the generator share the first core that this process may use. The scheduler lets one that needs
    // less than its fair share run at once, and nothing is late: so the share is small and the load is not.
    let core = loadgen::observe::cores::allowed_cpus()[0];
    for arguments in [TWO_SECONDS, &[TWO_SECONDS, &["--rate", "10000"]].concat()] {
        let server = Server::start(Script::Echo);
        let done = AtomicBool::new(false);
        let causes = thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    supervisor::pin(&[core]).unwrap();
                    while !done.load(Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                });
            }
            let child = spawn(
                &server,
                &[arguments, &["--cpu", &core.to_string()]].concat(),
            );
            let causes = causes(child);
            done.store(true, Ordering::Relaxed);
            causes
        });
        assert!(
            causes.contains(&Cause::GeneratorLate),
            "{arguments:?}: {causes:?}"
        );
    }
}

#[test]
fn a_rate_beyond_its_capacity_is_seen() {
    let server = Server::start(Script::Echo);
    let (trial, _) = run(&Workload {
        load: open(50e6, Arrivals::Constant),
        connections: 1000,
        drain: Duration::ZERO,
        ..workload(server.address)
    });
    assert!(trial.never_sent > 0);
    assert!(
        trial.causes.contains(&Cause::GeneratorSaturated)
            || trial.causes.contains(&Cause::GeneratorLate),
        "{trial:#?}"
    );
}

#[test]
fn what_the_server_does_is_no_fault_of_the_measuring() {
    /// Forgets how the generator itself was disturbed by whatever else runs here.
    fn judge(workload: &Workload) -> Trial {
        let mut recording = engine::trial::run(workload, &mut Unwatched).unwrap();
        recording.threads.clear();
        recording.times.lateness.reset();
        judged(workload, &recording, &quiet())
    }
    for script in [
        Script::Delay(Duration::from_millis(50)),
        Script::ResetAfter(640),
        Script::CloseAfter(640),
    ] {
        for load in [Load::Closed, open(200.0, Arrivals::Poisson)] {
            let server = Server::start(script.clone());
            let trial = judge(&Workload {
                load,
                ..workload(server.address)
            });
            assert_eq!(trial.verdict, Verdict::Valid, "{script:?}: {trial:#?}");
        }
    }
}

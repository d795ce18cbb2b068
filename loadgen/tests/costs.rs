//! The costs of a process tree against what the kernel bills to it.
//!
//! One test alone in its program: the children's bill is that of the whole process. This program is also
//! the server and its children: `serve`, `copy` and `sleep`.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test reads what its servers print"
)]

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command, ExitCode};
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Trial};
use loadgen::observe::costs::Meter;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{SigSet, Signal};
use supervisor::{Launch, Ready, Stopped};

const LONG: Duration = Duration::from_secs(20);
/// Children of the server, each of which copies bytes.
const CHILDREN: usize = 100;
/// A child makes a system call for each byte that it reads and for each that it writes.
const BYTES: usize = 20_000;

fn main() -> ExitCode {
    supervisor::run_helper_if_asked();
    match std::env::args().nth(1).as_deref() {
        Some("serve") => serve(),
        Some("copy") => copy(),
        Some("sleep") => std::thread::sleep(3 * LONG),
        _ => {
            let test = || {
                short_lived_children_are_counted();
                Ok(())
            };
            let test = Trial::test("short_lived_children_are_counted", test);
            return libtest_mimic::run(&Arguments::from_args(), vec![test]).exit_code();
        }
    }
    ExitCode::SUCCESS
}

/// A server that has its children when it is sent SIGUSR1, and then another one that sleeps.
fn serve() {
    let signals: SigSet = [Signal::SIGUSR1, Signal::SIGTERM].into_iter().collect();
    signals.thread_block().unwrap();
    println!("listening on 127.0.0.1:7");
    assert_eq!(signals.wait(), Ok(Signal::SIGUSR1));
    for _ in 0..CHILDREN {
        assert!(child("copy").wait().unwrap().success());
    }
    let mut sleeper = child("sleep");
    eprintln!("done");
    assert_eq!(signals.wait(), Ok(Signal::SIGTERM));
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
}

fn child(role: &str) -> Child {
    Command::new("/proc/self/exe").arg(role).spawn().unwrap()
}

fn copy() {
    let mut from = File::open("/dev/zero").unwrap();
    let mut to = File::create("/dev/null").unwrap();
    let mut byte = [0];
    for _ in 0..BYTES {
        from.read_exact(&mut byte).unwrap();
        to.write_all(&byte).unwrap();
    }
}

/// CPU time (ns) and context switches of the children that this process waited for.
fn billed() -> (u64, u64) {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
    let time = |time: nix::sys::time::TimeVal| {
        u64::try_from(time.tv_sec() * 1_000_000 + time.tv_usec()).unwrap() * 1000
    };
    let switches = usage.voluntary_context_switches() + usage.involuntary_context_switches();
    (
        time(usage.user_time()) + time(usage.system_time()),
        u64::try_from(switches).unwrap(),
    )
}

fn within(measured: f64, expected: f64, margin: f64) {
    assert!(
        (measured / expected - 1.0).abs() < margin,
        "measured {measured}, expected {expected}"
    );
}

fn short_lived_children_are_counted() {
    let program = std::env::current_exe().unwrap();
    let launch = Launch::new(vec![program.into(), "serve".into()]);
    let (cpu_before, switches_before) = billed();
    let held = launch.hold().unwrap();
    let mut meter = Meter::before_exec(held.pid());
    let server = held.release();
    let (server, _) = server.ready(Ready::Line, LONG, &mut || false).unwrap();
    let from = meter.read();
    server.group().signal_leader(Signal::SIGUSR1);
    let deadline = Instant::now() + 3 * LONG;
    while server.stderr().last_line() != "done" {
        assert!(Instant::now() < deadline, "{}", server.stderr().text());
        std::thread::sleep(Duration::from_millis(5));
    }
    let to = meter.read();
    let footprint = meter.footprint();
    let per_child = meter
        .spent(&from, &to, footprint)
        .per_request(CHILDREN as u64);
    assert_eq!(per_child.processes, Some(2), "the server and its sleeper");
    assert_eq!(per_child.threads, Some(2));
    assert!(per_child.pss_kib.is_some_and(|kib| kib > 100));

    assert_eq!(server.stop(LONG, &mut || false), Stopped::Gracefully);
    let (cpu_after, switches_after) = billed();
    let each = |before: u64, after: u64| (after - before) as f64 / CHILDREN as f64;
    // The bill has the start of the server and its sleeper too, which are a few milliseconds.
    let billed_us = each(cpu_before, cpu_after) / 1e3;
    within(per_child.cpu_us_per_request.unwrap(), billed_us, 0.05);
    if let Some(switches) = per_child.context_switches_per_request {
        // The last switch of each child, away from what has ended, is billed and not counted.
        within(switches + 1.0, each(switches_before, switches_after), 0.1);
    }
    if let Some(syscalls) = per_child.syscalls_per_request {
        within(syscalls, 2.0 * BYTES as f64, 0.05);
    }
}

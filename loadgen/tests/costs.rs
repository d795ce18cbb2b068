//! The costs of a process tree against what the kernel bills to it.
//!
//! A test binary of its own with one test: the children's bill is that of the whole process.

use std::path::PathBuf;
use std::time::Duration;

use loadgen::observe::costs::Meter;
use loadgen::process::{Launch, Ready, Server, Stopped};
use nix::sys::resource::{UsageWho, getrusage};

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

#[test]
fn short_lived_children_are_counted() {
    // Each child makes a system call for each byte that it reads and for each that it writes.
    let text = "echo listening on 127.0.0.1:7; trap 'exit 0' TERM
        i=0; while [ $i -lt 100 ]; do dd if=/dev/zero of=/dev/null bs=1 count=5000 status=none; i=$((i+1)); done
        while :; do sleep 60 & wait; done";
    let launch = Launch {
        launcher: PathBuf::from(env!("CARGO_BIN_EXE_loadgen")),
        command: ["sh", "-c", text].map(Into::into).into(),
        cpus: Vec::new(),
        descriptors: None,
        ready: Ready::Line,
        timeout: Duration::from_secs(20),
    };
    let (cpu_before, switches_before) = billed();
    let mut server = Server::start(&launch, &mut || false).unwrap();
    let from = server.meter().read();
    // The children are done when the shell has only a sleeper.
    let pid = server.pid();
    let quiet = || {
        let mut meter = Meter::attach(pid).unwrap();
        let before = meter.read();
        std::thread::sleep(Duration::from_millis(200));
        meter.read().cpu_since(&before) == Some(0)
    };
    while !quiet() {}
    let to = server.meter().read();
    let footprint = server.meter().footprint();
    let costs = server.meter().costs(&from, &to, footprint, 100);
    assert_eq!(costs.processes, Some(2), "the shell and its sleeper");
    assert_eq!(costs.threads, Some(2));
    assert!(costs.pss_kib.is_some_and(|kib| kib > 100));

    assert_eq!(server.stop(Duration::from_secs(20)), Stopped::Gracefully);
    let (cpu_after, switches_after) = billed();
    // The bill has the launcher and the start of the shell too, which are a few milliseconds.
    let billed_us = (cpu_after - cpu_before) as f64 / 1e3 / 100.0;
    within(costs.cpu_us_per_request.unwrap(), billed_us, 0.05);
    if let Some(switches) = costs.context_switches_per_request {
        // The last switch of each child, away from what has ended, is billed and not counted.
        within(
            switches + 1.0,
            (switches_after - switches_before) as f64 / 100.0,
            0.1,
        );
    }
    if let Some(syscalls) = costs.syscalls_per_request {
        within(syscalls, 10_000.0, 0.05);
    }
}

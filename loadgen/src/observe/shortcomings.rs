//! What a machine lacks for a bench.

use nix::sys::resource::{Resource, getrlimit};

use super::cores::allowed_cpus;
use super::costs::Meter;

/// Descriptors that the generator needs beside its connections.
const SPARE_DESCRIPTORS: u64 = 64;

/// Why this process cannot have this many clients; `None`: it can.
pub fn too_few_descriptors(clients: usize) -> Option<String> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    let needed = clients as u64 + SPARE_DESCRIPTORS;
    (hard < needed).then(|| {
        format!(
            "the generator needs {needed} descriptors and the hard limit is {hard}: raise it (ulimit -Hn)"
        )
    })
}

/// What this machine lacks for a bench with this many clients, and what each lack costs.
pub fn shortcomings(clients: usize) -> Vec<String> {
    let mut lacks = Vec::new();
    let cpus = allowed_cpus().len();
    if cpus < 2 {
        lacks.push(
            "one core: the server and the generator share it, so latencies include the work of both"
                .to_owned(),
        );
    }
    // The generator and the server each need a descriptor for each connection, and some more.
    let needed = clients as u64 + 100;
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && hard < needed
    {
        lacks.push(format!(
            "descriptors: the hard limit is {hard} and {needed} are needed (raise it: ulimit -Hn)"
        ));
    }
    let number = |path: &str| {
        std::fs::read_to_string(path)
            .ok()?
            .trim()
            .parse::<i64>()
            .ok()
    };
    if let Some(somaxconn) = number("/proc/sys/net/core/somaxconn")
        && somaxconn < 1024
    {
        lacks.push(format!(
            "net.core.somaxconn is {somaxconn}: bursts of new clients overflow the backlog and wait a second for a retry"
        ));
    }
    if number("/proc/sys/kernel/io_uring_disabled").is_some_and(|disabled| disabled != 0) {
        lacks.push(
            "io_uring is disabled (kernel.io_uring_disabled): its servers have no rows".to_owned(),
        );
    }
    match Meter::attach(std::process::id()) {
        Ok(meter) => lacks.extend(
            meter
                .note()
                .map(|note| format!("costs are not exact: {note}")),
        ),
        Err(error) => lacks.push(format!("costs cannot be read: {error}")),
    }
    lacks
}

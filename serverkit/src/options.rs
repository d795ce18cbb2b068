//! The flags that every server has.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use bytesize::ByteSize;
use clap::ArgAction;

use crate::mode::Mode;
use crate::stats::MAX_WORKERS;

/// The flags that every server has.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Address to listen on; port 0 lets the kernel choose, `[::1]:7000` is IPv6
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7000", value_parser = address)]
    pub listen: SocketAddr,

    /// What is answered
    #[arg(long, value_enum, default_value_t = Mode::Echo)]
    pub mode: Mode,

    /// Clients served at once; others wait in the backlog [default: what the descriptors allow]
    #[arg(long, value_name = "N", value_parser = positive)]
    pub max_connections: Option<usize>,

    /// Buffer of one connection, such as 16KiB; http uses at least 8KiB
    #[arg(long, value_name = "BYTES", default_value = "16KiB", value_parser = bytes)]
    pub buffer_size: usize,

    /// Connections the kernel keeps waiting for accept (it caps this at net.core.somaxconn)
    #[arg(long, value_name = "N", default_value = "4096", value_parser = clap::value_parser!(i32).range(1..))]
    pub backlog: i32,

    /// CPU time burnt for each request, such as 50us
    #[arg(long, value_name = "DURATION", default_value = "0", value_parser = duration)]
    pub work: Duration,

    /// Close a connection on which nothing moved for so long; 0: never
    #[arg(long, value_name = "DURATION", default_value = "0", value_parser = duration)]
    pub idle_timeout: Duration,

    /// Ask a peer that is silent for so long whether it is still there; after five times that without
    /// an answer it is gone (whole seconds; 0: never ask)
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = keepalive)]
    pub keepalive: Duration,

    /// After SIGTERM or SIGINT, time to answer what has arrived
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    pub grace: Duration,

    /// Pin to these cores, such as 0 or 0,2-3
    #[arg(long, value_name = "LIST", value_parser = cpu_list)]
    pub cpu: Option<CpuList>,

    /// Tell on stderr each wait, what was ready and what was done about it
    #[arg(long, action = ArgAction::SetTrue)]
    pub trace: bool,

    /// Print the counters as one JSON line on stdout at exit
    #[arg(long, action = ArgAction::SetTrue)]
    pub stats: bool,

    /// Print what this server is as JSON, and exit
    #[arg(long, action = ArgAction::SetTrue)]
    pub describe: bool,
}

/// Cores by number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CpuList(pub Vec<usize>);

fn address(text: &str) -> Result<SocketAddr, String> {
    text.to_socket_addrs()
        .ok()
        .and_then(|mut addresses| addresses.next())
        .ok_or_else(|| "expected HOST:PORT, such as 127.0.0.1:7000 or [::1]:7000".to_owned())
}

/// A whole number from 1 upwards.
pub fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n) if n > 0 => Ok(n),
        _ => Err("expected a whole number from 1 upwards".to_owned()),
    }
}

/// The cores that this process may use: what `--cpu` left, or all.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// A number of workers: each has a counter of its own, of which there are [`MAX_WORKERS`].
pub fn workers(text: &str) -> Result<usize, String> {
    positive(text)
        .ok()
        .filter(|&n| n <= MAX_WORKERS)
        .ok_or_else(|| format!("expected a whole number from 1 to {MAX_WORKERS}"))
}

fn bytes(text: &str) -> Result<usize, String> {
    match text.parse::<ByteSize>() {
        Ok(ByteSize(n)) if (1..=1 << 30).contains(&n) => Ok(n as usize),
        _ => Err("expected a size from 1 to 1GiB, such as 16KiB or 4096".to_owned()),
    }
}

/// A length of time such as `50us`; a bare 0 needs no unit.
pub fn duration(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let time = humantime::parse_duration(text)
        .map_err(|_| "expected a number with a unit, such as 50us, 100ms or 5s")?;
    // The clock cannot hold every point of time that can be written down.
    if time.as_secs() > 100 * 366 * 24 * 60 * 60 {
        return Err("expected at most 100 years".to_owned());
    }
    Ok(time)
}

/// The kernel counts keepalive in whole seconds, up to 32,767.
fn keepalive(text: &str) -> Result<Duration, String> {
    let time = duration(text)?;
    if time.subsec_nanos() == 0 && time.as_secs() <= 32_767 {
        Ok(time)
    } else {
        Err("expected whole seconds, such as 30s or 2m, up to 9h, or 0".to_owned())
    }
}

fn cpu_list(text: &str) -> Result<CpuList, String> {
    let wrong = || "expected cores by number, such as 0 or 0,2-3".to_owned();
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let first: usize = first.trim().parse().map_err(|_| wrong())?;
        let last: usize = last.trim().parse().map_err(|_| wrong())?;
        if first > last || last >= nix::sched::CpuSet::count() {
            return Err(wrong());
        }
        cpus.extend(first..=last);
    }
    Ok(CpuList(cpus))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn core_lists() {
        assert_eq!(cpu_list("0"), Ok(CpuList(vec![0])));
        assert_eq!(cpu_list("0,2-4"), Ok(CpuList(vec![0, 2, 3, 4])));
        for wrong in ["", "a", "3-1", "0,", "99999"] {
            assert!(cpu_list(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn numbers_of_workers() {
        assert_eq!(workers("4096"), Ok(MAX_WORKERS));
        for wrong in ["0", "4097", "-1", "two"] {
            assert!(workers(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn sizes_and_durations() {
        assert_eq!(bytes("16KiB"), Ok(16 * 1024));
        assert!(bytes("0").is_err());
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        assert_eq!(duration("50us"), Ok(Duration::from_micros(50)));
        assert!(duration("5").is_err());
        assert!(duration("300000000000years").is_err());
    }
}

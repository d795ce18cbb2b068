//! The flags that every server has.

use std::net::{SocketAddr, ToSocketAddrs};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use nix::sched::CpuSet;

use crate::demand::Demand;
use crate::mode::Mode;
use crate::stats::MAX_WORKERS;

/// The flags that every server has.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Address to listen on; port 0 lets the kernel choose, `[::1]:7000` is IPv6; fd:3 is a listening
    /// socket that was inherited [default: the socket that systemd passes, or else 127.0.0.1:7000]
    #[arg(long, value_name = "ADDR", value_parser = listen)]
    pub listen: Option<Listen>,

    /// How requests are answered
    #[arg(long, value_enum, default_value_t = Mode::Echo)]
    pub mode: Mode,

    /// Clients served at once; others wait in the backlog [default: what the descriptors allow]
    #[arg(long, value_name = "N", value_parser = connections)]
    pub max_connections: Option<usize>,

    /// Largest buffer of one connection: it starts small, grows when a read fills it, and is given
    /// back when the client is silent; http uses at least 8KiB
    #[arg(long, value_name = "BYTES", default_value = "64KiB", value_parser = bytes)]
    pub buffer_size: usize,

    /// Connections that may wait for accept (the kernel allows at most net.core.somaxconn) [default: 4096,
    /// or what an inherited socket has]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    pub backlog: Option<i32>,

    /// CPU time burnt for each request, in echo for each read: 50us, exp:50us (exponential
    /// distribution) or 10ms@1% (for 1 % of the requests)
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = demand)]
    pub work: Demand,

    /// Sleep for each request, as a disk or a database would make it wait; same format as --work
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = demand)]
    pub block: Demand,

    /// Close a connection on which no byte has moved for this time; 0: never
    #[arg(long, value_name = "DURATION", default_value = "0", value_parser = duration)]
    pub idle_timeout: Duration,

    /// Ask a peer that is silent for this time whether it is still there, and close after five such
    /// times without an answer (whole seconds; 0: never ask)
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = keepalive)]
    pub keepalive: Duration,

    /// After SIGTERM or SIGINT answer clients for this time at most
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    pub grace: Duration,

    /// Pin to these cores, such as 0 or 0,2-3
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = core_range)]
    pub cpu: Vec<RangeInclusive<usize>>,

    /// Print on stderr each wait, what was ready and what was done about it
    #[arg(long)]
    pub trace: bool,

    /// Write what --trace prints to a file, as JSON lines
    #[arg(long, value_name = "FILE")]
    pub trace_to: Option<PathBuf>,

    /// Print the counters as one JSON line on stdout at exit
    #[arg(long)]
    pub stats: bool,

    /// Describe this server as JSON, and exit
    #[arg(long)]
    pub describe: bool,
}

/// Where clients come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listen {
    /// A socket of the server's own, bound to this address.
    Address(SocketAddr),
    /// A listening socket that was inherited, by its descriptor.
    Descriptor(u16),
}

fn listen(text: &str) -> Result<Listen, String> {
    if let Some(number) = text.strip_prefix("fd:") {
        let number = number.parse().map(Listen::Descriptor);
        return number.map_err(|_| "expected a descriptor by number, such as fd:3".to_owned());
    }
    text.to_socket_addrs()
        .ok()
        .and_then(|mut addresses| addresses.next())
        .map(Listen::Address)
        .ok_or_else(|| {
            "expected HOST:PORT, such as 127.0.0.1:7000 or [::1]:7000, or fd:3".to_owned()
        })
}

fn count(text: &str, most: usize) -> Result<usize, String> {
    let number = text.parse().ok().filter(|n| (1..=most).contains(n));
    number.ok_or_else(|| format!("expected a whole number from 1 to {most}"))
}

fn connections(text: &str) -> Result<usize, String> {
    count(text, i32::MAX as usize)
}

/// A number of workers: each has a counter of its own, of which there are [`MAX_WORKERS`].
pub fn workers(text: &str) -> Result<usize, String> {
    count(text, MAX_WORKERS)
}

/// The cores that this process may use: what `--cpu` left, or all.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

fn bytes(text: &str) -> Result<usize, String> {
    match text.parse::<ByteSize>() {
        Ok(ByteSize(n)) if (1..=1 << 30).contains(&n) => Ok(n as usize),
        _ => Err("expected a size from 1 to 1GiB, such as 16KiB or 4096".to_owned()),
    }
}

/// A length of time such as `50us`; a bare 0 needs no unit. It has a limit, because an instant in the far future
/// does not fit in the clock.
pub fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(time) if time.as_secs() <= 100 * 366 * 24 * 60 * 60 => Ok(time),
        Ok(_) => Err("expected at most 100 years".to_owned()),
        Err(_) => Err("expected a number with a unit, such as 50us, 100ms or 5s".to_owned()),
    }
}

/// What requests demand: `50us`, `exp:50us`, `10ms@1%` or `exp:10ms@1%`.
pub fn demand(text: &str) -> Result<Demand, String> {
    let (time, share) = match text.split_once('@') {
        Some((time, share)) => (time, percent(share)?),
        None => (text, 1.0),
    };
    let exponential = time.strip_prefix("exp:");
    let mean = duration(exponential.unwrap_or(time)).map_err(|error| {
        format!("{error}; or exp:50us for an exponential distribution, 10ms@1% for a share")
    })?;
    Ok(Demand {
        mean,
        is_exponential: exponential.is_some(),
        share,
    })
}

/// A share, above 0 and up to 1.
fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').and_then(|n| n.trim().parse().ok());
    let right = number.filter(|percent: &f64| *percent > 0.0 && *percent <= 100.0);
    right
        .map(|percent| percent / 100.0)
        .ok_or_else(|| "expected a share above 0% and up to 100% after @, such as 10ms@1%".into())
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

/// A core, or several in a row.
fn core_range(text: &str) -> Result<RangeInclusive<usize>, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.trim().parse(), last.trim().parse()) {
        (Ok(first), Ok(last)) if first <= last && last < CpuSet::count() => Ok(first..=last),
        _ => Err("expected cores by number, such as 0 or 0,2-3".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        options: Options,
    }

    #[test]
    fn lists_of_cores() {
        let cores = |list: &str| -> Vec<usize> {
            let cli = Cli::parse_from(["server", "--cpu", list]);
            cli.options.cpu.into_iter().flatten().collect()
        };
        assert_eq!(cores("0"), [0]);
        assert_eq!(cores("0-0,0"), [0, 0]);
        assert_eq!(core_range(" 2 - 4"), Ok(2..=4));
        for wrong in ["", "a", "3-1", "99999"] {
            assert!(core_range(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn places_to_listen() {
        let address = SocketAddr::from(([127, 0, 0, 1], 80));
        assert_eq!(listen("127.0.0.1:80"), Ok(Listen::Address(address)));
        assert_eq!(listen("fd:3"), Ok(Listen::Descriptor(3)));
        for wrong in ["", "80", "fd:", "fd:-1", "fd:x", "fd:99999"] {
            assert!(listen(wrong).is_err(), "{wrong:?}");
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

    #[test]
    fn demands() {
        let of = |text| {
            let Demand {
                mean,
                is_exponential,
                share,
            } = demand(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            (mean.as_micros(), is_exponential, share * 100.0)
        };
        assert_eq!(of("0"), (0, false, 100.0));
        assert_eq!(of("50us"), (50, false, 100.0));
        assert_eq!(of("exp:50us"), (50, true, 100.0));
        assert_eq!(of("10ms@1%"), (10_000, false, 1.0));
        assert_eq!(of("exp:10ms@25%"), (10_000, true, 25.0));
    }

    #[test]
    fn nonsense_in_place_of_a_demand() {
        for wrong in [
            "",
            "5",
            "exp:",
            "exp",
            "exp:0x",
            "50us@",
            "50us@1",
            "50us@0%",
            "50us@101%",
            "50us@-1%",
            "50us@NaN%",
            "@1%",
            "norm:50us",
            "50us@1%@1%",
            "exp:exp:50us",
            "-1ms",
        ] {
            assert!(demand(wrong).is_err(), "{wrong:?}");
        }
    }
}

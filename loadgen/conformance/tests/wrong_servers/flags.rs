//! The command line of the server.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use clap::Parser;
use serde_json::json;
use supervisor::Mode;

use crate::fault::Fault;

/// The flags of the server contract, and the fault.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Flags {
    #[arg(long)]
    pub fault: Option<Fault>,
    #[arg(long, default_value = "127.0.0.1:7000")]
    pub listen: SocketAddr,
    #[arg(long, default_value = "echo")]
    pub mode: Mode,
    #[arg(long, default_value = "10000", value_parser = positive)]
    pub max_connections: usize,
    #[arg(long, default_value = "16KiB", value_parser = size)]
    pub buffer_size: usize,
    #[arg(long, default_value = "4096", value_parser = positive)]
    pub backlog: usize,
    /// Slept for each request, in place of work.
    #[arg(long, default_value = "0s", value_parser = humantime::parse_duration)]
    pub work: Duration,
    #[arg(long, default_value = "0s", value_parser = humantime::parse_duration)]
    pub block: Duration,
    #[arg(long, default_value = "0s", value_parser = humantime::parse_duration)]
    pub idle_timeout: Duration,
    #[arg(long, default_value = "5s", value_parser = humantime::parse_duration)]
    pub grace: Duration,
    /// Taken and of no effect.
    #[arg(long)]
    pub cpu: Option<String>,
    #[arg(long)]
    pub trace: bool,
    #[arg(long)]
    pub trace_to: Option<PathBuf>,
    #[arg(long)]
    pub stats: bool,
    #[arg(long)]
    pub describe: bool,
}

fn positive(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|&n| n > 0)
        .ok_or_else(|| "not a number above 0".into())
}

fn size(text: &str) -> Result<usize, String> {
    let ByteSize(size) = text.parse()?;
    positive(&size.to_string())
}

/// What `--describe` prints.
pub fn description(fault: Option<Fault>) -> serde_json::Value {
    let mut flags = vec![
        "--listen",
        "--mode",
        "--max-connections",
        "--buffer-size",
        "--backlog",
        "--work",
        "--block",
        "--idle-timeout",
        "--grace",
        "--cpu",
        "--trace",
        "--stats",
        "--describe",
    ];
    if fault != Some(Fault::HidesAFlag) {
        flags.push("--trace-to");
    }
    json!({
        "name": "wrong", "family": "readiness", "summary": "wrong on demand",
        "flags": flags,
        "limits": {"clients": null, "why": null},
    })
}

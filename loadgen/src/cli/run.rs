//! `loadgen run`: loads one server, prints its table, writes its histograms.

use std::fmt::Display;
use std::io::{ErrorKind, IsTerminal};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use bytesize::ByteSize;
use clap::Args;
use nix::sched::CpuSet;
use socket2::SockAddr;

use crate::engine::{self, Interrupted, Observer, Phase, Second};
use crate::measure::interrupt::{self, Interrupt};
use crate::observe::costs::Meter;
use crate::observe::keep_awake::KeepAwake;
use crate::observe::machine::allowed_cpus;
use crate::observe::watch::Watch;
use crate::recording::record::Recording;
use crate::report::table::{self, Style};
use crate::results::trial::{self, Cause, Trial, Verdict};
use crate::workload::load::{
    Arrivals, DEFAULT_SIZE, HIGHEST_RATE, HttpRequest, LONGEST, Load, MOST_IN_FLIGHT, Mode,
    Neighbours, Shard, Target, Workload,
};

/// The exit code when a trial was INVALID.
const EXIT_INVALID: u8 = 3;
/// Descriptors that are not connections: standard streams, epoll, timers, counters, results.
const OTHER_DESCRIPTORS: usize = 64;

/// No process has more descriptors than this unless `fs.nr_open` was raised.
const MOST_CONNECTIONS: usize = 1 << 20;

/// A command line whose parts do not fit together.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// The flags of a load that do not say how fast it is.
#[derive(Debug, Args)]
pub(crate) struct LoadArgs {
    /// The server: host:port, [v6]:port or unix:PATH
    #[arg(value_name = "ADDR", value_parser = parse_address)]
    address: Address,

    /// Connections
    #[arg(short, long, value_name = "N", default_value_t = 100, value_parser = some_connections)]
    connections: usize,

    /// Requests in flight on each connection, at most
    #[arg(short, long, value_name = "D", default_value_t = 1, value_parser = at_least_one)]
    pipeline: usize,

    /// The measured time
    #[arg(short, long, value_name = "TIME", default_value = "5s", value_parser = parse_positive_duration)]
    duration: Duration,

    /// Load before the measured time, not recorded
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_duration)]
    warmup: Duration,

    /// How long answers are awaited after the measured time
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_duration)]
    drain: Duration,

    /// The protocol
    #[arg(short, long, default_value = "echo")]
    mode: Mode,

    /// Bytes of an echo message, such as 64 or 100kB [default: 64]
    #[arg(short, long, value_name = "BYTES", value_parser = parse_size)]
    size: Option<usize>,

    /// Generator threads
    #[arg(short, long, value_name = "N", default_value_t = 1, value_parser = at_least_one)]
    threads: usize,

    /// Cores of the generator threads in turn, such as 1 or 0,2-3
    #[arg(long, value_name = "LIST", value_parser = parse_cpus)]
    cpu: Option<CpuList>,

    /// The server's process: shows what its whole process tree spends
    #[arg(long, value_name = "PID")]
    server_pid: Option<u32>,

    /// Of the schedule and the payloads; each trial has the next one
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// Source addresses of 127.0.0.0/8 to spread the connections over [default: as many as needed]
    #[arg(long, value_name = "N", value_parser = parse_sources)]
    source_addresses: Option<usize>,

    /// Keep the cores from going to sleep, which costs time on a virtual machine; only beside a
    /// server of the same session or control group, where the spinners yield to it at once
    #[arg(long)]
    keep_awake: bool,

    #[command(flatten)]
    http: HttpArgs,

    #[command(flatten)]
    neighbours: NeighbourArgs,
}

/// The flags of `loadgen run`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  loadgen run 127.0.0.1:7000                          100 busy connections
  loadgen run 127.0.0.1:7000 -r 20000 -c 50 -d 10s    open loop, 20,000 a second
  loadgen run localhost:8080 --mode http --path /index.html
  loadgen run unix:/run/echo.sock --server-pid 4711 --json --no-save

Exit codes: 0 done, 1 no answer at all, 2 bad usage, 3 a trial was INVALID, 130 interrupted.")]
pub struct RunArgs {
    /// Requests a second (open loop); without it the next request waits for an answer (closed loop)
    #[arg(short, long, value_name = "R", value_parser = parse_rate)]
    rate: Option<f64>,

    /// How the open loop spaces its requests
    #[arg(long, value_name = "HOW", default_value = "poisson", requires = "rate")]
    arrivals: Arrivals,

    /// Trials, one after the other
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = at_least_one)]
    trials: usize,

    /// Busy-wait the last stretch before a request is due
    #[arg(long, requires = "rate")]
    spin: bool,

    /// Print a JSON object for each trial instead of a table
    #[arg(long)]
    json: bool,

    /// Where the results are written [default: results/<UTC time>]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Write no results
    #[arg(long, conflicts_with = "out")]
    no_save: bool,

    /// When the warm-up begins: RFC 3339 or seconds since 1970, for generators that start together
    #[arg(long, value_name = "TIME", value_parser = parse_instant)]
    start_at: Option<SystemTime>,

    /// This generator's part of a load that N generators share: 1/N to N/N
    #[arg(long, value_name = "I/N", default_value = "1/1", value_parser = parse_shard)]
    shard: Shard,

    #[command(flatten)]
    load: LoadArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "HTTP (--mode http)")]
struct HttpArgs {
    /// What is asked for
    #[arg(long, value_name = "PATH", default_value = "/", value_parser = parse_path)]
    path: String,

    /// A further header field; may be repeated
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = parse_header)]
    headers: Vec<String>,

    /// A connection for each request
    #[arg(long)]
    no_keep_alive: bool,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Neighbours: clients beside the measured ones")]
struct NeighbourArgs {
    /// Connections that never say anything
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = connections)]
    idle: usize,

    /// Connections that have much to receive and take it byte by byte
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = connections)]
    slow_readers: usize,

    /// Connections that send a part of a request and stop
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = connections)]
    half_senders: usize,

    /// Connections that send without reading
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = connections)]
    floods: usize,

    /// Connections made and closed a second
    #[arg(long, value_name = "R", default_value_t = 0.0, value_parser = parse_churn)]
    churn: f64,
}

impl LoadArgs {
    /// The measured time of a trial.
    pub(crate) fn duration(&self) -> Duration {
        self.duration
    }

    /// These orders, for a generator that has this part of them.
    pub(crate) fn workload(&self, load: Load, shard: Shard) -> Result<Workload, Usage> {
        let connections = (self.connections + shard.of - 1 - shard.index) / shard.of;
        if connections == 0 {
            return Err(Usage(format!(
                "{} connections cannot be shared by {} generators",
                self.connections, shard.of
            )));
        }
        let Address { target, host } = &self.address;
        let loopback = matches!(target, Target::Tcp(SocketAddr::V4(a)) if a.ip().is_loopback());
        let cpus = self.cpu.clone().unwrap_or_default().0;
        let allowed = allowed_cpus();
        if let Some(unknown) = cpus.iter().find(|cpu| !allowed.contains(cpu)) {
            return Err(Usage(format!(
                "--cpu: core {unknown} is not among those that may be used here: {allowed:?}"
            )));
        }
        if connections.saturating_mul(self.pipeline) > MOST_IN_FLIGHT {
            return Err(Usage(format!(
                "--connections times --pipeline: at most {MOST_IN_FLIGHT} requests can be in flight"
            )));
        }
        if self.source_addresses.is_some() && !loopback {
            return Err(Usage(
                "--source-addresses needs a server on 127.0.0.0/8".into(),
            ));
        }
        let http = &self.http;
        if self.mode != Mode::Http
            && (http.path != "/" || !http.headers.is_empty() || http.no_keep_alive)
        {
            return Err(Usage(
                "--path, --header and --no-keep-alive need --mode http".into(),
            ));
        }
        if self.mode != Mode::Echo && self.size.is_some() {
            return Err(Usage("--size needs --mode echo".into()));
        }
        if self.mode == Mode::Once && self.pipeline > 1 {
            return Err(Usage(
                "--pipeline: with --mode once each request has its own connection".into(),
            ));
        }
        if self.mode == Mode::Once && self.neighbours.half_senders > 0 {
            return Err(Usage(
                "--half-senders: with --mode once any byte is a whole request".into(),
            ));
        }
        if self.http.no_keep_alive && self.pipeline > 1 {
            return Err(Usage(
                "--pipeline and --no-keep-alive exclude each other".into(),
            ));
        }
        Ok(Workload {
            target: target.clone(),
            mode: self.mode,
            load,
            connections,
            pipeline: self.pipeline,
            size: self.size.unwrap_or(DEFAULT_SIZE),
            warmup: self.warmup,
            duration: self.duration,
            drain: self.drain,
            threads: self.threads,
            cpus,
            source_addresses: self.source_addresses.unwrap_or_default(),
            spin: false,
            seed: self.seed,
            neighbours: Neighbours {
                idle: self.neighbours.idle,
                slow_readers: self.neighbours.slow_readers,
                half_senders: self.neighbours.half_senders,
                floods: self.neighbours.floods,
                churn: self.neighbours.churn,
            },
            http: HttpRequest {
                host: host.clone(),
                path: self.http.path.clone(),
                headers: self.http.headers.clone(),
                keep_alive: !self.http.no_keep_alive,
            },
            start_at: None,
            shard,
        })
    }
}

/// What the trials of a command share.
pub(crate) struct Setup {
    interrupt: Interrupt,
    keep_awake: KeepAwake,
    meter: Option<Meter>,
}

impl Setup {
    /// Gets ready for trials with these orders; says on standard error what this machine lacks.
    pub(crate) fn new(args: &LoadArgs, workload: &Workload) -> anyhow::Result<Self> {
        let interrupt = Interrupt::new()?;
        let limit = engine::raise_descriptor_limit()?;
        let needed = workload.connections + workload.neighbours.connections();
        if needed + OTHER_DESCRIPTORS > limit {
            eprintln!(
                "loadgen: {needed} connections may not fit in the limit of {limit} descriptors: \
                 raise it (ulimit -Hn, or LimitNOFILE of the service)"
            );
        }
        let keep_awake = KeepAwake::on(&if args.keep_awake {
            allowed_cpus()
        } else {
            Vec::new()
        });
        let attach =
            |pid| Meter::attach(pid).with_context(|| format!("cannot watch process {pid}"));
        let meter = args.server_pid.map(attach).transpose()?;
        Ok(Self {
            interrupt,
            keep_awake,
            meter,
        })
    }

    /// Runs a trial, and tells of each second of it where that is asked for.
    ///
    /// # Errors
    /// [`Interrupted`] when the user ended it, and those of [`engine::run`].
    pub(crate) fn trial(
        &mut self,
        workload: &Workload,
        progress: bool,
    ) -> anyhow::Result<(Trial, Recording)> {
        let mut observer = RunObserver {
            watch: Watch::new(&self.keep_awake, self.meter.as_mut()),
            interrupt: &mut self.interrupt,
            progress,
        };
        let recording = engine::run(workload, &mut observer)?;
        let (server, machine) = observer.watch.result(recording.counts.in_time);
        let mut trial = Trial::new(workload, &recording, server, machine);
        let note = self.meter.as_ref().and_then(Meter::note);
        trial
            .notes
            .extend(note.map(|note| format!("costs: {note}")));
        Ok((trial, recording))
    }
}

impl RunArgs {
    fn workload(&self) -> Result<Workload, Usage> {
        if self.start_at.is_some() && self.trials > 1 {
            return Err(Usage("--start-at is the start of one trial".into()));
        }
        let load = match self.rate {
            None => Load::Closed,
            Some(rate) => Load::Open {
                rate,
                arrivals: self.arrivals,
            },
        };
        Ok(Workload {
            spin: self.spin,
            start_at: self.start_at,
            ..self.load.workload(load, self.shard)?
        })
    }

    /// Runs the trials, shows and writes each when it ends.
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        let mut workload = self.workload()?;
        let mut setup = Setup::new(&self.load, &workload)?;
        let out = self.results()?;
        let style = Style::of_stdout();
        let mut answered = false;
        let mut why_not = String::new();
        let mut invalid = false;
        for n in 1..=self.trials {
            let (trial, recording) = match setup.trial(&workload, std::io::stderr().is_terminal()) {
                Ok(measured) => measured,
                Err(error) => {
                    // Of a directory with nothing in it nobody has any use.
                    let _ = out.as_ref().map(std::fs::remove_dir);
                    if error.is::<Interrupted>() {
                        return Ok(ExitCode::from(interrupt::EXIT_CODE));
                    }
                    return Err(error);
                }
            };
            if self.json {
                Style::Plain.print(&serde_json::to_string(&trial)?)?;
            } else {
                if self.trials > 1 {
                    style.print(&format!("trial {n} of {}", self.trials))?;
                }
                style.print(&format!("{}\n", table::for_trial(&trial, style)))?;
            }
            if let Some(dir) = &out {
                trial::write(dir, n, &trial, &recording)?;
            }
            answered |= trial.answered > 0 || trial.rate > 0.0;
            why_not = nothing_answered(&workload, &trial);
            invalid |= trial.verdict == Verdict::Invalid;
            workload.seed = workload.seed.wrapping_add(1);
        }
        if let Some(dir) = &out {
            eprintln!("histograms in {}", dir.display());
        }
        if !answered {
            anyhow::bail!(why_not);
        }
        Ok(if invalid {
            ExitCode::from(EXIT_INVALID)
        } else {
            ExitCode::SUCCESS
        })
    }
}

impl RunArgs {
    /// The directory of the trials, made and tried: what cannot be kept need not be measured.
    fn results(&self) -> anyhow::Result<Option<PathBuf>> {
        let dir = match &self.out {
            _ if self.no_save => return Ok(None),
            Some(dir) => {
                if dir.join("trial-1.json").exists() {
                    return Err(Usage(format!(
                        "{} holds trials already: choose another --out",
                        dir.display()
                    ))
                    .into());
                }
                std::fs::create_dir_all(dir).map(|()| dir.clone())
            }
            None => new_directory(Path::new("results")),
        };
        let tried = dir.and_then(|dir| tempfile::tempfile_in(&dir).map(|_| dir));
        tried.map(Some).context(
            "cannot write the results: --out DIR chooses another place, --no-save writes none",
        )
    }
}

/// Makes a directory in `top` with a name of its own: others may begin in the same second.
fn new_directory(top: &Path) -> std::io::Result<PathBuf> {
    std::fs::create_dir_all(top)?;
    let time = directory_name(SystemTime::now());
    let mut dir = top.join(&time);
    for n in 2.. {
        match std::fs::create_dir(&dir) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                dir = top.join(format!("{time}-{n}"));
            }
            result => return result.map(|()| dir),
        }
    }
    unreachable!("there are enough numbers")
}

/// Why a trial has no answer.
fn nothing_answered(workload: &Workload, trial: &Trial) -> String {
    let target = &workload.target;
    if trial.scheduled == 0 && workload.load != Load::Closed {
        return "no request became due in the measured time: choose a longer --duration or a higher --rate"
            .to_owned();
    }
    if trial.connect_us.count == 0 && trial.causes.contains(&Cause::ConnectionsMissing) {
        return format!(
            "not one connection to {target} could be made: {}",
            trial.notes.join("; ")
        );
    }
    if trial.errors.is_empty() {
        return format!("{target} answered nothing");
    }
    format!(
        "{target} answered nothing right: {}",
        table::errors(&trial.errors)
    )
}

/// The name of a run's directory: its time, in a form that every file system takes.
pub fn directory_name(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time)
        .to_string()
        .replace(':', "-")
}

struct RunObserver<'a> {
    watch: Watch<'a>,
    interrupt: &'a mut Interrupt,
    progress: bool,
}

impl Observer for RunObserver<'_> {
    fn phase(&mut self, phase: Phase) {
        self.watch.phase(phase);
    }

    fn second(&mut self, second: Second) {
        if self.progress {
            eprintln!(
                "{:>4} s {:>10} requests/s  p50 {:>7} us  p99 {:>7} us  {} errors",
                second.number + 1,
                table::count(second.answered),
                table::figure(second.p50 as f64 / 1e3),
                table::figure(second.p99 as f64 / 1e3),
                table::count(second.errors)
            );
        }
    }

    fn cancelled(&mut self) -> bool {
        self.interrupt.pending()
    }
}

fn parse<T: FromStr<Err: Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error| format!("{error}"))
}

/// A server as the user names it.
#[derive(Debug, Clone)]
struct Address {
    target: Target,
    /// The text, where it is a name: virtual servers go by it.
    host: Option<String>,
}

fn parse_address(text: &str) -> Result<Address, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        if path.is_empty() {
            return Err("unix: needs the path of a socket".to_owned());
        }
        SockAddr::unix(path).map_err(|error| error.to_string())?;
        return Ok(Address {
            target: Target::Unix(path.into()),
            host: None,
        });
    }
    let addresses: Vec<SocketAddr> = text
        .to_socket_addrs()
        .map_err(|error| format!("{error}; give host:port, [v6]:port or unix:PATH"))?
        .collect();
    // Of a name with both kinds, such as localhost, the one that more servers listen on.
    addresses
        .iter()
        .find(|address| address.is_ipv4())
        .or(addresses.first())
        .map(|address| Address {
            target: Target::Tcp(*address),
            host: text.parse::<SocketAddr>().is_err().then(|| text.to_owned()),
        })
        .ok_or_else(|| "this name has no address".to_owned())
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match parse(text)? {
        0 => Err("must be at least 1".into()),
        n => Ok(n),
    }
}

fn connections(text: &str) -> Result<usize, String> {
    match parse(text)? {
        n @ 0..=MOST_CONNECTIONS => Ok(n),
        _ => Err(format!("must be at most {MOST_CONNECTIONS}")),
    }
}

fn some_connections(text: &str) -> Result<usize, String> {
    at_least_one(text)?;
    connections(text)
}

fn parse_sources(text: &str) -> Result<usize, String> {
    // 127.0.0.1 to 127.255.255.254.
    const MOST: usize = (1 << 24) - 2;
    match parse(text)? {
        n @ 1..=MOST => Ok(n),
        _ => Err(format!("must be 1 to {MOST}")),
    }
}

pub(crate) fn parse_rate(text: &str) -> Result<f64, String> {
    match parse::<f64>(text)? {
        rate if rate > 0.0 && rate <= HIGHEST_RATE => Ok(rate),
        _ => Err(format!(
            "must be above 0 and at most {HIGHEST_RATE:e} a second"
        )),
    }
}

/// A share, in percent.
pub(crate) fn parse_percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim();
    match number.parse::<f64>() {
        Ok(percent) if percent > 0.0 && percent.is_finite() => Ok(percent / 100.0),
        _ => Err("must be above 0, such as 5%".to_owned()),
    }
}

fn parse_churn(text: &str) -> Result<f64, String> {
    match parse::<f64>(text)? {
        0.0 => Ok(0.0),
        _ => parse_rate(text),
    }
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if duration > LONGEST => Err("must be a year at most".into()),
        result => result.map_err(|error| error.to_string()),
    }
}

pub(crate) fn parse_positive_duration(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        Duration::ZERO => Err("must be above 0".into()),
        duration => Ok(duration),
    }
}

fn parse_size(text: &str) -> Result<usize, String> {
    match parse::<ByteSize>(text)?.as_u64() {
        0 => Err("an empty message has no answer".into()),
        size => usize::try_from(size).map_err(|error| error.to_string()),
    }
}

fn parse_path(text: &str) -> Result<String, String> {
    if text.starts_with('/') && text.bytes().all(|b| b.is_ascii_graphic()) {
        Ok(text.into())
    } else {
        Err("must begin with / and be percent-encoded".into())
    }
}

fn parse_header(text: &str) -> Result<String, String> {
    match text.split_once(':') {
        Some((name, _))
            if !name.is_empty()
                && name.bytes().all(|b| b.is_ascii_graphic())
                && !text.bytes().any(|b| b.is_ascii_control()) =>
        {
            Ok(text.into())
        }
        _ => Err("must be `Name: value`".into()),
    }
}

fn parse_instant(text: &str) -> Result<SystemTime, String> {
    let seconds = text.parse::<f64>().ok();
    let time = match seconds.map(Duration::try_from_secs_f64) {
        Some(since) => since
            .ok()
            .and_then(|since| UNIX_EPOCH.checked_add(since))
            .ok_or("is no time since 1970")?,
        None => humantime::parse_rfc3339_weak(text).map_err(|error| error.to_string())?,
    };
    match time.duration_since(SystemTime::now()) {
        Err(_) => Err("has passed already".to_owned()),
        Ok(ahead) if ahead > LONGEST => Err("is more than a year ahead".to_owned()),
        Ok(_) => Ok(time),
    }
}

fn parse_shard(text: &str) -> Result<Shard, String> {
    let shard = text.split_once('/').and_then(|(index, of)| {
        let (index, of): (usize, usize) = (index.parse().ok()?, of.parse().ok()?);
        (1..=of).contains(&index).then(|| Shard {
            index: index - 1,
            of,
        })
    });
    shard.ok_or_else(|| "must be I/N, such as 1/2 and 2/2 for two generators".to_owned())
}

/// Cores, in the order given.
#[derive(Debug, Clone, Default)]
struct CpuList(Vec<usize>);

fn parse_cpus(text: &str) -> Result<CpuList, String> {
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (parse(first)?, parse(last)?);
        if first > last || last >= CpuSet::count() {
            return Err(format!("{part} is no range of cores"));
        }
        cpus.extend(first..=last);
    }
    Ok(CpuList(cpus))
}

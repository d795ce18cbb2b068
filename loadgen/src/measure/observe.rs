//! A server is watched on its own host, while others load it.

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use nix::time::ClockId;
use supervisor::limit::raise_descriptors;

use super::interrupt::Interrupt;
use crate::console::say;
use crate::observe::clock_error::{ClockError, boot_id};
use crate::observe::costs::Meter;
use crate::observe::keep_awake::KeepAwake;
use crate::observe::machine::Machine;
use crate::observe::watch::Watch;
use crate::results::directory::Claim;
use crate::results::observed::ObservedServer;
use crate::results::trial::SCHEMA_VERSION;

/// How often it asks whether the user wants to end.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// What is watched, and when.
#[derive(Debug)]
pub struct Options {
    /// The server's process.
    pub pid: u32,
    /// When the warm-up begins.
    pub start_at: SystemTime,
    /// The warm-up.
    pub warmup: Duration,
    /// The measured time.
    pub duration: Duration,
    /// The directory for the result.
    pub out: PathBuf,
}

/// Watches, and writes what was seen; `None`: the user ended it.
///
/// # Errors
/// When there is no such process, it ends before its time, or nothing can be written.
pub fn observe(options: &Options) -> anyhow::Result<Option<ObservedServer>> {
    let mut interrupt = Interrupt::new()?;
    raise_descriptors()?;
    let cannot_write = || format!("cannot write to {}", options.out.display());
    std::fs::create_dir_all(&options.out).with_context(cannot_write)?;
    let out = Claim::on(&options.out)?;
    ensure!(
        ObservedServer::read(out.path())?.is_none(),
        "{} holds an earlier observation: choose another --out",
        out.path().display()
    );
    let mut meter = Meter::attach(options.pid)
        .with_context(|| format!("cannot watch process {}", options.pid))?;
    let note = meter.note().map(str::to_owned);
    let clock = ClockError::here();
    let awake = KeepAwake::on(&[]);
    let mut watch = Watch::new(&awake, Some(&mut meter));

    let Some(start) = wait(&mut interrupt, options.start_at) else {
        return Ok(None);
    };
    watch.begin_load();
    if !wait_until(&mut interrupt, start + options.warmup) {
        return Ok(None);
    }
    watch.begin_measuring();
    let (begin, monotonic) = (
        now(ClockId::CLOCK_REALTIME)?,
        now(ClockId::CLOCK_MONOTONIC)?,
    );
    if !wait_until(&mut interrupt, start + options.warmup + options.duration) {
        return Ok(None);
    }
    let (end, ended) = (
        now(ClockId::CLOCK_REALTIME)?,
        now(ClockId::CLOCK_MONOTONIC)?,
    );
    watch.end_measuring();
    let spent = watch.spent().context("the measured time is over")?;
    ensure!(
        spent.processes.is_some(),
        "process {} ended before the measured time was over",
        options.pid
    );
    let time = |since: Duration| humantime::format_rfc3339_nanos(UNIX_EPOCH + since).to_string();
    let moved =
        (end.as_secs_f64() - begin.as_secs_f64()) - (ended.as_secs_f64() - monotonic.as_secs_f64());
    let observed = ObservedServer {
        schema_version: SCHEMA_VERSION,
        loadgen: env!("CARGO_PKG_VERSION").to_owned(),
        host: Machine::here().host,
        boot_id: boot_id(),
        start_at: humantime::format_rfc3339_nanos(options.start_at).to_string(),
        begin: time(begin),
        end: time(end),
        begin_monotonic_ns: u64::try_from(monotonic.as_nanos())?,
        clock_moved_us: moved * 1e6,
        clock,
        spent,
        note,
        machine: watch.shares(),
    };
    observed.write(out.path())?;
    say(&format!("observed.json in {}", out.path().display()));
    Ok(Some(observed))
}

fn now(clock: ClockId) -> anyhow::Result<Duration> {
    Ok(clock.now()?.into())
}

/// Waits until the calendar clock shows this time, and returns when that was; `None`: the user ended it.
fn wait(interrupt: &mut Interrupt, at: SystemTime) -> Option<Instant> {
    loop {
        // It may be set in between.
        let left = at.duration_since(SystemTime::now()).unwrap_or_default();
        if left <= ASK_EVERY {
            let at = Instant::now() + left;
            return wait_until(interrupt, at).then_some(at);
        }
        if !wait_until(interrupt, Instant::now() + ASK_EVERY) {
            return None;
        }
    }
}

/// Waits until then. Returns false if the user ended it.
fn wait_until(interrupt: &mut Interrupt, at: Instant) -> bool {
    loop {
        if interrupt.pending() {
            return false;
        }
        let left = at.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        std::thread::sleep(left.min(ASK_EVERY));
    }
}

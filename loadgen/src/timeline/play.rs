//! Plays a scene with a server that is started for it.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use supervisor::{Launch, Process, Ready};

use super::player::{Player, Seen, now};
use super::scene::Scene;
use super::trace::Trace;

/// How long a server may take to be ready.
const READY_LIMIT: Duration = Duration::from_secs(10);
/// How long after its last planned act a scene may last: the server may be slow to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a server may take to stop.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// If clients act later than the scene says by more than this, the scene is played again.
pub const LATE: Duration = Duration::from_millis(15);
/// How many times a scene is played at most, until its clients act in time.
const ATTEMPTS: u32 = 8;
/// Before the first client comes and after the last one has left, the server is seen alone.
const PAUSE: Duration = Duration::from_millis(30);

/// A scene that was played.
#[derive(Debug)]
pub struct Played {
    /// What the server wrote.
    pub trace: Trace,
    /// What the clients saw, in the order in which they connected.
    pub clients: Vec<Seen>,
    /// When the scene began, nanoseconds of `CLOCK_MONOTONIC`.
    pub start: u64,
    /// How late the clients acted at most: the machine had other things to do.
    pub late: Duration,
}

/// Starts the server, plays the scene, stops the server. It is played anew if the machine was too busy for the clients to
/// keep their times.
///
/// # Errors
/// When the server cannot be started or reached, or does not end when it is asked to.
pub fn play(scene: &Scene, program: &OsString, arguments: &[OsString]) -> anyhow::Result<Played> {
    let mut attempts = 1;
    loop {
        let played = once(scene, program, arguments)?;
        if played.late < LATE || attempts == ATTEMPTS {
            return Ok(played);
        }
        attempts += 1;
    }
}

fn once(scene: &Scene, program: &OsString, arguments: &[OsString]) -> anyhow::Result<Played> {
    let shown = program.to_string_lossy();
    let directory = tempfile::tempdir().context("cannot make a directory for the trace")?;
    let file = directory.path().join("trace.jsonl");
    let mut command = vec![program.clone()];
    command.extend(["--listen", "127.0.0.1:0", "--trace-to"].map(OsString::from));
    command.push(file.clone().into());
    command.extend(scene.server.iter().map(OsString::from));
    command.extend(arguments.iter().cloned());
    let process = Launch::new(command).run()?;
    let (process, address) = process
        .ready(Ready::Line, READY_LIMIT, &mut || false)
        .with_context(|| format!("{shown}{}", flags(scene)))?;
    std::thread::sleep(PAUSE);
    let start = now();
    let (clients, late) = perform(scene, start, address, &process)?;
    let Some(exit) = process.wait(STOP_LIMIT) else {
        bail!("{shown} did not end within {STOP_LIMIT:?} after SIGTERM");
    };
    // A server with nothing to clean up may let the signal end it.
    let by_term = exit.status.signal() == Some(Signal::SIGTERM as i32);
    ensure!(
        exit.status.success() || by_term,
        "{shown} ended badly: {}",
        exit.with_last_words()
    );
    ensure!(file.exists(), "{shown} has written no trace");
    Ok(Played {
        trace: Trace::read(&file)?,
        clients,
        start,
        late,
    })
}

/// The flags that a scene gives to its server, for a message.
fn flags(scene: &Scene) -> String {
    match &*scene.server {
        [] => String::new(),
        flags => format!(" {} (from the scene)", flags.join(" ")),
    }
}

/// The clients act, and at the end the server is asked to stop.
fn perform(
    scene: &Scene,
    start: u64,
    address: SocketAddr,
    process: &Process,
) -> anyhow::Result<(Vec<Seen>, Duration)> {
    let scripts = scene.clients.iter();
    let mut players: Vec<_> = scripts.map(|script| Player::new(script, start)).collect();
    let mut stop_at = scene.stop.map(|stop| start + stop.as_nanos() as u64);
    let mut stopped = false;
    let mut late = 0;
    let mut limit = start + (last_act(scene) + PATIENCE).as_nanos() as u64;
    loop {
        // A client that connects after the stop finds no server.
        for player in players
            .iter_mut()
            .filter(|player| !stopped || player.has_come())
        {
            player
                .act(address)
                .context("cannot connect to the server")?;
        }
        if stop_at.is_none() && players.iter().all(Player::is_done) {
            stop_at = Some(now() + PAUSE.as_nanos() as u64);
        }
        let over = now() >= limit;
        if !stopped && (over || stop_at.is_some_and(|at| now() >= at)) {
            process.group().signal_leader(Signal::SIGTERM);
            stopped = true;
            limit = now() + PATIENCE.as_nanos() as u64;
        } else if over {
            break;
        }
        // What the server still says to those that are connected belongs to the scene.
        if stopped && (process.has_ended() || players.iter().all(Player::has_left)) {
            break;
        }
        let due = players.iter().filter_map(Player::due);
        let due = due.chain((!stopped).then_some(stop_at).flatten());
        let until = due.chain([limit]).min();
        let planned = until.unwrap_or(0).max(now());
        wait(&mut players, until);
        late = late.max(now().saturating_sub(planned));
    }
    let seen = players.into_iter().map(Player::into_seen).collect();
    Ok((seen, Duration::from_nanos(late)))
}

/// When the last planned act of a scene is due.
fn last_act(scene: &Scene) -> Duration {
    let clients = scene.clients.iter();
    let acts = clients.flat_map(|client| {
        let asks = client.ask.iter();
        let asks = asks.map(|ask| ask.at + ask.every * u32::try_from(ask.pieces).unwrap_or(0));
        asks.chain([client.connect])
            .chain(client.close)
            .chain(client.read_from)
    });
    acts.chain(scene.stop).max().unwrap_or_default()
}

/// Waits until a client can go on or the time has come, and has the clients go on.
fn wait(players: &mut [Player], until: Option<u64>) {
    let wanted: Vec<(usize, PollFd)> = (0..)
        .zip(&*players)
        .filter_map(|(index, player)| {
            let (fd, flags) = player.interest()?;
            Some((index, PollFd::new(fd, flags)))
        })
        .collect();
    let (indices, mut fds): (Vec<usize>, Vec<PollFd>) = wanted.into_iter().unzip();
    let left = until.map_or(0, |until| until.saturating_sub(now()));
    // poll counts in milliseconds: the last one is waited for in short looks.
    let left = Duration::from_nanos(left).as_millis().min(20);
    let timeout = PollTimeout::try_from(left as i32).unwrap_or(PollTimeout::ZERO);
    if fds.is_empty() && left == 0 {
        std::thread::yield_now();
    }
    // A signal only ends the wait early.
    let _ = poll(&mut fds, timeout);
    let ready: Vec<PollFlags> = fds
        .iter()
        .map(|fd| fd.revents().unwrap_or(PollFlags::empty()))
        .collect();
    drop(fds);
    for (index, flags) in indices.into_iter().zip(ready) {
        players[index].ready(flags);
    }
}

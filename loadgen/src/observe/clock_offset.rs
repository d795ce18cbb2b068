//! How far the clocks of another host are ahead of those of this machine: asked a dozen times over one session.
//!
//! The answer of the shortest exchange counts (F. Cristian, *Probabilistic Clock Synchronization*, 1989; NTP does the
//! same). It was read somewhere between the question and its arrival here, so half of that time is the bound.

use std::io::{BufRead, Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::time::ClockId;
use serde::{Deserialize, Serialize};

use super::clock_error::boot_id;
use super::machine::Machine;

/// The shortest of this many exchanges counts.
const EXCHANGES: usize = 12;
/// How long a session and all of its exchanges may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long it may take to end.
const FAREWELL: Duration = Duration::from_secs(2);
/// The most bytes that a login shell may print before, such as a greeting.
const GREETING: usize = 1 << 16;

/// How far the clocks of a host are ahead of those of the machine that asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HostClock {
    /// Its hostname.
    pub host: String,
    /// Tells one start of a machine from another: programs with the same one have the same clocks.
    pub boot_id: String,
    /// When it was asked: the monotonic clock of the machine that asked, nanoseconds.
    pub asked_monotonic_ns: u64,
    /// How far its monotonic clock was ahead, nanoseconds.
    pub monotonic_ahead_ns: i64,
    /// How far its calendar clock was ahead, microseconds.
    pub ahead_us: f64,
    /// How far both may be off, in either direction, microseconds.
    pub bound_us: f64,
}

/// The first line of an answer: which host it is.
#[derive(Serialize, Deserialize)]
struct Greeting {
    /// The host.
    loadgen_clock_of: String,
    boot_id: String,
}

impl Greeting {
    fn here() -> anyhow::Result<Self> {
        let boot_id = boot_id().context("cannot read /proc/sys/kernel/random/boot_id")?;
        let loadgen_clock_of = Machine::here().host;
        Ok(Self {
            loadgen_clock_of,
            boot_id,
        })
    }
}

/// Both clocks, nanoseconds.
#[derive(Debug, Clone, Copy)]
struct Reading {
    calendar: i128,
    monotonic: i128,
}

impl Reading {
    fn now() -> anyhow::Result<Self> {
        let nanos = |clock: ClockId| -> anyhow::Result<i128> {
            Ok(i128::try_from(Duration::from(clock.now()?).as_nanos())?)
        };
        Ok(Self {
            calendar: nanos(ClockId::CLOCK_REALTIME)?,
            monotonic: nanos(ClockId::CLOCK_MONOTONIC)?,
        })
    }
}

/// Answers with the host's name, and then with its clocks for each line that comes in, until the input ends.
///
/// # Errors
/// When the clocks or the questions cannot be read, or nobody reads the answers.
pub fn answer(mut questions: impl BufRead, mut answers: impl Write) -> anyhow::Result<()> {
    let greeting = serde_json::to_string(&Greeting::here()?)?;
    writeln!(answers, "{greeting}")?;
    answers.flush()?;
    let mut line = String::new();
    while questions.read_line(&mut line)? > 0 {
        let Reading {
            calendar,
            monotonic,
        } = Reading::now()?;
        writeln!(answers, "{calendar} {monotonic}")?;
        answers.flush()?;
        line.clear();
    }
    Ok(())
}

impl HostClock {
    /// This machine, by its own clocks.
    ///
    /// # Errors
    /// When its clocks or its boot id cannot be read.
    pub fn here() -> anyhow::Result<Self> {
        let greeting = Greeting::here()?;
        Ok(Self {
            host: greeting.loadgen_clock_of,
            boot_id: greeting.boot_id,
            asked_monotonic_ns: u64::try_from(Reading::now()?.monotonic)?,
            monotonic_ahead_ns: 0,
            ahead_us: 0.0,
            bound_us: 0.0,
        })
    }

    /// Asks the host on which this command runs `loadgen`.
    ///
    /// # Errors
    /// When it does not answer, or not in 30 s.
    pub fn ask(words: &[String]) -> anyhow::Result<Self> {
        let [program, others @ ..] = words else {
            bail!("it is empty");
        };
        let mut session = Command::new(program)
            .args(others)
            .args(["clock", "--answer"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {program}"))?;
        let clock = exchange(&mut session);
        // Its input is closed by now, which ends it.
        if clock.is_err() || !ends(&mut session) {
            let _ = session.kill();
        }
        let status = session.wait()?;
        clock.with_context(|| format!("`{}` ({status})", words.join(" ")))
    }
}

fn exchange(session: &mut Child) -> anyhow::Result<HostClock> {
    let mut questions = session.stdin.take().context("it has no input")?;
    let mut answers = Answers {
        output: session.stdout.take().context("it has no output")?,
        until: Instant::now() + PATIENCE,
        read: Vec::new(),
        total: 0,
    };
    let greeting: Greeting = loop {
        // A login shell may print something before it.
        if let Ok(greeting) = serde_json::from_str(&answers.line()?) {
            break greeting;
        }
    };
    let mut best: Option<(i128, Reading, Reading)> = None;
    for _ in 0..EXCHANGES {
        let before = Reading::now()?;
        questions
            .write_all(b"\n")
            .context("it ended before it answered")?;
        let line = answers.line()?;
        let after = Reading::now()?;
        let (calendar, monotonic) = line.split_once(' ').context("it answered wrongly")?;
        let answer = Reading {
            calendar: calendar.parse().context("it answered wrongly")?,
            monotonic: monotonic.parse().context("it answered wrongly")?,
        };
        let took = after.monotonic - before.monotonic;
        if best.is_none_or(|(least, ..)| took < least) {
            best = Some((took, before, answer));
        }
    }
    let (took, before, answer) = best.context("it was not asked")?;
    let middle = |then: i128| then + took / 2;
    Ok(HostClock {
        host: greeting.loadgen_clock_of,
        boot_id: greeting.boot_id,
        asked_monotonic_ns: u64::try_from(before.monotonic)?,
        monotonic_ahead_ns: i64::try_from(answer.monotonic - middle(before.monotonic))
            .context("its monotonic clock is centuries ahead")?,
        ahead_us: (answer.calendar - middle(before.calendar)) as f64 / 1e3,
        bound_us: took as f64 / 2e3,
    })
}

/// The lines that a session says.
struct Answers {
    output: ChildStdout,
    until: Instant,
    /// The beginning of a line.
    read: Vec<u8>,
    /// Bytes that it said.
    total: usize,
}

impl Answers {
    fn line(&mut self) -> anyhow::Result<String> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line).trim().to_owned());
            }
            let left = self.until.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            let mut waits = [PollFd::new(self.output.as_fd(), PollFlags::POLLIN)];
            ensure!(
                poll(&mut waits, timeout)? > 0,
                "no answer in {} s",
                PATIENCE.as_secs()
            );
            let mut some = [0; 4096];
            let n = self.output.read(&mut some)?;
            self.total += n;
            ensure!(
                n > 0,
                "it ended before it answered: is loadgen installed there?"
            );
            ensure!(
                self.total < GREETING,
                "it does not answer as loadgen does: is it the same version?"
            );
            self.read.extend_from_slice(&some[..n]);
        }
    }
}

/// Whether a session ends by itself.
fn ends(session: &mut Child) -> bool {
    let until = Instant::now() + FAREWELL;
    loop {
        match session.try_wait() {
            Ok(None) if Instant::now() < until => std::thread::sleep(Duration::from_millis(1)),
            ended => return ended.is_ok_and(|status| status.is_some()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_question_has_an_answer() {
        let mut answers = Vec::new();
        answer(&b"\n\n\n"[..], &mut answers).unwrap();
        let answers = String::from_utf8(answers).unwrap();
        let mut lines = answers.lines();
        let greeting: Greeting = serde_json::from_str(lines.next().unwrap()).unwrap();
        assert_eq!(Some(greeting.boot_id), boot_id());
        let times: Vec<i128> = lines
            .map(|line| line.split_once(' ').unwrap().1.parse().unwrap())
            .collect();
        assert_eq!(times.len(), 3);
        assert!(times.is_sorted());
    }
}

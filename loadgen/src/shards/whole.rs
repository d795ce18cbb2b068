//! The trials of the shards as one trial.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, anyhow};

use super::clocks::Window;
use super::gathered::{Part, Seen, spoils};
use super::logs::Totals;
use crate::observe::observed::MachineShares;
use crate::recording::account::MinMax;
use crate::recording::histogram::{Quantiles, histogram};
use crate::recording::hlog;
use crate::report::numbers::{NAMED, words};
use crate::results::goals;
use crate::results::shard::ShardRow;
use crate::results::trial::{GeneratorCosts, Trial};
use crate::verdict::cause::{Cause, Verdict};
use crate::verdict::judge::{FOREIGN_SHARE, Progress, STEAL_SHARE, keeps_up};
use crate::verdict::note::Note;
use crate::workload::requirement::Requirement;

/// The trial of all, from theirs and from all samples by tag. `excuses`: what is not as it should be and was allowed.
pub fn trial(
    parts: &[Part],
    windows: &[Window],
    seen: Option<&Seen>,
    totals: &Totals,
    missing: &[usize],
    excuses: &[String],
) -> anyhow::Result<Trial> {
    let first = parts.first().context("there is no shard")?;
    let asked = &first.shard.asked;
    let trials = || parts.iter().map(|part| &part.trial);
    let sum = |count: fn(&Trial) -> u64| trials().map(count).sum::<u64>();
    let number = |count: fn(&Trial) -> usize| trials().map(count).sum::<usize>();
    let times = |tag: &str| {
        totals
            .get(tag)
            .map_or_else(Quantiles::default, Quantiles::of)
    };
    let mut causes = causes(parts, missing);
    let disturbed = seen.is_some_and(|seen| is_disturbed(parts, seen));
    if disturbed && !causes.contains(&Cause::MachineStolen) {
        causes.push(Cause::MachineStolen);
    }
    let mut errors = BTreeMap::new();
    for (kind, count) in trials().flat_map(|trial| &trial.errors) {
        *errors.entry(kind.clone()).or_insert(0) += count;
    }
    let mut stages = first.trial.stages.clone();
    for (at, stage) in stages.iter_mut().enumerate() {
        let each = || trials().filter_map(|trial| trial.stages.get(at));
        stage.scheduled = each().map(|stage| stage.scheduled).sum();
        stage.answered = each().map(|stage| stage.answered).sum();
        stage.failed = each().map(|stage| stage.failed).sum();
        stage.response_us = times(&hlog::stage_tag(at));
    }
    let rate: f64 = trials().map(|trial| trial.rate).sum();
    let mut whole = Trial {
        verdict: Verdict::of(&causes),
        causes,
        notes: Vec::new(),
        connections: number(|trial| trial.connections),
        duration_s: asked.duration_s,
        scheduled: sum(|trial| trial.scheduled),
        answered: sum(|trial| trial.answered),
        failed: sum(|trial| trial.failed),
        timed_out: sum(|trial| trial.timed_out),
        in_flight: sum(|trial| trial.in_flight),
        never_sent: sum(|trial| trial.never_sent),
        mismatches: sum(|trial| trial.mismatches),
        rate,
        offered_rate: asked.rate,
        bytes_sent: sum(|trial| trial.bytes_sent),
        bytes_received: sum(|trial| trial.bytes_received),
        connections_answered: number(|trial| trial.connections_answered),
        connections_unanswered: number(|trial| trial.connections_unanswered),
        answers_per_connection: MinMax {
            min: trials()
                .map(|trial| trial.answers_per_connection.min)
                .min()
                .unwrap_or(0),
            max: trials()
                .map(|trial| trial.answers_per_connection.max)
                .max()
                .unwrap_or(0),
        },
        response_us: times("response"),
        stages,
        service_us: times("service"),
        lateness_us: times("lateness"),
        wait_us: times("wait"),
        read_delay_us: times("read_delay"),
        connect_us: times(hlog::CONNECT),
        tls_us: times(hlog::TLS),
        tls_resumed: sum(|trial| trial.tls_resumed),
        goals: Vec::new(),
        errors,
        server: seen.map(|seen| {
            let answers = (rate * asked.duration_s).round() as u64;
            seen.observed.spent.per_request(answers)
        }),
        generator: generator(parts),
        // The machines of the generators are many, so this is the server's.
        machine: seen.map_or_else(MachineShares::default, |seen| seen.observed.machine),
        shard: None,
        shards: parts.iter().zip(windows).map(row).collect(),
        ..first.trial.clone()
    };
    let goals = first.trial.goals.iter().map(|goal| goal.goal.parse());
    let goals: Result<Vec<Requirement>, String> = goals.collect();
    let goals = goals.map_err(|error| anyhow!("its goal: {error}"))?;
    let response = totals.get("response").cloned().unwrap_or_else(histogram);
    whole.goals = goals::judge(&goals, &whole, &response);
    let disturbed = seen.filter(|_| disturbed);
    whole.notes = notes(parts, disturbed, &whole, totals, excuses);
    let uncounted = seen.and_then(|seen| seen.observed.note.clone());
    whole.notes.extend(uncounted.map(Note::Costs));
    Ok(whole)
}

/// Whether other programs used the server's machine. The shards on it do not count as others.
fn is_disturbed(parts: &[Part], seen: &Seen) -> bool {
    let Seen { observed, .. } = seen;
    let above = |share: Option<f64>, limit: f64| share.is_some_and(|share| share > limit);
    let alone = parts
        .iter()
        .all(|part| part.shard.boot_id != observed.boot_id);
    let machine = &observed.machine;
    above(machine.steal_share, STEAL_SHARE) || alone && above(machine.foreign_share, FOREIGN_SHARE)
}

/// A shard's line in the table.
fn row((part, window): (&Part, &Window)) -> ShardRow {
    let trial = &part.trial;
    ShardRow {
        number: part.shard.number,
        host: part.shard.host.clone(),
        verdict: trial.verdict,
        causes: trial.causes.clone(),
        connections: trial.connections,
        scheduled: trial.scheduled,
        answered: trial.answered,
        rate: trial.rate,
        response_p99_us: trial.response_us.p99,
        lateness_max_us: trial.lateness_us.max,
        read_delay_max_us: trial.read_delay_us.max,
        begin: part.shard.begin.clone(),
        clock_ahead_us: window.ahead.map(|ahead| ahead * 1e6),
        clock_bound_us: window.ahead.map(|_| window.bound * 1e6),
        clock_source: window.source.clone(),
    }
}

/// The causes of all shards, each once.
fn causes(parts: &[Part], missing: &[usize]) -> Vec<Cause> {
    let mut causes = Vec::new();
    if !missing.is_empty() {
        causes.push(Cause::ShardMissing);
    }
    for cause in parts
        .iter()
        .filter(|part| spoils(part))
        .flat_map(|part| &part.trial.causes)
    {
        if !causes.contains(cause) {
            causes.push(*cause);
        }
    }
    // A load of which no shard had a request was not measured at all.
    if parts.iter().all(|part| part.trial.scheduled == 0) && causes.is_empty() {
        causes.push(Cause::NoRequest);
    }
    causes
}

/// The notes of the whole: which shards spoil it, what was allowed, and what the shards noted.
fn notes(
    parts: &[Part],
    disturbed: Option<&Seen>,
    whole: &Trial,
    totals: &Totals,
    excuses: &[String],
) -> Vec<Note> {
    let mut notes = Vec::new();
    let mut spoilers: Vec<String> = parts
        .iter()
        .filter(|part| spoils(part))
        .map(|part| format!("{}: {}", part.name(), words(&part.trial.causes)))
        .collect();
    spoilers.extend(disturbed.map(|seen| format!("{}: machine-stolen", seen.name())));
    if !spoilers.is_empty() {
        let more = spoilers.len().saturating_sub(NAMED);
        let mut said = spoilers[..spoilers.len() - more].join("; ");
        if more > 0 {
            said = format!("{said}; and {more} more");
        }
        notes.push(Note::Spoiled(said));
    }
    notes.extend(excuses.iter().cloned().map(Note::Allowed));
    let service = totals.get("service").cloned().unwrap_or_else(histogram);
    let progress = Progress {
        due: whole.scheduled,
        answered: whole.answered,
        in_time: whole.rate * whole.duration_s,
        fastest: Duration::from_nanos(service.min()),
    };
    let asked = parts.first().map(|part| &part.shard.asked);
    let spans = asked.map(|asked| {
        [asked.warmup_s, asked.duration_s]
            .map(|seconds| Duration::try_from_secs_f64(seconds).unwrap_or_default())
    });
    if let Some([warmup, duration]) = spans
        && whole.offered_rate.is_some()
        && !keeps_up(progress, warmup, duration)
    {
        notes.push(Note::RateNotReached(format!(
            "{:.0} of {:.0} requests/s were answered in the measured time",
            whole.rate,
            whole.scheduled as f64 / whole.duration_s
        )));
    }
    // Of each kind one, with the shard that has it.
    for part in parts {
        for note in &part.trial.notes {
            let judged_anew = matches!(
                note,
                Note::RateNotReached(_) | Note::StartedLate(_) | Note::CutShort(_)
            );
            if !judged_anew && !notes.iter().any(|other| other.word() == note.word()) {
                notes.push(note.of(&part.name()));
            }
        }
    }
    notes
}

/// What all generators spent together.
fn generator(parts: &[Part]) -> GeneratorCosts {
    let mut cpu = Some(0.0);
    let (mut in_time, mut shares, mut threads) = (0.0, Some(0.0), 0);
    for Part { trial, .. } in parts {
        let answers = trial.rate * trial.duration_s;
        let costs = &trial.generator;
        if answers > 0.0 {
            cpu = cpu
                .zip(costs.cpu_us_per_request)
                .map(|(all, one)| all + one * answers);
        }
        shares = shares
            .zip(costs.cpu_share)
            .map(|(all, one)| all + one * costs.threads as f64);
        in_time += answers;
        threads += costs.threads;
    }
    GeneratorCosts {
        cpu_us_per_request: cpu.filter(|_| in_time > 0.0).map(|cpu| cpu / in_time),
        cpu_share: shares
            .filter(|_| threads > 0)
            .map(|shares| shares / threads as f64),
        threads,
    }
}

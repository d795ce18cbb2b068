//! A bench as text, for a terminal, a pipe or a Markdown document.

use std::fmt::Write;

use super::bench_table::fit;
use super::figures::Figures;
use super::numbers::{no_room, words};
use super::remarks::{asked, remark, without_figures};
use super::section::{Row, Section};
use super::sentences::sentences;
use super::style::Style;
use super::summary::Summary;
use super::{goals, in_short, shards, stages};
use crate::results::run::{Run, Settings};
use crate::verdict::cause::Verdict;
use crate::workload::line_up::ServerEntry;

/// How to read the tables of a bench.
const LEGEND: &str = "\
Times are response times in microseconds, over all trials: from the moment a request was due until its answer. \
The first row leads. Rows of a server that left clients without an answer stand last. `*` or bold marks the best \
of a column. `>=`: the generator was busy all the time, so the server may do more. `~`: the generator read many answers \
late, so the server may be quicker. `\u{b1}`: half of the 95 % confidence interval, as a share of the figure; with \
fewer than five VALID trials, half of their range. A dash: too few requests for this percentile. Level: the trials \
show no difference between any two of these rows. CPU time, context switches and system calls are for each \
request, over all processes of the server. docs/glossary.md explains the words, docs/measuring.md the method.";

/// What the marks in the tables of a bench mean, in short.
pub const KEY: &str = "\
Times are response times in us; CPU time, switches and syscalls are for each request. > leads, * is the best of a column, >= \
the generator was busy all the time, ~ it read answers late, \u{b1} half of the interval or range, \u{2013} too few requests. \
summary.md says more.";

/// How to read the tables of a bench.
pub fn legend(style: Style) -> String {
    match style {
        Style::Markdown => LEGEND.to_owned(),
        Style::Terminal { .. } | Style::Plain => LEGEND.replace('`', ""),
    }
}

/// The tables for a terminal or a pipe, and what they show in short.
pub fn tables(summary: &Summary, style: Style) -> String {
    let mut text = String::new();
    for section in &summary.sections {
        let _ = writeln!(text, "{}", for_section(section, style));
    }
    for line in in_short::lines(summary) {
        let _ = writeln!(text, "{line}");
    }
    text
}

/// `summary.md`.
pub fn markdown(summary: &Summary) -> String {
    let mut text = format!("# Bench of {}\n\n", summary.run.started);
    for line in head(&summary.run) {
        let _ = writeln!(text, "* {line}");
    }
    text.push_str("\nThe rows:\n\n");
    for server in &summary.servers {
        let _ = writeln!(text, "* `{}`: {}", server.name, server.about);
    }
    for section in &summary.sections {
        let _ = writeln!(text, "\n{}", for_section(section, Style::Markdown));
    }
    text.push_str("## In short\n\n");
    for sentence in sentences(summary) {
        let _ = writeln!(text, "* {sentence}");
    }
    let _ = writeln!(text, "\n{}", legend(Style::Markdown));
    text
}

/// Which cores the server and the generator have, and whether they were kept awake.
pub fn conditions(settings: &Settings) -> String {
    let cores = |cpus: &[usize]| match cpus {
        [] => "any core".to_owned(),
        [cpu] => format!("core {cpu}"),
        cpus => format!(
            "cores {}",
            cpus.iter()
                .map(usize::to_string)
                .collect::<Vec<_>>()
                .join(",")
        ),
    };
    let awake = if settings.keep_awake {
        "kept awake"
    } else {
        "left to sleep"
    };
    format!(
        "server on {}, generator on {}, cores {awake}",
        cores(&settings.server_cpus),
        cores(&settings.generator_cpus)
    )
}

/// The lines above the tables: the machine, how it was measured, the command.
pub fn head(run: &Run) -> Vec<String> {
    let settings = &run.settings;
    let trials = match settings.trials {
        1 => "one trial each".to_owned(),
        n => format!("{n} trials each, in turns"),
    };
    let mut lines = vec![
        format!("machine: {}", run.machine),
        if settings.merged {
            format!("{trials}, merged from several generators; the server ran already")
        } else {
            format!(
                "{}; {trials}, a fresh process for each trial",
                conditions(settings)
            )
        },
        format!(
            "command: {} ({}, seed {})",
            shell_line(&run.command),
            run.started,
            settings.seed
        ),
    ];
    lines.extend(run.shortcomings.iter().map(|lack| format!("note: {lack}")));
    lines
}

/// The command as one would type it.
fn shell_line(command: &[String]) -> String {
    let words = command.iter().map(String::as_str);
    // Only in an edited file can a word have a zero byte.
    shlex::try_join(words).unwrap_or_else(|_| command.join(" "))
}

/// The lines above the tables, for a terminal.
pub fn head_text(run: &Run, servers: &[ServerEntry]) -> String {
    let mut text = head(run).join("\n");
    text.push('\n');
    for server in servers {
        let _ = writeln!(text, "  {:<18} {}", server.name, server.about);
    }
    text
}

/// A section of a bench: the question, the ranked rows, then the others.
pub fn for_section(section: &Section, style: Style) -> String {
    let (question, load) = (&section.question, asked(section));
    let mut text = match style {
        Style::Markdown => format!("### {}\n\n{question} ({load})\n\n", section.title()),
        _ => format!("{}: {question}\n  ({load})\n", section.title()),
    };
    let measured = |verdict: Verdict| {
        let rows = section.rows.iter();
        rows.filter_map(|row| Some((row, row.outcome.as_ref().ok()?.as_ref())))
            .filter(move |(_, figures)| figures.verdict == verdict)
            .collect::<Vec<(&Row, &Figures)>>()
    };
    let list = if style == Style::Markdown { "* " } else { "  " };
    let write_remarks = |text: &mut String, remarks: Vec<String>| {
        if style == Style::Markdown && !remarks.is_empty() {
            text.push('\n');
        }
        for remark in remarks {
            let _ = writeln!(text, "{list}{remark}");
        }
    };
    for verdict in [Verdict::Valid, Verdict::Failed, Verdict::Invalid] {
        let rows = measured(verdict);
        if rows.is_empty() {
            continue;
        }
        let ranked = verdict == Verdict::Valid;
        if !ranked {
            let blank = if style == Style::Markdown { "\n" } else { "" };
            let verdict = words(&[verdict]);
            let _ = writeln!(text, "{blank}{verdict}, not ranked:{blank}");
        }
        let (table, left_out) = fit(&rows, ranked, &section.percentiles, style);
        let _ = writeln!(text, "{table}");
        let left_out = left_out.iter().map(String::as_str);
        text.push_str(&no_room(left_out, "all are in summary.md"));
        let remarks = rows
            .iter()
            .filter_map(|(row, figures)| remark(row, figures));
        write_remarks(&mut text, remarks.collect());
    }
    write_remarks(&mut text, without_figures(section));
    let goals = goals::of_rows(section).into_iter();
    let goals = goals.map(|(server, _, said)| format!("{server}: {said}"));
    write_remarks(&mut text, goals.collect());
    if let Some(table) = stages::table(section, style) {
        let _ = write!(text, "\n{table}");
    }
    for rows in section.shards() {
        let _ = write!(text, "\n{}", shards::table(rows, style));
    }
    text
}

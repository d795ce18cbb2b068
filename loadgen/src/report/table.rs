//! Tables for people: one trial, and the rows of a bench.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;

use anyhow::Context;
use comfy_table::presets::{ASCII_MARKDOWN, NOTHING};
use comfy_table::{Attribute, Cell, CellAlignment, Color, LineStyle, Table, TableStyle};

use crate::report::summary::{Figures, Row, Section, Spread};
use crate::results::directory::NoResult;
use crate::results::trial::{LoadKind, Quantiles, Trial, Verdict};
use crate::workload::load::{Arrivals, Load, Mode};

/// A line under the headings, and nothing else that takes room.
const RULED: TableStyle =
    TableStyle::new().header_separator(LineStyle::none().fill('\u{2500}').junction('\u{2500}'));

/// A count with separators: `1,234,567`.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut grouped = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A figure with about three significant digits, as many as are measured: `0.52`, `9.81`, `82.4`, `6,604`.
pub fn figure(x: f64) -> String {
    // The limits are those at which rounding would add a digit.
    if x < 9.995 {
        format!("{x:.2}")
    } else if x < 99.95 {
        format!("{x:.1}")
    } else {
        count(x.round() as u64)
    }
}

/// A share in percent, such as `12.3 %`.
pub fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

fn optional(x: Option<f64>) -> String {
    x.map_or_else(|| "n/a".to_owned(), figure)
}

/// One trial: its times, its account of requests, and what each side spent.
pub fn for_trial(trial: &Trial, style: Style) -> String {
    let mut text = String::new();
    let line = |text: &mut String, label: &str, content: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{label:<12} {content}");
    };

    let verdict = match trial.verdict {
        Verdict::Valid => "VALID".to_owned(),
        Verdict::Invalid => format!("INVALID: {}", words(&trial.causes)),
    };
    line(&mut text, "verdict", verdict);
    if !trial.notes.is_empty() {
        line(&mut text, "notes", trial.notes.join("; "));
    }
    // A generator at its limit only shows what the server does at least.
    let at_least = if trial.notes.iter().any(|note| note == GENERATOR_BOUND) {
        ">= "
    } else {
        ""
    };
    let rate = format!("{at_least}{} requests/s", figure(trial.rate));
    let load = match (trial.load, trial.offered_rate) {
        (LoadKind::Open, Some(offered)) => {
            format!("{rate} of {} offered, open loop", figure(offered))
        }
        (LoadKind::Open, None) => format!("{rate}, open loop"),
        (LoadKind::Closed, _) => format!("{rate}, closed loop"),
    };
    line(
        &mut text,
        "rate",
        format!("{load}, {} connections", count(trial.connections as u64)),
    );

    let mut columns = TIMES.to_vec();
    while columns.iter().any(|column| column.dispensable > 0)
        && !style.has_room(|style| times(trial, &columns, style))
    {
        let most = columns.iter().map(|column| column.dispensable).max();
        columns.retain(|column| Some(column.dispensable) < most);
    }
    let table = times(trial, &columns, style);
    let _ = writeln!(text, "{table}");

    line(
        &mut text,
        "requests",
        format!(
            "{} scheduled = {} answered + {} failed + {} in flight + {} never sent",
            count(trial.scheduled),
            count(trial.answered),
            count(trial.failed),
            count(trial.in_flight),
            count(trial.never_sent)
        ),
    );
    if trial.mismatches > 0 {
        line(
            &mut text,
            "wrong",
            format!("{} answers had wrong bytes", count(trial.mismatches)),
        );
    }
    if !trial.errors.is_empty() {
        line(&mut text, "errors", errors(&trial.errors));
    }
    line(
        &mut text,
        "fairness",
        format!(
            "{} of {} connections answered, {} to {} times each",
            count(trial.connections_answered as u64),
            count(trial.connections as u64),
            count(trial.answers_per_connection.min),
            count(trial.answers_per_connection.max)
        ),
    );
    if let Some(server) = &trial.server {
        let whole = |n: Option<u64>, one: &str, more: &str| match n {
            None => format!("n/a {more}"),
            Some(1) => format!("1 {one}"),
            Some(n) => format!("{} {more}", count(n)),
        };
        line(
            &mut text,
            "server",
            format!(
                "{} us CPU, {} context switches, {} system calls a request; {} MiB, {}, {}",
                optional(server.cpu_us_per_request),
                optional(server.context_switches_per_request),
                optional(server.syscalls_per_request),
                optional(server.pss_kib.map(|kib| kib as f64 / 1024.0)),
                whole(server.threads, "thread", "threads"),
                whole(server.processes, "process", "processes")
            ),
        );
    }
    line(
        &mut text,
        "generator",
        format!(
            "{} us CPU a request, {} of {}",
            optional(trial.generator.cpu_us_per_request),
            percent(trial.generator.cpu_share),
            counted(trial.generator.threads as u64, "thread")
        ),
    );
    line(
        &mut text,
        "machine",
        format!(
            "{} busy, of which foreign {}; stolen {}",
            percent(trial.machine.cpu_share),
            percent(trial.machine.foreign_share),
            percent(trial.machine.steal_share)
        ),
    );
    text
}

/// A column of a trial's times.
#[derive(Clone, Copy)]
struct Time {
    heading: &'static str,
    /// The higher, the sooner it is left out of a narrow table; 0: never.
    dispensable: u8,
    value: fn(&Quantiles) -> Option<f64>,
}

impl Time {
    const fn new(
        heading: &'static str,
        dispensable: u8,
        value: fn(&Quantiles) -> Option<f64>,
    ) -> Self {
        Self {
            heading,
            dispensable,
            value,
        }
    }
}

const TIMES: [Time; 9] = [
    Time::new("min", 1, |times| times.min),
    Time::new("p50", 0, |times| times.p50),
    Time::new("p75", 5, |times| times.p75),
    Time::new("p90", 2, |times| times.p90),
    Time::new("p99", 0, |times| times.p99),
    Time::new("p99.9", 0, |times| times.p99_9),
    Time::new("p99.99", 4, |times| times.p99_99),
    Time::new("max", 0, |times| times.max),
    Time::new("mean", 3, |times| times.mean),
];

/// A trial's times, those that were measured.
fn times(trial: &Trial, columns: &[Time], style: Style) -> Table {
    let mut table = style.table();
    let headings = columns.iter().map(|column| column.heading);
    table.set_header(std::iter::once("us").chain(headings).chain(["count"]));
    let times: [(&str, &Quantiles); 5] = [
        ("response", &trial.response_us),
        ("service", &trial.service_us),
        ("lateness", &trial.lateness_us),
        ("wait", &trial.wait_us),
        ("connect", &trial.connect_us),
    ];
    for (name, times) in times.into_iter().filter(|(_, times)| times.count > 0) {
        let cells = columns.iter().map(|column| optional((column.value)(times)));
        table.add_row(
            std::iter::once(name.to_owned())
                .chain(cells)
                .chain([count(times.count)]),
        );
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// The errors of a trial: `3 reset, 1 closed-early`.
pub fn errors(errors: &BTreeMap<String, u64>) -> String {
    let errors = errors.iter();
    let errors = errors.map(|(kind, number)| format!("{} {kind}", count(*number)));
    errors.collect::<Vec<_>>().join(", ")
}

/// The note of a closed loop whose generator was at its limit while the server was not.
pub const GENERATOR_BOUND: &str = "generator-bound";

/// The causes as they are written in JSON.
pub fn words<T: serde::Serialize>(causes: &[T]) -> String {
    let word = |cause: &T| {
        serde_json::to_value(cause)
            .ok()?
            .as_str()
            .map(str::to_owned)
    };
    causes
        .iter()
        .filter_map(word)
        .collect::<Vec<_>>()
        .join(", ")
}

/// How to read the tables of a bench.
const LEGEND: &str = "\
Times are response times in microseconds, from the moment a request was due to its answer, over all \
trials together. The first row leads; `*` or bold marks the best of a column. `>=`: the generator was \
the limit, the server does at least so much. `\u{b1}`: half the 95 % confidence interval from five VALID \
trials on (bootstrap over trials), half their range with fewer, as a share of the figure. CPU time, \
context switches and system calls are for each request, over the server's whole process tree.";

/// How to read the tables of a bench.
pub fn legend(style: Style) -> String {
    match style {
        Style::Markdown => LEGEND.to_owned(),
        Style::Terminal { .. } | Style::Plain => LEGEND.replace('`', ""),
    }
}

/// `1 thread`, `2 threads`.
pub fn counted(n: u64, what: &str) -> String {
    let plural = if n == 1 { "" } else { "s" };
    format!("{} {what}{plural}", count(n))
}

/// Where a table is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// A terminal so many columns wide.
    Terminal {
        /// Its width; columns that do not fit are left out.
        width: u16,
        /// Whether it may be coloured.
        colour: bool,
    },
    /// A pipe or a file: no colours, all columns.
    Plain,
    /// A Markdown document: all columns.
    Markdown,
}

impl Style {
    /// What standard output is.
    pub fn of_stdout() -> Self {
        let colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            && std::env::var_os("TERM").is_none_or(|terminal| terminal != "dumb");
        match Table::new().width() {
            Some(width) => Self::Terminal { width, colour },
            None => Self::Plain,
        }
    }

    /// Writes to standard output; on a terminal, lines that are too long are broken between words.
    ///
    /// # Errors
    /// When it cannot be written, unless the reader has left: who does so early wants no more.
    pub fn print(self, text: &str) -> anyhow::Result<()> {
        let mut stdout = std::io::stdout();
        let written = stdout.write_all(self.fold(text).as_bytes());
        match written.and_then(|()| stdout.flush()) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                Err(error).context("cannot write to standard output")
            }
            _ => Ok(()),
        }
    }

    fn fold(self, text: &str) -> String {
        let mut folded = String::with_capacity(text.len());
        for line in text.lines() {
            let text = line.trim_start();
            let indent = &line[..line.len() - text.len()];
            let further = format!("{indent}  ");
            match self {
                Self::Terminal { width, .. }
                    if textwrap::core::display_width(line) > width.into() =>
                {
                    let options = textwrap::Options::new(width.into())
                        .initial_indent(indent)
                        .subsequent_indent(&further)
                        .break_words(false)
                        .word_splitter(textwrap::WordSplitter::NoHyphenation);
                    folded.push_str(&textwrap::fill(text, options));
                }
                _ => folded.push_str(line),
            }
            folded.push('\n');
        }
        folded
    }

    /// Whether a table as it is built in this style has room.
    pub(crate) fn has_room(self, build: impl Fn(Self) -> Table) -> bool {
        let Self::Terminal { width, .. } = self else {
            return true;
        };
        let colourless = Self::Terminal {
            width,
            colour: false,
        };
        let widest = build(colourless)
            .lines()
            .map(|line| line.chars().count())
            .max();
        widest.unwrap_or(0) <= width.into()
    }

    pub(crate) fn table(self) -> Table {
        let mut table = Table::new();
        table.load_style(match self {
            Self::Terminal { .. } => RULED,
            Self::Plain => NOTHING,
            Self::Markdown => ASCII_MARKDOWN,
        });
        match self {
            Self::Terminal { colour: true, .. } => table.enforce_styling(),
            _ => table.force_no_tty(),
        };
        table
    }

    /// Several words of a heading, below each other where that saves room.
    fn heading(self, column: &Column) -> String {
        match self {
            Self::Terminal { .. } => column.heading.join("\n"),
            Self::Plain | Self::Markdown => column.heading.join(" "),
        }
    }
}

/// A column of a bench's table.
struct Column {
    heading: &'static [&'static str],
    /// The higher, the sooner it is left out of a narrow table; 0: never.
    dispensable: u8,
    cell: fn(&Figures) -> String,
    /// What makes a row the best of this column: the least of these. `None`: nothing does.
    best: fn(&Figures) -> Option<f64>,
}

const COLUMNS: [Column; 15] = [
    Column {
        heading: &["requests/s"],
        dispensable: 0,
        cell: |row| {
            let at_least = if row.generator_bound() { ">= " } else { "" };
            format!("{at_least}{}", spread(row, row.rate.value, Some(row.rate)))
        },
        best: |row| Some(-row.rate.value),
    },
    Column {
        heading: &["p50", "us"],
        dispensable: 0,
        cell: |row| percentile(row, row.response_us.p50, row.p50_us),
        best: |row| row.response_us.p50,
    },
    Column {
        heading: &["p90", "us"],
        dispensable: 8,
        cell: |row| optional(row.response_us.p90),
        best: |row| row.response_us.p90,
    },
    Column {
        heading: &["p99", "us"],
        dispensable: 1,
        cell: |row| percentile(row, row.response_us.p99, row.p99_us),
        best: |row| row.response_us.p99,
    },
    Column {
        heading: &["p99.9", "us"],
        dispensable: 6,
        cell: |row| percentile(row, row.response_us.p99_9, row.p99_9_us),
        best: |row| row.response_us.p99_9,
    },
    Column {
        heading: &["max", "us"],
        dispensable: 2,
        cell: |row| optional(row.response_us.max),
        best: |row| row.response_us.max,
    },
    Column {
        heading: &["CPU us", "/request"],
        dispensable: 3,
        cell: |row| optional(row.costs.cpu_us),
        best: |row| row.costs.cpu_us,
    },
    Column {
        heading: &["switches", "/request"],
        dispensable: 9,
        cell: |row| optional(row.costs.context_switches),
        best: |row| row.costs.context_switches,
    },
    Column {
        heading: &["syscalls", "/request"],
        dispensable: 10,
        cell: |row| optional(row.costs.syscalls),
        best: |row| row.costs.syscalls,
    },
    Column {
        heading: &["memory", "MiB"],
        dispensable: 5,
        cell: |row| optional(row.costs.memory_mib),
        best: |row| row.costs.memory_mib,
    },
    Column {
        heading: &["threads"],
        dispensable: 11,
        cell: |row| whole(row.costs.threads),
        best: |_| None,
    },
    Column {
        heading: &["processes"],
        dispensable: 12,
        cell: |row| whole(row.costs.processes),
        best: |_| None,
    },
    Column {
        heading: &["clients", "answered"],
        dispensable: 4,
        cell: |row| {
            format!(
                "{} of {}",
                count(row.connections_answered as u64),
                count(row.connections as u64)
            )
        },
        best: |_| None,
    },
    Column {
        heading: &["trials"],
        dispensable: 13,
        cell: |row| match row.left_out {
            0 => row.trials.to_string(),
            left_out => format!("{} of {}", row.trials, row.trials + left_out),
        },
        best: |_| None,
    },
    Column {
        heading: &["verdict"],
        dispensable: 7,
        cell: |row| words(&[row.verdict]),
        best: |_| None,
    },
];

/// The headings of a bench's table, after that of the servers' names.
pub fn headings() -> Vec<String> {
    COLUMNS
        .iter()
        .map(|column| column.heading.join(" "))
        .collect()
}

/// The rows of it: a cell under each of [`headings`], and whether it is the best of its column.
pub fn cells(rows: &[&Figures]) -> Vec<Vec<(String, bool)>> {
    marked(rows, &COLUMNS.each_ref())
}

fn marked(rows: &[&Figures], columns: &[&Column]) -> Vec<Vec<(String, bool)>> {
    let ranked = |row: &&&Figures| row.verdict == Verdict::Valid;
    let shown = |column: &Column, row: &Figures| (column.best)(row).map(|best| figure(best.abs()));
    // Where all are shown to be equal nobody is the best.
    let best = |column: &&Column| {
        let ranked = || rows.iter().filter(ranked);
        let best = |row: &&&Figures| (column.best)(row);
        let (row, _) = ranked()
            .filter_map(|row| Some((row, best(&row)?)))
            .min_by(|(_, a), (_, b)| a.total_cmp(b))?;
        let text = shown(column, row);
        ranked()
            .any(|row| shown(column, row) != text)
            .then_some(text?)
    };
    let bests: Vec<Option<String>> = columns.iter().map(best).collect();
    let mark = |row: &&Figures| {
        let columns = columns.iter().zip(&bests);
        let cells = columns.map(|(column, best)| {
            let is_best = ranked(&row) && best.is_some() && shown(column, row) == *best;
            ((column.cell)(row), is_best)
        });
        cells.collect()
    };
    rows.iter().map(mark).collect()
}

fn whole(x: Option<f64>) -> String {
    x.map_or_else(|| "n/a".to_owned(), |x| count(x.round() as u64))
}

/// A percentile of all trials together; the median of theirs where the histograms are not there.
fn percentile(row: &Figures, value: Option<f64>, of_trials: Option<Spread>) -> String {
    let value = value.or(of_trials.map(|spread| spread.value));
    value.map_or_else(|| "n/a".to_owned(), |value| spread(row, value, of_trials))
}

/// `1,234 \u{b1}5%`; without the spread where there is one trial.
fn spread(row: &Figures, value: f64, of_trials: Option<Spread>) -> String {
    match of_trials {
        Some(spread) if row.trials > 1 => {
            format!("{} \u{b1}{:.0}%", figure(value), spread.relative() * 100.0)
        }
        _ => figure(value),
    }
}

/// A section of a bench: what was asked, the rows that are ranked, and apart from them the others.
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
    let (valid, invalid) = (measured(Verdict::Valid), measured(Verdict::Invalid));
    let list = if style == Style::Markdown { "* " } else { "  " };
    let write_remarks = |text: &mut String, remarks: Vec<String>| {
        if style == Style::Markdown && !remarks.is_empty() {
            text.push('\n');
        }
        for remark in remarks {
            let _ = writeln!(text, "{list}{remark}");
        }
    };
    for (rows, ranked) in [(&valid, true), (&invalid, false)] {
        if rows.is_empty() {
            continue;
        }
        if !ranked {
            let blank = if style == Style::Markdown { "\n" } else { "" };
            let _ = writeln!(text, "{blank}INVALID, not ranked:{blank}");
        }
        let (table, left_out) = fit(rows, ranked, style);
        let _ = writeln!(text, "{table}");
        if !left_out.is_empty() {
            let _ = writeln!(
                text,
                "  no room for: {} (all are in summary.md)",
                left_out.join(", ")
            );
        }
        let remarks = rows
            .iter()
            .filter_map(|(row, figures)| remark(row, figures));
        write_remarks(&mut text, remarks.collect());
    }
    write_remarks(&mut text, without_figures(section));
    text
}

/// With which load a section asks.
pub fn asked(section: &Section) -> String {
    let point = &section.point;
    let load = match point.load {
        Load::Closed if point.pipeline > 1 => {
            format!("closed loop, {} requests in flight on each", point.pipeline)
        }
        Load::Closed => "closed loop".to_owned(),
        Load::Open { rate, arrivals } => {
            let arrivals = match arrivals {
                Arrivals::Poisson => "Poisson",
                Arrivals::Constant => "constant",
            };
            format!("open loop, {} requests/s, {arrivals}", figure(rate))
        }
    };
    let message = match point.mode {
        Mode::Echo => format!("{}-byte echo", count(point.size as u64)),
        Mode::Once => "a connection for each request".to_owned(),
        Mode::Http => "HTTP/1.1".to_owned(),
    };
    let neighbours = point.neighbours;
    let mut clients = count(point.connections as u64);
    for (number, what) in [
        (neighbours.idle, "idle"),
        (neighbours.slow_readers, "slow readers"),
        (neighbours.half_senders, "half-senders"),
        (neighbours.floods, "floods"),
    ] {
        if number > 0 {
            let _ = write!(clients, " + {} {what}", count(number as u64));
        }
    }
    if neighbours.churn > 0.0 {
        let _ = write!(clients, " + {} new a second", figure(neighbours.churn));
    }
    format!(
        "{load}; {message}; clients: {clients}; ranked by {}",
        section.rank.name()
    )
}

/// Why rows have no figures; those with the same reason in one line.
fn without_figures(section: &Section) -> Vec<String> {
    let mut reasons: Vec<(&NoResult, Vec<&str>)> = Vec::new();
    for row in &section.rows {
        if let Err(without) = &row.outcome {
            match reasons.iter_mut().find(|(reason, _)| *reason == without) {
                Some((_, servers)) => servers.push(&row.server),
                None => reasons.push((without, vec![&row.server])),
            }
        }
    }
    let line = |(without, servers): (&NoResult, Vec<&str>)| {
        format!(
            "{}: {}: {}",
            servers.join(", "),
            words(&[without.status]),
            without.reason
        )
    };
    reasons.into_iter().map(line).collect()
}

/// What else there is to say about a row.
pub(crate) fn remark(row: &Row, figures: &Figures) -> Option<String> {
    let mut remarks = Vec::new();
    if !figures.causes.is_empty() {
        remarks.push(words(&figures.causes));
    }
    // Of the notes that begin alike, as of several trials, the first.
    let kind = |note: &str| note.split(':').next().unwrap_or_default().to_owned();
    let mut kinds: Vec<(String, &str, usize)> = Vec::new();
    for note in &figures.notes {
        match kinds.iter_mut().find(|(other, ..)| *other == kind(note)) {
            Some((.., more)) => *more += 1,
            // The rate's `>=` says it.
            None if note == GENERATOR_BOUND => {}
            None => kinds.push((kind(note), note, 0)),
        }
    }
    remarks.extend(kinds.into_iter().map(|(_, note, more)| match more {
        0 => note.to_owned(),
        more => format!("{note} (and in {more} more)"),
    }));
    if figures.connections_answered < figures.connections {
        remarks.push(format!(
            "{} of {} were answered",
            count(figures.connections_answered as u64),
            counted(figures.connections as u64, "client")
        ));
    }
    if figures.failed > 0 {
        remarks.push(format!("{} failed", counted(figures.failed, "request")));
    }
    if figures.left_out > 0 {
        let left_out = counted(figures.left_out as u64, "INVALID trial");
        remarks.push(format!("{left_out} left out"));
    }
    (!remarks.is_empty()).then(|| format!("{}: {}", row.server, remarks.join("; ")))
}

/// A table of as many columns as fit, and the headings of those that do not.
fn fit(rows: &[(&Row, &Figures)], ranked: bool, style: Style) -> (Table, Vec<String>) {
    let mut columns: Vec<&Column> = COLUMNS.iter().collect();
    let mut least = 0;
    while !style.has_room(|style| build(rows, &columns, ranked, style)) {
        let dispensable = columns
            .iter()
            .map(|column| column.dispensable)
            .max()
            .unwrap_or(0);
        if dispensable == 0 {
            break;
        }
        least = dispensable;
        columns.retain(|column| column.dispensable < least);
    }
    let left_out = COLUMNS
        .iter()
        .filter(|column| least > 0 && column.dispensable >= least);
    let left_out = left_out
        .map(|column| column.heading[0].to_owned())
        .collect();
    (build(rows, &columns, ranked, style), left_out)
}

fn build(rows: &[(&Row, &Figures)], columns: &[&Column], ranked: bool, style: Style) -> Table {
    let mut table = style.table();
    let headings = columns.iter().map(|column| style.heading(column));
    table.set_header(std::iter::once("server".to_owned()).chain(headings));
    let figures: Vec<&Figures> = rows.iter().map(|(_, figures)| *figures).collect();
    for (at, cells) in marked(&figures, columns).into_iter().enumerate() {
        let leads = ranked && rows.len() > 1 && at == 0;
        let cells = cells
            .into_iter()
            .map(|(text, best)| cell(text, best, style));
        table.add_row(std::iter::once(name(&rows[at].0.server, leads, style)).chain(cells));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    if style != Style::Markdown {
        // The mark of the best leaves a blank behind the others.
        table.column_iter_mut().for_each(|column| {
            column.set_padding((0, 1));
        });
    }
    table
}

/// The first cell of a row; the leader's is marked.
fn name(server: &str, leads: bool, style: Style) -> Cell {
    match (leads, style) {
        (true, Style::Markdown) => Cell::new(format!("**{server}**")),
        (true, _) => Cell::new(format!("> {server}"))
            .add_attribute(Attribute::Bold)
            .fg(Color::Green),
        (false, Style::Markdown) => Cell::new(server),
        (false, _) => Cell::new(format!("  {server}")),
    }
}

/// A figure; the best of its column is marked.
fn cell(text: String, best: bool, style: Style) -> Cell {
    match (best, style) {
        (true, Style::Markdown) => Cell::new(format!("**{text}**")),
        (true, _) => Cell::new(text + "*").add_attribute(Attribute::Bold),
        (false, Style::Markdown) => Cell::new(text),
        (false, _) => Cell::new(text + " "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits() {
        let shown: Vec<String> = [0.0, 0.5, 9.994, 9.995, 99.94, 99.95, 999.6, 6604.4, 1e6]
            .map(figure)
            .into();
        assert_eq!(
            shown,
            [
                "0.00",
                "0.50",
                "9.99",
                "10.0",
                "99.9",
                "100",
                "1,000",
                "6,604",
                "1,000,000"
            ]
        );
    }

    #[test]
    fn long_lines_are_folded_on_a_terminal_only() {
        let text = "short\n  a line of six-letter words\n\u{1b}[1mstyled text\u{1b}[0m\n";
        let terminal = Style::Terminal {
            width: 12,
            colour: true,
        };
        assert_eq!(
            terminal.fold(text),
            "short\n  a line of\n    six-letter\n    words\n\u{1b}[1mstyled text\u{1b}[0m\n"
        );
        assert_eq!(Style::Plain.fold(text), text);
    }

    #[test]
    fn counts_are_grouped_from_the_right() {
        assert_eq!(
            [0, 12, 123, 1234, 123_456, 1_234_567].map(count),
            ["0", "12", "123", "1,234", "123,456", "1,234,567"]
        );
    }
}

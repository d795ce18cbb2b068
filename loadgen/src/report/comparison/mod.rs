//! `loadgen compare`: B against A, row by row, and how sure each difference is.
//!
//! Two runs are comparable when the machine and the settings were the same, and two rows when the load
//! was. The servers may differ in all: they are what is compared. A rate is all answers over the time of
//! all trials, a percentile that of their merged histograms; [`crate::stats::bootstrap`] says how sure the ratio
//! of two such figures is. All figures of all rows are one family: the chance that any of them shows
//! a difference where there is none is [`ALPHA`].

mod text;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use serde::Serialize;

use crate::cli::run::{Usage, parse_percent};
use crate::report::summary;
use crate::report::table::{GENERATOR_BOUND, Style, words};
use crate::results::directory::{PointDir, Run, RunDir, Status};
use crate::results::trial::{SCHEMA_VERSION, Trial, Verdict};
use crate::stats::bootstrap::{Estimate, LEAST_TRIALS, Pool, Ratio, holm};
use crate::workload::scenario::{Point, Profile, Rank, Scenario};

/// The chance that any figure of a comparison shows a difference where there is none.
const ALPHA: f64 = 0.01;
/// A smaller difference is none, however sure: between two builds of the same source, the addresses of the
/// code alone make a few percent.
const LEAST_EFFECT: f64 = 0.05;

/// The flags of `loadgen compare`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A and B are directories that `loadgen bench` wrote, or one server of such a run: DIR:SERVER. Where \
only one side names a server, the other's of the same name is taken.

Each figure is shown as B / A with an interval that holds for all figures together at 99 % (bootstrap \
over trials, Student's t, Holm). `slower` and `faster` mean: the interval excludes 1, and the ratio is \
at least 5 % off. At least three VALID trials of each are needed, and three rarely tell anything that \
is not a multiple: five, as of the standard profile, or more (bench --trials) narrow the intervals, and \
so does a bench of fewer rows.

Examples:
  loadgen compare results/before results/after
  loadgen compare results/latest:poll results/latest:epoll
  loadgen compare main branch --threshold 10% --markdown > comment.md

Exit codes: 0 no regression, 1 a figure of B is slower by the threshold or more or a server failed in B alone, \
2 the two cannot be compared.")]
pub struct CompareArgs {
    /// What is compared with: DIR or DIR:SERVER
    #[arg(value_name = "A")]
    a: String,
    /// What is judged: DIR or DIR:SERVER
    #[arg(value_name = "B")]
    b: String,
    /// A figure that is slower by at least so much is a regression
    #[arg(long, value_name = "PERCENT", default_value = "5%", value_parser = parse_percent)]
    threshold: f64,
    /// Print a Markdown document, such as for a pull request
    #[arg(long)]
    markdown: bool,
    /// Print a JSON object
    #[arg(long, conflicts_with = "markdown")]
    json: bool,
}

impl CompareArgs {
    /// Compares, and prints what came of it.
    ///
    /// # Errors
    /// [`Usage`] when the two cannot be compared.
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        let (a, b) = (Side::open(&self.a)?, Side::open(&self.b)?);
        comparable(&a, &b).map_err(|error| Usage(format!("{error:#}")))?;
        let comparison =
            Comparison::of(&a, &b, self.threshold).map_err(|error| Usage(format!("{error:#}")))?;
        let style = if self.markdown {
            Style::Markdown
        } else if self.json {
            Style::Plain
        } else {
            Style::of_stdout()
        };
        style.print(&if self.json {
            serde_json::to_string_pretty(&comparison)?
        } else {
            text::render(&comparison, style)
        })?;
        if comparison.comparisons == 0 && !comparison.regression {
            return Err(Usage("no row of these two can be compared".to_owned()).into());
        }
        Ok(ExitCode::from(u8::from(comparison.regression)))
    }
}

/// One side of a comparison.
struct Side {
    /// As the user named it.
    name: String,
    directory: RunDir,
    run: Run,
    profile: Profile,
    /// Only this server.
    server: Option<String>,
}

impl Side {
    /// Opens `DIR` or `DIR:SERVER`.
    fn open(name: &str) -> anyhow::Result<Self> {
        let (path, server) = match name.rsplit_once(':') {
            Some((path, server)) if !Path::new(name).exists() => (path, Some(server.to_owned())),
            _ => (name, None),
        };
        let open = || -> anyhow::Result<(RunDir, Run, Profile)> {
            let (directory, run) = RunDir::open(Path::new(path))?;
            let profile = run.profile()?;
            if let Some(server) = &server {
                let mut names = profile.servers.iter().map(|entry| entry.name.as_str());
                ensure!(
                    names.clone().any(|name| name == server),
                    "{path} has no server `{server}`; it has {}",
                    names.by_ref().collect::<Vec<_>>().join(", ")
                );
            }
            Ok((directory, run, profile))
        };
        let (directory, run, profile) = open().map_err(|error| Usage(format!("{error:#}")))?;
        Ok(Self {
            name: name.to_owned(),
            directory,
            run,
            profile,
            server,
        })
    }

    fn find(&self, scenario: &str, point: &str) -> Option<(&Scenario, &Point)> {
        let mut scenarios = self.profile.scenarios.iter();
        let scenario = scenarios.find(|other| other.name == scenario)?;
        let point = scenario.points.iter().find(|other| other.name == point)?;
        Some((scenario, point))
    }

    fn has(&self, server: &str) -> bool {
        let mut servers = self.profile.servers.iter();
        servers.any(|entry| entry.name == server)
    }
}

/// Refuses runs whose figures differ for other reasons than their servers.
fn comparable(a: &Side, b: &Side) -> anyhow::Result<()> {
    let refusal = format!("{} and {} cannot be compared", a.name, b.name);
    if let Some(difference) = a.run.machine.difference(&b.run.machine) {
        bail!("{refusal}: the machines differ in {difference}");
    }
    ensure!(
        a.run.loadgen == b.run.loadgen,
        "{refusal}: they were measured by loadgen {} and loadgen {}",
        a.run.loadgen,
        b.run.loadgen
    );
    let settings = |side: &Side| {
        let settings = &side.run.settings;
        [
            ("keep_awake", settings.keep_awake.to_string()),
            ("server_cpus", format!("{:?}", settings.server_cpus)),
            ("generator_cpus", format!("{:?}", settings.generator_cpus)),
        ]
    };
    for ((name, in_a), (_, in_b)) in settings(a).into_iter().zip(settings(b)) {
        ensure!(
            in_a == in_b,
            "{refusal}: the settings differ: {name} is {in_a} and {in_b}"
        );
    }
    Ok(())
}

/// B against A: what `--json` prints.
#[derive(Debug, Serialize)]
struct Comparison {
    schema_version: u32,
    /// What is compared with, as the user named it.
    a: String,
    /// What is judged.
    b: String,
    /// 1 - [`ALPHA`].
    confidence: f64,
    /// The least difference that counts.
    least_effect: f64,
    /// The least difference that is a regression.
    threshold: f64,
    /// The figures that were compared, which share the chance of an error.
    comparisons: usize,
    /// A figure is slower by the threshold or more, or B failed where A has figures.
    regression: bool,
    rows: Vec<Row>,
}

/// A server at a point.
#[derive(Debug, Serialize)]
struct Row {
    scenario: String,
    point: String,
    /// The server's name in A, and in B where that is another.
    server: String,
    rank: Rank,
    verdict: Outcome,
    /// Why it is not comparable.
    reason: Option<String>,
    /// The server failed in B, and has figures in A.
    broke: bool,
    /// The figure by which the scenario is ranked comes first.
    figures: Vec<Compared>,
}

/// What a comparison shows of B.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Outcome {
    Faster,
    Slower,
    NoDifferenceShown,
    NotComparable,
}

/// One figure of a row.
#[derive(Debug, Serialize)]
struct Compared {
    figure: Rank,
    /// Requests a second, or microseconds.
    a: f64,
    b: f64,
    /// B / A.
    ratio: f64,
    /// The interval of the ratio.
    low: f64,
    high: f64,
    /// Without correction for the number of comparisons.
    p_value: f64,
    verdict: Outcome,
}

impl Comparison {
    fn of(a: &Side, b: &Side, threshold: f64) -> anyhow::Result<Self> {
        let pairs = pairs(a, b)?;
        let figures = pairs.iter().flat_map(|pair| &pair.figures);
        let p_values: Vec<f64> = figures.map(|figure| figure.ratio.p_value()).collect();
        let mut chances = holm(&p_values, ALPHA).into_iter();
        let least_effect = LEAST_EFFECT.min(threshold);
        let mut rows = Vec::with_capacity(pairs.len());
        for Pair {
            mut row,
            figures,
            bound,
        } in pairs
        {
            // The figures come first: with none left there is no chance left.
            let judged = figures.iter().zip(&mut chances);
            row.figures = judged
                .map(|(figure, chance)| figure.judge(chance, least_effect, bound))
                .collect();
            row.conclude();
            rows.push(row);
        }
        let slower = rows.iter().flat_map(|row| &row.figures).any(|figure| {
            figure.verdict == Outcome::Slower
                && slowdown(figure.figure, figure.ratio) >= 1.0 + threshold
        });
        let regression = slower || rows.iter().any(|row| row.broke);
        Ok(Self {
            schema_version: SCHEMA_VERSION,
            a: a.name.clone(),
            b: b.name.clone(),
            confidence: 1.0 - ALPHA,
            least_effect,
            threshold,
            comparisons: p_values.len(),
            regression,
            rows,
        })
    }
}

/// How many times as slow B is: above 1 it is slower.
fn slowdown(figure: Rank, ratio: f64) -> f64 {
    match figure {
        Rank::Rate => ratio.recip(),
        Rank::P50 | Rank::P99 | Rank::P999 => ratio,
    }
}

impl Figure {
    /// What the figure shows, when it may be wrong with this chance.
    fn judge(&self, chance: f64, least_effect: f64, bound: GeneratorBound) -> Compared {
        let slowdown = slowdown(self.kind, self.ratio.value);
        let p_value = self.ratio.p_value();
        let sure = p_value <= chance;
        // What the generator could not fill may be as good as the other.
        let verdict = if sure && slowdown >= 1.0 + least_effect && !bound.b {
            Outcome::Slower
        } else if sure && slowdown.recip() >= 1.0 + least_effect && !bound.a {
            Outcome::Faster
        } else {
            Outcome::NoDifferenceShown
        };
        let (low, high) = self.ratio.interval(chance);
        // Histograms hold nanoseconds, the reader reads microseconds.
        let unit = if self.kind == Rank::Rate { 1.0 } else { 1e3 };
        Compared {
            figure: self.kind,
            a: self.a / unit,
            b: self.b / unit,
            ratio: self.ratio.value,
            low,
            high,
            p_value,
            verdict,
        }
    }
}

impl Row {
    /// The first figure that differs decides: the scenario's own, then one that is slower.
    fn conclude(&mut self) {
        let shows = |outcome| self.figures.iter().any(|figure| figure.verdict == outcome);
        self.verdict = match self.figures.first().map(|figure| figure.verdict) {
            None => Outcome::NotComparable,
            Some(Outcome::NoDifferenceShown) if shows(Outcome::Slower) => Outcome::Slower,
            Some(Outcome::NoDifferenceShown) if shows(Outcome::Faster) => Outcome::Faster,
            Some(verdict) => verdict,
        };
    }
}

/// Which side the generator could not fill.
#[derive(Debug, Clone, Copy, Default)]
struct GeneratorBound {
    a: bool,
    b: bool,
}

/// A row before the verdict, which needs all rows.
struct Pair {
    row: Row,
    figures: Vec<Figure>,
    bound: GeneratorBound,
}

/// A figure before the verdict: requests a second, or nanoseconds.
struct Figure {
    kind: Rank,
    a: f64,
    b: f64,
    ratio: Ratio,
}

/// The rows of both sides, each point of A in its order, then those that only B has.
fn pairs(a: &Side, b: &Side) -> anyhow::Result<Vec<Pair>> {
    let servers = servers(a, b);
    let points = |side: &Side| -> Vec<(String, String, Rank)> {
        let scenarios = side.profile.scenarios.iter();
        scenarios
            .flat_map(|scenario| {
                let points = scenario.points.iter();
                points.map(|point| (scenario.name.clone(), point.name.clone(), scenario.rank))
            })
            .collect()
    };
    let mut all = points(a);
    let only_b = points(b)
        .into_iter()
        .filter(|(scenario, point, _)| a.find(scenario, point).is_none());
    all.extend(only_b);
    let mut pairs = Vec::new();
    for (scenario, point, rank) in &all {
        for (server_a, server_b) in &servers {
            let mut row = Row {
                scenario: scenario.clone(),
                point: point.clone(),
                server: if server_a == server_b {
                    server_a.clone()
                } else {
                    format!("{server_b} / {server_a}")
                },
                rank: *rank,
                verdict: Outcome::NotComparable,
                reason: None,
                broke: false,
                figures: Vec::new(),
            };
            let place = |side: &Side, server: &str| side.directory.point(scenario, server, point);
            let not_both = not_both(a, b, row.scenario.as_str(), point, server_a, server_b);
            let measured = if let Some(reason) = not_both {
                Err(reason)
            } else {
                let in_a = Measured::read(&place(a, server_a), *rank)?;
                let failed = place(b, server_b)
                    .no_result()?
                    .is_some_and(|without| without.status == Status::Failed);
                row.broke = failed && in_a.is_ok();
                both(in_a, Measured::read(&place(b, server_b), *rank)?)
            };
            pairs.push(Pair::new(row, measured));
        }
    }
    Ok(pairs)
}

/// The names of the servers that are compared, in A and in B.
fn servers(a: &Side, b: &Side) -> Vec<(String, String)> {
    match (&a.server, &b.server) {
        (Some(in_a), Some(in_b)) => vec![(in_a.clone(), in_b.clone())],
        (Some(one), None) | (None, Some(one)) => vec![(one.clone(), one.clone())],
        (None, None) => {
            let entries = a
                .profile
                .servers
                .iter()
                .chain(b.profile.servers.iter().filter(|entry| !a.has(&entry.name)));
            entries
                .map(|entry| (entry.name.clone(), entry.name.clone()))
                .collect()
        }
    }
}

/// Why a row of both runs is none, or its loads differ.
fn not_both(
    a: &Side,
    b: &Side,
    scenario: &str,
    point: &str,
    server_a: &str,
    server_b: &str,
) -> Option<String> {
    let only = |side: &Side| Some(format!("only in {}", side.name));
    let ((scenario_a, point_a), (scenario_b, point_b)) =
        match (a.find(scenario, point), b.find(scenario, point)) {
            (Some(in_a), Some(in_b)) => (in_a, in_b),
            (_, None) => return only(a),
            (None, _) => return only(b),
        };
    if !b.has(server_b) {
        return only(a);
    }
    if !a.has(server_a) {
        return only(b);
    }
    let fields = |scenario: &Scenario, point: &Point| {
        [
            ("the servers' flags", format!("{:?}", scenario.server_flags)),
            ("mode", format!("{:?}", point.mode)),
            ("load", format!("{:?}", point.load)),
            ("connections", point.connections.to_string()),
            ("pipeline", point.pipeline.to_string()),
            ("size", point.size.to_string()),
            ("warmup", format!("{:?}", point.warmup)),
            ("duration", format!("{:?}", point.duration)),
            ("drain", format!("{:?}", point.drain)),
            ("neighbours", format!("{:?}", point.neighbours)),
        ]
    };
    fields(scenario_a, point_a)
        .into_iter()
        .zip(fields(scenario_b, point_b))
        .find(|(in_a, in_b)| in_a != in_b)
        .map(|((name, in_a), (_, in_b))| format!("the loads differ in {name}: {in_a} and {in_b}"))
}

/// Both sides' figures, or why there are not both.
fn both(
    a: Result<Measured, String>,
    b: Result<Measured, String>,
) -> Result<(Measured, Measured), String> {
    match (a, b) {
        (Ok(a), Ok(b)) => Ok((a, b)),
        (Err(a), Err(b)) if a == b => Err(a),
        (Err(a), Err(b)) => Err(format!("A: {a}; B: {b}")),
        (Err(a), Ok(_)) => Err(format!("A: {a}")),
        (Ok(_), Err(b)) => Err(format!("B: {b}")),
    }
}

/// What the VALID trials of a server at a point come to.
struct Measured {
    figures: Vec<(Rank, Estimate)>,
    generator_bound: bool,
}

impl Measured {
    /// Reads what there is; a line of why that is too little.
    fn read(place: &PointDir, rank: Rank) -> anyhow::Result<Result<Self, String>> {
        if let Some(no_result) = place.no_result()? {
            let reason = format!("{}: {}", words(&[no_result.status]), no_result.reason);
            return Ok(Err(reason));
        }
        let (valid, invalid): (Vec<_>, Vec<_>) = place
            .trials()?
            .into_iter()
            .partition(|(_, trial)| trial.verdict == Verdict::Valid);
        if valid.len() < LEAST_TRIALS {
            return Ok(Err(too_few(valid.len(), &invalid)));
        }
        let mut histograms = Vec::with_capacity(valid.len());
        for (number, trial) in &valid {
            histograms.push(summary::response_times(&place.log(*number), trial)?.1);
        }
        let pool = Pool::new(&histograms);
        let mut figures = Vec::new();
        for rank in in_order(rank) {
            let estimate = match rank {
                Rank::Rate => rate(&valid),
                Rank::P50 => pool.estimate(0.5),
                Rank::P99 => pool.estimate(0.99),
                Rank::P999 => pool.estimate(0.999),
            };
            figures.push((rank, estimate.context("a VALID trial has answers")?));
        }
        Ok(Ok(Self {
            figures,
            generator_bound: valid
                .iter()
                .any(|(_, trial)| trial.notes.iter().any(|note| note == GENERATOR_BOUND)),
        }))
    }
}

/// The figures that count: that of the scenario first.
fn in_order(rank: Rank) -> Vec<Rank> {
    let others = [Rank::Rate, Rank::P50, Rank::P99];
    let others = others.into_iter().filter(|other| *other != rank);
    std::iter::once(rank).chain(others).collect()
}

fn too_few(valid: usize, invalid: &[(usize, Trial)]) -> String {
    let causes = summary::distinct(invalid.iter().flat_map(|(_, trial)| &trial.causes));
    let wrong = if causes.is_empty() {
        String::new()
    } else {
        format!(", {} INVALID ({})", invalid.len(), words(&causes))
    };
    format!("too few trials: {valid} VALID of at least {LEAST_TRIALS}{wrong}")
}

/// Answers a second over the time of all trials.
fn rate(trials: &[(usize, Trial)]) -> Option<Estimate> {
    Estimate::of(trials.len(), |weights| {
        let weighted = |figure: fn(&Trial) -> f64| -> f64 {
            let trials = trials.iter().zip(weights);
            trials
                .map(|((_, trial), weight)| figure(trial) * *weight as f64)
                .sum()
        };
        Some(weighted(|trial| trial.rate * trial.duration_s) / weighted(|trial| trial.duration_s))
    })
}

impl Pair {
    fn new(mut row: Row, measured: Result<(Measured, Measured), String>) -> Self {
        let (mut figures, mut bound) = (Vec::new(), GeneratorBound::default());
        match measured {
            Err(reason) => row.reason = Some(reason),
            Ok((a, b)) => {
                bound = GeneratorBound {
                    a: a.generator_bound,
                    b: b.generator_bound,
                };
                let both = a.figures.iter().zip(&b.figures);
                figures.extend(both.map(|((kind, a), (_, b))| Figure {
                    kind: *kind,
                    a: a.value,
                    b: b.value,
                    ratio: Ratio::of(b, a),
                }));
            }
        }
        Self {
            row,
            figures,
            bound,
        }
    }
}

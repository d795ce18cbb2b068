//! A profile as it is written: TOML.
//!
//! Its `[[server]]` tables are the line-up; `line_up = "FILE"` takes them from another file, beside it or
//! built in. Each `[[scenario]]` is one question; `vary = { connections = [1, 10] }` makes a point of each
//! value.

use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::goal::Goal;
use super::line_up::ServerEntry;
use super::load::{Arrivals, DEFAULT_SIZE, Load, Mode, Neighbours, Workload};
use super::scenario::{Point, Rank, Scenario};

/// A profile's file, as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProfileFile {
    #[serde(default)]
    pub about: String,
    pub line_up: Option<String>,
    #[serde(default = "one")]
    pub trials: usize,
    #[serde(default)]
    warmup: Span<200>,
    #[serde(default)]
    duration: Span<1000>,
    #[serde(default)]
    drain: Span<1000>,
    #[serde(default)]
    pub server: Vec<ServerEntry>,
    #[serde(default)]
    scenario: Vec<ScenarioTable>,
}

/// A file that has nothing but a line-up.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LineUpFile {
    pub server: Vec<ServerEntry>,
}

/// A `[[scenario]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ScenarioTable {
    name: String,
    question: String,
    #[serde(default)]
    rank: Rank,
    goal: Option<Goal>,
    #[serde(default)]
    server_flags: Vec<String>,
    #[serde(default = "echo")]
    mode: Mode,
    #[serde(default = "one")]
    connections: usize,
    #[serde(default = "one")]
    pipeline: usize,
    #[serde(default = "default_size")]
    size: usize,
    rate: Option<f64>,
    #[serde(default = "poisson")]
    arrivals: Arrivals,
    warmup: Option<Span<0>>,
    duration: Option<Span<0>>,
    drain: Option<Span<0>>,
    #[serde(default)]
    idle: usize,
    #[serde(default)]
    slow_readers: usize,
    #[serde(default)]
    half_senders: usize,
    #[serde(default)]
    floods: usize,
    #[serde(default)]
    churn: f64,
    #[serde(default)]
    vary: Vary,
}

/// A profile of one load, to be written.
#[derive(Debug, Serialize)]
struct Written<'a> {
    scenario: [WrittenScenario<'a>; 1],
    server: &'a [ServerEntry],
}

/// Its scenario, with the keys of a [`ScenarioTable`].
#[derive(Debug, Serialize)]
struct WrittenScenario<'a> {
    name: &'a str,
    question: &'a str,
    mode: Mode,
    connections: usize,
    pipeline: usize,
    size: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    arrivals: Option<Arrivals>,
    warmup: String,
    duration: String,
    drain: String,
    idle: usize,
    slow_readers: usize,
    half_senders: usize,
    floods: usize,
    churn: f64,
}

/// The text of a profile with these servers and one load.
pub fn of_one_load(
    servers: &[ServerEntry],
    name: &str,
    question: &str,
    load: &Workload,
) -> Result<String, toml::ser::Error> {
    let (rate, arrivals) = match load.load {
        Load::Closed => (None, None),
        Load::Open { rate, arrivals } => (Some(rate), Some(arrivals)),
    };
    let span = |span| humantime::format_duration(span).to_string();
    toml::to_string(&Written {
        scenario: [WrittenScenario {
            name,
            question,
            mode: load.mode,
            connections: load.connections,
            pipeline: load.pipeline,
            size: load.size,
            rate,
            arrivals,
            warmup: span(load.warmup),
            duration: span(load.duration),
            drain: span(load.drain),
            idle: load.neighbours.idle,
            slow_readers: load.neighbours.slow_readers,
            half_senders: load.neighbours.half_senders,
            floods: load.neighbours.floods,
            churn: load.neighbours.churn,
        }],
        server: servers,
    })
}

/// The field of a point that varies.
type Field = fn(&mut Point) -> &mut usize;

/// The values that vary from point to point.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[serde(default)]
struct Vary {
    connections: Vec<usize>,
    pipeline: Vec<usize>,
    size: Vec<usize>,
    rate: Vec<f64>,
    idle: Vec<usize>,
    slow_readers: Vec<usize>,
    half_senders: Vec<usize>,
    floods: Vec<usize>,
    churn: Vec<f64>,
}

fn one() -> usize {
    1
}

fn default_size() -> usize {
    DEFAULT_SIZE
}

fn echo() -> Mode {
    Mode::Echo
}

fn poisson() -> Arrivals {
    Arrivals::Poisson
}

/// A duration such as `200ms`; `DEFAULT` milliseconds where none is given.
#[derive(Debug, Clone, Copy)]
struct Span<const DEFAULT: u64>(Duration);

impl<const DEFAULT: u64> Default for Span<DEFAULT> {
    fn default() -> Self {
        Self(Duration::from_millis(DEFAULT))
    }
}

impl<'de, const DEFAULT: u64> Deserialize<'de> for Span<DEFAULT> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let span = humantime::parse_duration(&text);
        span.map(Self)
            .map_err(|error| D::Error::custom(format!("`{text}`: {error}, such as 200ms")))
    }
}

/// Parses TOML; the error is `FILE:LINE: MESSAGE`.
pub fn from_toml<T: serde::de::DeserializeOwned>(name: &str, text: &str) -> anyhow::Result<T> {
    toml::from_str(text).map_err(|error| {
        let line = error
            .span()
            .map_or(1, |span| 1 + text[..span.start].matches('\n').count());
        anyhow::anyhow!("{name}:{line}: {}", error.message().replace('\n', ", "))
    })
}

impl ProfileFile {
    /// Its scenarios with their points.
    pub fn scenarios(&self) -> Vec<Scenario> {
        let tables = self.scenario.iter();
        tables.map(|table| table.resolve(self)).collect()
    }
}

impl ScenarioTable {
    /// The scenario with its points. What it does not set, the file sets for all scenarios.
    fn resolve(&self, file: &ProfileFile) -> Scenario {
        let as_said = Point {
            name: format!("connections-{}", self.connections),
            mode: self.mode,
            load: self.load(self.rate),
            connections: self.connections,
            pipeline: self.pipeline,
            size: self.size,
            warmup: self.warmup.map_or(file.warmup.0, |span| span.0),
            duration: self.duration.map_or(file.duration.0, |span| span.0),
            drain: self.drain.map_or(file.drain.0, |span| span.0),
            neighbours: Neighbours {
                idle: self.idle,
                slow_readers: self.slow_readers,
                half_senders: self.half_senders,
                floods: self.floods,
                churn: self.churn,
            },
        };
        let mut points = Vec::new();
        let vary = &self.vary;
        let counts: [(&str, &[usize], Field); 7] = [
            ("connections", &vary.connections, |point| {
                &mut point.connections
            }),
            ("pipeline", &vary.pipeline, |point| &mut point.pipeline),
            ("size", &vary.size, |point| &mut point.size),
            ("idle", &vary.idle, |point| &mut point.neighbours.idle),
            ("slow-readers", &vary.slow_readers, |point| {
                &mut point.neighbours.slow_readers
            }),
            ("half-senders", &vary.half_senders, |point| {
                &mut point.neighbours.half_senders
            }),
            ("floods", &vary.floods, |point| &mut point.neighbours.floods),
        ];
        for (what, values, field) in counts {
            for &value in values {
                let mut point = Point {
                    name: format!("{what}-{value}"),
                    ..as_said.clone()
                };
                *field(&mut point) = value;
                points.push(point);
            }
        }
        for &rate in &vary.rate {
            let name = format!("rate-{rate}");
            points.push(Point {
                name,
                load: self.load(Some(rate)),
                ..as_said.clone()
            });
        }
        for &churn in &vary.churn {
            let neighbours = Neighbours {
                churn,
                ..as_said.neighbours
            };
            points.push(Point {
                name: format!("churn-{churn}"),
                neighbours,
                ..as_said.clone()
            });
        }
        if points.is_empty() {
            points.push(as_said);
        }
        Scenario {
            name: self.name.clone(),
            question: self.question.clone(),
            rank: self.rank,
            goal: self.goal,
            server_flags: self.server_flags.clone(),
            points,
        }
    }

    fn load(&self, rate: Option<f64>) -> Load {
        rate.map_or(Load::Closed, |rate| Load::Open {
            rate,
            arrivals: self.arrivals,
        })
    }
}

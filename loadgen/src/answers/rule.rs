//! The rules by which claims are checked, as they are written in an experiment's file.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::figure::Figure;

/// How a claim is checked.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// One row divided by another.
    Ratio(Ratio),
    /// One row minus another.
    Difference(Ratio),
    /// A mean response time is longer than another by half an interval.
    HalfInterval(HalfInterval),
    /// A figure grows along a straight line.
    Line(Along),
    /// The mean response time is that of a queue.
    Queue(Queue),
    /// A figure of a row.
    Value(OfRow),
    /// A figure grows from point to point.
    Growth(Growth),
    /// The rate is that of a closed network.
    ClosedNetwork(Network),
    /// The percentiles are those of a server that is stopped again and again.
    Omission(Omission),
}

/// The figure of one row divided by that of another, or minus it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ratio {
    pub figure: Figure,
    pub of: Row,
    pub to: Row,
    /// At these loads; empty: at all.
    #[serde(default)]
    pub points: Vec<String>,
    pub at_least: Option<f64>,
    pub at_most: Option<f64>,
}

/// For rows that ask at an interval: how much longer their mean response time is than that of `base`, divided by
/// half of the interval.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HalfInterval {
    /// The interval of each row.
    pub of: BTreeMap<String, Time>,
    pub base: Row,
    /// The share by which it may differ.
    pub within: f64,
}

/// `figure = a + b * x` over rows, each with its `x`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Along {
    pub figure: Figure,
    /// The `x` of each row.
    pub of: BTreeMap<String, f64>,
    /// The unit of `x`.
    pub unit: String,
    /// How far a row may be from the line, as a share.
    pub within: f64,
}

/// Poisson arrivals at a queue: the mean response time of a row is that of `base` plus what the queue adds.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Queue {
    pub of: Row,
    /// A row with the same load that serves at once.
    pub base: Row,
    /// The service time of the requests that have one.
    pub each: Time,
    /// Their share of all requests.
    #[serde(default = "all")]
    pub share: f64,
    /// Exponentially distributed; else constant.
    #[serde(default)]
    pub exponential: bool,
    /// Requests that are served at once; each of them has a queue of its own, or all have one.
    #[serde(default)]
    pub servers: Servers,
    /// The share by which the time may differ.
    pub within: f64,
}

/// A figure of a row.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfRow {
    pub figure: Figure,
    pub of: Row,
    pub at_least: Option<f64>,
    pub at_most: Option<f64>,
}

/// `figure = a + b * x` over the points of a row, `x` being the number in the point's name. The limits are those of `b`
/// times the greatest `x`, as a share of `a`; or of `b` itself.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Growth {
    pub figure: Figure,
    pub of: Row,
    /// The unit of `x`.
    pub unit: String,
    /// The limits are those of `b`.
    #[serde(default)]
    pub each: bool,
    pub at_least: Option<f64>,
    pub at_most: Option<f64>,
}

/// A closed network: the threads of a row alternate between computing on one core and a delay.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// The threads of each row.
    pub of: BTreeMap<String, u32>,
    /// The mean time that each request needs a core.
    pub work: Time,
    /// The mean time that it waits for something else.
    pub wait: Time,
    /// The share by which the rate may differ.
    pub within: f64,
}

/// A server that is stopped again and again, while requests become due.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Omission {
    pub of: Row,
    /// For how long it is stopped,
    pub stop: Time,
    /// and how often: once in this time.
    pub every: Time,
    /// The share by which the percentiles may differ.
    pub within: f64,
}

/// Who serves, and how requests wait.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Servers {
    /// One queue, one server.
    #[default]
    One,
    /// One queue before this many servers.
    Shared(u32),
    /// This many servers, each with a queue of its own and an equal part of the arrivals.
    Each(u32),
    /// No request waits for another one.
    None,
}

fn all() -> f64 {
    1.0
}

/// A row of the table: `ROW`, or `SCENARIO/ROW` where there are several scenarios.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub struct Row {
    /// The scenario; `None`: the first.
    pub scenario: Option<String>,
    /// The row's name.
    pub server: String,
}

impl From<String> for Row {
    fn from(text: String) -> Self {
        match text.split_once('/') {
            Some((scenario, server)) => Self {
                scenario: Some(scenario.to_owned()),
                server: server.to_owned(),
            },
            None => Self {
                scenario: None,
                server: text,
            },
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.scenario {
            Some(scenario) => write!(f, "{scenario}/{}", self.server),
            None => f.write_str(&self.server),
        }
    }
}

/// A time such as `10ms`, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Time(pub f64);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let time: Result<Duration, _> = humantime::parse_duration(&text);
        time.map(|time| Self(time.as_secs_f64()))
            .map_err(|error| serde::de::Error::custom(format!("`{text}`: {error}, such as 10ms")))
    }
}

impl Rule {
    /// The rows and the points that it names.
    pub fn named(&self) -> (Vec<Row>, &[String]) {
        fn rows<T>(of: &BTreeMap<String, T>) -> Vec<Row> {
            of.keys().cloned().map(Row::from).collect()
        }
        match self {
            Self::Ratio(rule) | Self::Difference(rule) => {
                (vec![rule.of.clone(), rule.to.clone()], &rule.points)
            }
            Self::HalfInterval(rule) => {
                let mut rows = rows(&rule.of);
                rows.push(rule.base.clone());
                (rows, &[])
            }
            Self::Line(rule) => (rows(&rule.of), &[]),
            Self::Queue(rule) => (vec![rule.of.clone(), rule.base.clone()], &[]),
            Self::Value(rule) => (vec![rule.of.clone()], &[]),
            Self::Growth(rule) => (vec![rule.of.clone()], &[]),
            Self::ClosedNetwork(rule) => (rows(&rule.of), &[]),
            Self::Omission(rule) => (vec![rule.of.clone()], &[]),
        }
    }
}

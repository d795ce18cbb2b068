//! A profile as it is written: TOML.
//!
//! Its `[[server]]` tables are the line-up; `line_up = "FILE"` takes them from another file, beside it or
//! built in. Each `[[scenario]]` is one question: its keys are the flags of `loadgen run`, with `_` for `-`.
//! `vary = { connections = [1, 10] }` makes a point of each value.

use std::time::Duration;

use anyhow::anyhow;
use serde::de::{Error as _, IgnoredAny};
use serde::{Deserialize, Deserializer, Serialize};
use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

use super::address::{Address, parse_address, parse_url_without_port};
use super::flags::Files;
use super::flags::keys::{Key, Wrong, ask, scalar, unfit};
use super::line_up::ServerEntry;
use super::load::Shard;
use super::scenario::{Point, Rank, Scenario, Standstill};
use super::toml_text::{misread, place};

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
    /// What an experiment asks. It is not for the bench.
    #[serde(rename = "answer", default)]
    _answer: IgnoredAny,
}

/// A file that has nothing but a line-up.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LineUpFile {
    pub server: Vec<ServerEntry>,
}

/// A `[[scenario]]`, without the keys of its load.
#[derive(Debug, Deserialize)]
struct ScenarioTable {
    name: String,
    question: String,
    #[serde(default)]
    rank: Rank,
    #[serde(default)]
    server_flags: Vec<String>,
    url: Option<String>,
    standstill: Option<StandstillTable>,
    #[serde(default)]
    let_sleep: bool,
}

/// For how long a server is stopped, and how often: once in `every`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StandstillTable {
    length: Span<0>,
    every: Span<0>,
}

/// The keys that a scenario has beside those of its load.
const OWN_KEYS: [&str; 8] = [
    "name",
    "question",
    "rank",
    "server_flags",
    "url",
    "vary",
    "standstill",
    "let_sleep",
];

/// A profile to be written.
#[derive(Debug, Serialize)]
struct Written<'a> {
    scenario: &'a [OneLoad],
    server: &'a [ServerEntry],
}

/// A scenario of one load, to be written.
#[derive(Debug, Serialize)]
pub struct OneLoad {
    /// Its name.
    pub name: String,
    /// What it asks, in a line.
    pub question: String,
    /// The keys of its load.
    #[serde(flatten)]
    pub keys: Table,
}

/// The text of a profile with these servers and scenarios.
pub fn of_loads(servers: &[ServerEntry], loads: &[OneLoad]) -> Result<String, toml::ser::Error> {
    toml::to_string(&Written {
        scenario: loads,
        server: servers,
    })
}

fn one() -> usize {
    1
}

/// A duration such as `200ms`; `DEFAULT` milliseconds where none is given.
#[derive(Debug, Clone, Copy)]
struct Span<const DEFAULT: u64>(Duration);

impl<const DEFAULT: u64> Default for Span<DEFAULT> {
    fn default() -> Self {
        Self(Duration::from_millis(DEFAULT))
    }
}

impl<const DEFAULT: u64> Span<DEFAULT> {
    /// As it would be typed.
    fn typed(self) -> String {
        humantime::format_duration(self.0).to_string()
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

impl ProfileFile {
    /// Reads the scenarios with their points from the file's text. `files` reads the files that its keys name.
    ///
    /// # Errors
    /// `FILE:LINE: MESSAGE` when a key of a load is unknown, or its value does not fit.
    pub fn scenarios(
        &self,
        name: &str,
        text: &str,
        files: &Files<'_>,
    ) -> anyhow::Result<Vec<Scenario>> {
        let document = DeTable::parse(text).map_err(|error| misread(name, text, &error))?;
        let tables = match document.get_ref().get("scenario").map(Spanned::get_ref) {
            Some(DeValue::Array(tables)) => tables.iter().collect(),
            _ => Vec::new(),
        };
        let read = |(own, table): (&ScenarioTable, &Spanned<DeValue<'_>>)| {
            let Some(keys) = table.get_ref().as_table() else {
                return Ok(own.of(Vec::new()));
            };
            let points = self.points(own, &Keys::of(keys), files);
            points.map(|points| own.of(points)).map_err(|wrong| {
                let place = place(name, text, wrong.at.unwrap_or(table.span().start));
                anyhow!("{place}: {} (scenario `{}`)", wrong.message, own.name)
            })
        };
        self.scenario.iter().zip(tables).map(read).collect()
    }

    fn points(
        &self,
        own: &ScenarioTable,
        keys: &Keys,
        files: &Files<'_>,
    ) -> Result<Vec<Point>, Wrong> {
        let defaults = [
            ("connections", "1".to_owned()),
            ("warmup", self.warmup.typed()),
            ("duration", self.duration.typed()),
            ("drain", self.drain.typed()),
        ];
        let address = own.address().map_err(|message| Wrong {
            at: keys.url,
            message: format!("url: {message}"),
        })?;
        let point = |name: Option<String>, keys: &[Key]| {
            let ask = ask(keys, &defaults)?;
            let workload = ask.workload(&address, Shard::default(), files);
            let workload = workload.map_err(|misfit| unfit(keys, &misfit.0))?;
            Ok(Point {
                name: name.unwrap_or_else(|| format!("connections-{}", workload.connections)),
                workload,
                named: own.url.is_some(),
                goals: ask.goals,
            })
        };
        if keys.vary.is_empty() {
            return Ok(vec![point(None, &keys.load)?]);
        }
        let varied = keys.vary.iter().map(|varied| {
            let others = keys.load.iter().filter(|key| key.name != varied.name);
            let mut point_keys: Vec<Key> = others.cloned().collect();
            let value = scalar(&varied.value).unwrap_or_default();
            point_keys.push(varied.clone());
            point(Some(point_name(&varied.name, &value)), &point_keys)
        });
        varied.collect()
    }
}

/// A point's name, which is a directory's.
fn point_name(key: &str, value: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-.".contains(c);
    let name = format!("{key}-{value}");
    let plain = name.chars().map(|c| if is_plain(c) { c } else { '-' });
    plain.collect()
}

impl ScenarioTable {
    fn of(&self, points: Vec<Point>) -> Scenario {
        Scenario {
            name: self.name.clone(),
            question: self.question.clone(),
            rank: self.rank,
            server_flags: self.server_flags.clone(),
            standstill: self.standstill.as_ref().map(|table| Standstill {
                length: table.length.0,
                every: table.every.0,
            }),
            let_sleep: self.let_sleep,
            points,
        }
    }

    /// The server as a URL names it, or anyhow. Where it listens is known when it has been started.
    fn address(&self) -> Result<Address, String> {
        match &self.url {
            Some(url) => parse_url_without_port(url),
            None => parse_address("127.0.0.1:1"),
        }
    }
}

/// The keys of a scenario's load, in the order of the file.
#[derive(Debug, Default)]
struct Keys {
    load: Vec<Key>,
    /// One for each value.
    vary: Vec<Key>,
    /// Where the URL stands.
    url: Option<usize>,
}

impl Keys {
    fn of(table: &DeTable<'_>) -> Self {
        let mut keys = Self::default();
        for (name, value) in table {
            let at = name.span().start;
            match (name.get_ref().as_ref(), value.get_ref()) {
                ("vary", DeValue::Table(vary)) => {
                    for (name, values) in vary {
                        let at = name.span().start;
                        let values = match plain(values.get_ref()) {
                            Value::Array(values) => values,
                            value => vec![value],
                        };
                        keys.vary.extend(values.into_iter().map(|value| Key {
                            name: name.get_ref().to_string(),
                            value,
                            at,
                        }));
                    }
                }
                ("url", _) => keys.url = Some(at),
                (own, _) if OWN_KEYS.contains(&own) => {}
                (name, value) => keys.load.push(Key {
                    name: name.to_owned(),
                    value: plain(value),
                    at,
                }),
            }
        }
        keys.load.sort_by_key(|key| key.at);
        keys.vary.sort_by_key(|key| key.at);
        keys
    }
}

/// A value without its place.
fn plain(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or_else(|_| Value::String(number.to_string()), Value::Integer),
        DeValue::Float(number) => number
            .as_str()
            .parse()
            .map_or_else(|_| Value::String(number.to_string()), Value::Float),
        DeValue::Boolean(is) => Value::Boolean(*is),
        DeValue::Datetime(time) => Value::Datetime(*time),
        DeValue::Array(values) => {
            Value::Array(values.iter().map(|value| plain(value.get_ref())).collect())
        }
        DeValue::Table(table) => {
            let entries = table.iter();
            Value::Table(
                entries
                    .map(|(name, value)| (name.get_ref().to_string(), plain(value.get_ref())))
                    .collect(),
            )
        }
    }
}

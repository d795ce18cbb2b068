//! Scenario files: which servers, which loads, how often.
//!
//! A profile (`quick`, `standard`, `full`, or a file) is TOML. Its `[[server]]` tables are the line-up;
//! `line_up = "FILE"` takes them from another file, beside it or built in. Each `[[scenario]]` is one
//! question; `vary = { connections = [1, 10] }` makes a point of each value.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::workload::goal::Goal;
use crate::workload::load::{
    Arrivals, DEFAULT_SIZE, HIGHEST_RATE, HttpRequest, LONGEST, Load, MOST_IN_FLIGHT, Mode,
    Neighbours, Shard, Target, Workload,
};

/// The files that are built in, by name.
const BUILT_IN: [(&str, &str); 4] = [
    ("lineup.toml", include_str!("../../scenarios/lineup.toml")),
    ("quick.toml", include_str!("../../scenarios/quick.toml")),
    (
        "standard.toml",
        include_str!("../../scenarios/standard.toml"),
    ),
    ("full.toml", include_str!("../../scenarios/full.toml")),
];

/// The most clients of one point: so many descriptors a process of Linux can have at most (`NR_OPEN`).
const MOST_CLIENTS: usize = i32::MAX as usize;

/// A profile: its servers and its scenarios.
#[derive(Debug, Clone)]
pub struct Profile {
    /// One line that says what it is good for.
    pub about: String,
    /// Trials of each point.
    pub trials: usize,
    /// The rows.
    pub servers: Vec<ServerEntry>,
    /// The questions.
    pub scenarios: Vec<Scenario>,
    /// The files that it was read from.
    pub files: Vec<ScenarioFile>,
}

/// A file's name and its text, as run.json keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScenarioFile {
    /// Its name or path.
    pub name: String,
    /// All of it.
    pub text: String,
}

/// One row of the line-up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerEntry {
    /// The row's name, unique in the line-up.
    pub name: String,
    /// A crate of this workspace: its binary is `<crate>-server`.
    #[serde(rename = "crate", default, skip_serializing_if = "Option::is_none")]
    pub package: Option<String>,
    /// Flags of the crate's binary; `{cores}` is the number of cores it is given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<String>,
    /// A foreign server's command; `{port}` and `{addr}` say where to listen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// The protocols that a foreign server speaks.
    #[serde(default = "echo_only")]
    pub modes: Vec<Mode>,
    /// What the row is, in a few words.
    #[serde(default)]
    pub about: String,
}

fn echo_only() -> Vec<Mode> {
    vec![Mode::Echo]
}

/// By which figure a scenario's rows are ranked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rank {
    /// Requests a second, the more the better.
    #[default]
    Rate,
    /// The median of the response time.
    P50,
    /// Its 99th percentile.
    P99,
    /// Its 99.9th percentile.
    #[serde(rename = "p99_9")]
    P999,
}

/// One question, resolved to its points.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// Its name, which is also its directory's.
    pub name: String,
    /// What it asks, in a line.
    pub question: String,
    /// What decides.
    pub rank: Rank,
    /// What a rate is asked to keep, where the scenario varies it.
    pub goal: Option<Goal>,
    /// Flags that every server gets, such as `--work 50us`.
    pub server_flags: Vec<String>,
    /// The loads, in order.
    pub points: Vec<Point>,
}

/// One load of a scenario: a [`Workload`] but for the server, the cores and the seed.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// Such as `connections-100`; its directory's name.
    pub name: String,
    /// The protocol.
    pub mode: Mode,
    /// Closed or open loop.
    pub load: Load,
    /// Measured connections.
    pub connections: usize,
    /// Requests in flight on each.
    pub pipeline: usize,
    /// Bytes of an echo message.
    pub size: usize,
    /// Not recorded.
    pub warmup: Duration,
    /// Measured.
    pub duration: Duration,
    /// Afterwards.
    pub drain: Duration,
    /// Clients beside the measured ones.
    pub neighbours: Neighbours,
}

impl Point {
    /// Clients that are connected at once; of those that come and go, one.
    pub fn clients(&self) -> usize {
        let neighbours = &self.neighbours;
        self.connections + neighbours.connections() + usize::from(neighbours.churn > 0.0)
    }

    /// Places that a server needs for this load. Clients that leave when they are answered need one:
    /// the others wait their turn in the backlog.
    pub fn places(&self) -> usize {
        match self.mode {
            Mode::Once => self.neighbours.connections() + 1,
            Mode::Echo | Mode::Http => self.clients(),
        }
    }

    /// The orders of one trial, with a generator thread on each of these cores.
    pub fn workload(&self, server: SocketAddr, cpus: Vec<usize>, seed: u64) -> Workload {
        Workload {
            target: Target::Tcp(server),
            mode: self.mode,
            load: self.load,
            connections: self.connections,
            pipeline: self.pipeline,
            size: self.size,
            warmup: self.warmup,
            duration: self.duration,
            drain: self.drain,
            threads: cpus.len().max(1),
            cpus,
            source_addresses: 0,
            spin: false,
            seed,
            neighbours: self.neighbours,
            http: HttpRequest {
                host: None,
                path: "/".to_owned(),
                headers: Vec::new(),
                keep_alive: true,
            },
            start_at: None,
            shard: Shard::default(),
        }
    }
}

/// A profile's file, as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProfileFile {
    #[serde(default)]
    about: String,
    line_up: Option<String>,
    #[serde(default = "one")]
    trials: usize,
    #[serde(default)]
    warmup: Span<200>,
    #[serde(default)]
    duration: Span<1000>,
    #[serde(default)]
    drain: Span<1000>,
    #[serde(default)]
    server: Vec<ServerEntry>,
    #[serde(default)]
    scenario: Vec<ScenarioTable>,
}

/// A file that has nothing but a line-up.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LineUpFile {
    server: Vec<ServerEntry>,
}

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

/// Where a point keeps what varies.
type Field = fn(&mut Point) -> &mut usize;

/// What varies from point to point, all else being as the scenario says.
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

impl Profile {
    /// Reads the profile that is built in under this name.
    pub fn built_in(name: &str) -> anyhow::Result<Self> {
        let file = format!("{name}.toml");
        let text = built_in(&file).with_context(|| format!("there is no profile `{name}`"))?;
        Self::parse(&file, text, None)
    }

    /// Reads a profile from a file.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the scenario file {}", path.display()))?;
        Self::parse(&path.display().to_string(), &text, path.parent())
    }

    /// Reads a profile again from the files that a run has kept.
    pub fn from_kept(files: &[ScenarioFile]) -> anyhow::Result<Self> {
        let [profile, others @ ..] = files else {
            bail!("no scenario file was kept");
        };
        Self::parse_with(&profile.name, &profile.text, &|name| {
            let file = others.iter().find(|file| file.name == name);
            Ok(file
                .with_context(|| format!("`{name}` was not kept"))?
                .text
                .clone())
        })
    }

    fn parse(name: &str, text: &str, directory: Option<&Path>) -> anyhow::Result<Self> {
        Self::parse_with(name, text, &|name| {
            let beside: Option<PathBuf> = directory.map(|directory| directory.join(name));
            match (beside.filter(|path| path.exists()), built_in(name)) {
                (Some(path), _) => std::fs::read_to_string(&path)
                    .with_context(|| format!("cannot read the line-up {}", path.display())),
                (None, Some(text)) => Ok(text.to_owned()),
                (None, None) => {
                    bail!("there is no line-up `{name}` beside the file, and none is built in")
                }
            }
        })
    }

    fn parse_with(
        name: &str,
        text: &str,
        other: &dyn Fn(&str) -> anyhow::Result<String>,
    ) -> anyhow::Result<Self> {
        let file: ProfileFile = from_toml(name, text)?;
        let mut files = vec![ScenarioFile {
            name: name.to_owned(),
            text: text.to_owned(),
        }];
        let mut servers = Vec::new();
        if let Some(line_up) = &file.line_up {
            let text = other(line_up).with_context(|| name.to_owned())?;
            servers = from_toml::<LineUpFile>(line_up, &text)?.server;
            files.push(ScenarioFile {
                name: line_up.clone(),
                text,
            });
        }
        servers.extend(file.server.iter().cloned());
        let profile = Self {
            about: file.about.clone(),
            trials: file.trials,
            servers,
            scenarios: file
                .scenario
                .iter()
                .map(|table| table.resolve(&file))
                .collect(),
            files,
        };
        profile.check().with_context(|| name.to_owned())?;
        Ok(profile)
    }

    fn check(&self) -> anyhow::Result<()> {
        ensure!(self.trials > 0, "trials must be at least 1");
        ensure!(!self.scenarios.is_empty(), "there is no [[scenario]]");
        ensure!(
            !self.servers.is_empty(),
            "there is no [[server]] and no line_up"
        );
        let mut names = BTreeSet::new();
        for server in &self.servers {
            check_name("server", &server.name)?;
            ensure!(
                names.insert(&server.name),
                "the server `{}` is there twice",
                server.name
            );
            server
                .check()
                .with_context(|| format!("server `{}`", server.name))?;
        }
        let mut names = BTreeSet::new();
        for scenario in &self.scenarios {
            check_name("scenario", &scenario.name)?;
            ensure!(
                names.insert(&scenario.name),
                "the scenario `{}` is there twice",
                scenario.name
            );
            let mut points = BTreeSet::new();
            for point in &scenario.points {
                point
                    .check()
                    .with_context(|| format!("scenario `{}`", scenario.name))?;
                ensure!(
                    points.insert(&point.name),
                    "scenario `{}`: the point `{}` is there twice",
                    scenario.name,
                    point.name
                );
            }
        }
        Ok(())
    }

    /// Keeps these servers (all if none is named), in the order of the line-up.
    pub fn keep_servers(&mut self, names: &[String]) -> anyhow::Result<()> {
        let known: Vec<String> = self
            .servers
            .iter()
            .map(|server| server.name.clone())
            .collect();
        check_known("server", names, &known)?;
        self.servers
            .retain(|server| names.is_empty() || names.contains(&server.name));
        Ok(())
    }

    /// Keeps these scenarios (all if none is named), in the order of the file.
    pub fn keep_scenarios(&mut self, names: &[String]) -> anyhow::Result<()> {
        let known: Vec<String> = self
            .scenarios
            .iter()
            .map(|scenario| scenario.name.clone())
            .collect();
        check_known("scenario", names, &known)?;
        self.scenarios
            .retain(|scenario| names.is_empty() || names.contains(&scenario.name));
        Ok(())
    }

    /// Says how many cores a server is given, where the line-up says `{cores}`.
    pub fn set_server_cores(&mut self, cores: usize) {
        for server in &mut self.servers {
            for text in server.flags.iter_mut().chain([&mut server.about]) {
                *text = text.replace("{cores}", &cores.to_string());
            }
        }
    }

    /// Gives every point the same measured time.
    ///
    /// # Errors
    /// When no trial can be so long.
    pub fn set_duration(&mut self, duration: Duration) -> anyhow::Result<()> {
        for point in self
            .scenarios
            .iter_mut()
            .flat_map(|scenario| &mut scenario.points)
        {
            point.duration = duration;
        }
        self.check()
    }
}

fn check_known(what: &str, names: &[String], known: &[String]) -> anyhow::Result<()> {
    match names.iter().find(|name| !known.contains(name)) {
        Some(name) => bail!(
            "there is no {what} `{name}`; there are {}",
            known.join(", ")
        ),
        None => Ok(()),
    }
}

fn built_in(name: &str) -> Option<&'static str> {
    BUILT_IN
        .iter()
        .find(|(file, _)| *file == name)
        .map(|(_, text)| *text)
}

/// Parses TOML; the error is `FILE:LINE: MESSAGE`.
fn from_toml<T: serde::de::DeserializeOwned>(name: &str, text: &str) -> anyhow::Result<T> {
    toml::from_str(text).map_err(|error| {
        let line = error
            .span()
            .map_or(1, |span| 1 + text[..span.start].matches('\n').count());
        anyhow::anyhow!("{name}:{line}: {}", error.message().replace('\n', ", "))
    })
}

/// A name becomes a directory's.
fn check_name(what: &str, name: &str) -> anyhow::Result<()> {
    let good = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    ensure!(
        name.chars().all(good) && name.starts_with(|c: char| c.is_ascii_alphanumeric()),
        "the {what} name `{name}` must be of letters, digits, `-`, `_` and `.`"
    );
    Ok(())
}

impl ServerEntry {
    fn check(&self) -> anyhow::Result<()> {
        match (&self.package, self.command.as_slice()) {
            (Some(_), []) => Ok(()),
            (None, [_, ..]) => {
                ensure!(
                    self.flags.is_empty(),
                    "`flags` are for a `crate`; add them to `command`"
                );
                let placed = |word: &String| word.contains("{port}") || word.contains("{addr}");
                ensure!(
                    self.command.iter().any(placed),
                    "`command` needs {{port}} or {{addr}}, so that the bench can say where to listen"
                );
                Ok(())
            }
            _ => bail!("it needs either `crate` or `command`"),
        }
    }
}

impl Point {
    fn check(&self) -> anyhow::Result<()> {
        ensure!(self.connections > 0, "connections must be at least 1");
        ensure!(self.pipeline > 0, "pipeline must be at least 1");
        ensure!(self.size > 0, "size must be at least 1 byte");
        ensure!(
            self.mode != Mode::Once || self.pipeline == 1,
            "pipeline: with mode = \"once\" each request has its own connection"
        );
        ensure!(
            self.mode != Mode::Once || self.neighbours.half_senders == 0,
            "half_senders: with mode = \"once\" any byte is a whole request"
        );
        ensure!(
            !self.duration.is_zero(),
            "duration must be longer than nothing"
        );
        let spans = [self.warmup, self.duration, self.drain];
        ensure!(
            spans.iter().all(|span| *span <= LONGEST),
            "warmup, duration and drain must be a year at most"
        );
        if let Load::Open { rate, .. } = self.load {
            ensure!(
                rate > 0.0 && rate <= HIGHEST_RATE,
                "rate must be above 0 and at most {HIGHEST_RATE:e}"
            );
        }
        ensure!(
            (0.0..=HIGHEST_RATE).contains(&self.neighbours.churn),
            "churn must be 0 or a rate of at most {HIGHEST_RATE:e}"
        );
        let others = &self.neighbours;
        let clients = [
            self.connections,
            others.idle,
            others.slow_readers,
            others.half_senders,
            others.floods,
        ];
        let clients = clients.into_iter().try_fold(0_usize, usize::checked_add);
        ensure!(
            clients.is_some_and(|clients| clients <= MOST_CLIENTS),
            "connections and all of their neighbours together must be at most {MOST_CLIENTS}"
        );
        ensure!(
            self.connections.saturating_mul(self.pipeline) <= MOST_IN_FLIGHT,
            "connections times pipeline: at most {MOST_IN_FLIGHT} requests can be in flight"
        );
        Ok(())
    }
}

impl ScenarioTable {
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

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = r#"
line_up = "lineup.toml"
[[scenario]]
name = "ping"
question = "?"
"#;

    fn parse(text: &str) -> anyhow::Result<Profile> {
        Profile::parse("mine.toml", text, None)
    }

    fn error(text: &str) -> String {
        format!("{:#}", parse(text).unwrap_err())
    }

    #[test]
    fn the_built_in_profiles_are_sound() {
        for (name, scenarios) in [("quick", 4), ("standard", 7), ("full", 7)] {
            let profile = Profile::built_in(name).unwrap();
            assert_eq!(profile.scenarios.len(), scenarios, "{name}");
            assert!(
                profile
                    .servers
                    .iter()
                    .any(|server| server.name == "epoll-edge")
            );
            assert_eq!(
                Profile::from_kept(&profile.files).unwrap().scenarios,
                profile.scenarios
            );
        }
        assert!(Profile::built_in("slow").is_err());
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line() {
        let text = error("trials = 3\n\nduratoin = \"1s\"\n");
        assert!(
            text.starts_with("mine.toml:3: unknown field `duratoin`"),
            "{text}"
        );
        let text = error(&format!("{SMALL}connection = 7\n"));
        assert!(
            text.starts_with("mine.toml:6: unknown field `connection`"),
            "{text}"
        );
        let text = error(&format!("{SMALL}vary = {{ rates = [1] }}\n"));
        assert!(
            text.starts_with("mine.toml:6: unknown field `rates`"),
            "{text}"
        );
        let text = error(&format!("{SMALL}[[server]]\nname = \"x\"\nport = 7\n"));
        assert!(
            text.starts_with("mine.toml:8: unknown field `port`"),
            "{text}"
        );
    }

    #[test]
    fn bad_values_are_refused_with_their_line_or_name() {
        let text = error(&format!("{SMALL}duration = \"soon\"\n"));
        assert!(text.starts_with("mine.toml:6: `soon`"), "{text}");
        let text = error("this is not toml");
        assert!(
            text.starts_with("mine.toml:1: ") && !text.contains('\n'),
            "{text}"
        );
        for (line, what) in [
            ("connections = 0", "connections must be at least 1"),
            ("rate = -1.0", "rate must be above 0"),
            ("rate = 1e300", "at most 1e9"),
            ("rate = nan", "at most 1e9"),
            ("churn = 1e300", "at most 1e9"),
            ("vary = { churn = [-1.0] }", "churn must be 0 or a rate"),
            ("warmup = \"40000 years\"", "a year at most"),
            ("duration = \"580000000000 years\"", "a year at most"),
            ("drain = \"40000 years\"", "a year at most"),
            ("pipeline = 1000000000000", "requests can be in flight"),
            ("mode = \"once\"\npipeline = 2", "its own connection"),
            (
                "connections = 9223372036854775807\nidle = 9223372036854775807\nfloods = 2",
                "together must be at most 2147483647",
            ),
            (
                "vary = { idle = [2147483647] }",
                "together must be at most 2147483647",
            ),
            (
                "vary = { idle = [5, 5] }",
                "the point `idle-5` is there twice",
            ),
            (
                "[[server]]\nname = \"epoll\"\ncrate = \"epoll\"",
                "the server `epoll` is there twice",
            ),
            (
                "[[server]]\nname = \"a/b\"\ncrate = \"epoll\"",
                "letters, digits",
            ),
            ("[[server]]\nname = \"x\"", "either `crate` or `command`"),
            (
                "[[server]]\nname = \"x\"\ncommand = [\"nc\"]",
                "{port} or {addr}",
            ),
        ] {
            let text = error(&format!("{SMALL}{line}\n"));
            assert!(
                text.starts_with("mine.toml: ") && text.contains(what),
                "{text}"
            );
        }
        assert!(error("line_up = \"mine\"").contains("no line-up `mine`"));
    }

    #[test]
    fn each_value_that_varies_is_a_point() {
        let profile = parse(&format!(
            "{SMALL}connections = 20\nvary = {{ idle = [0, 9], floods = [3], rate = [500.0] }}\n"
        ))
        .unwrap();
        let points = &profile.scenarios[0].points;
        let names: Vec<&str> = points.iter().map(|point| point.name.as_str()).collect();
        assert_eq!(names, ["idle-0", "idle-9", "floods-3", "rate-500"]);
        assert_eq!(
            points.iter().map(Point::clients).collect::<Vec<_>>(),
            [20, 29, 23, 20]
        );
        assert!(matches!(points[3].load, Load::Open { rate: 500.0, .. }));
        assert_eq!(points[1].load, Load::Closed);
    }

    #[test]
    fn every_crate_has_a_row() {
        let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates");
        let profile = Profile::built_in("quick").unwrap();
        for entry in std::fs::read_dir(crates).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let has_row = |server: &ServerEntry| server.package.as_ref() == Some(&name);
            assert!(
                profile.servers.iter().any(has_row),
                "crates/{name} is not in lineup.toml"
            );
        }
    }

    #[test]
    fn narrowing_names_what_there_is() {
        let mut profile = parse(SMALL).unwrap();
        let error = profile
            .keep_servers(&["epol".to_owned()])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("`epol`") && error.contains("epoll-edge"),
            "{error}"
        );
        profile
            .keep_servers(&["poll".to_owned(), "epoll".to_owned()])
            .unwrap();
        assert_eq!(profile.servers.len(), 2);
        assert!(profile.keep_scenarios(&["pong".to_owned()]).is_err());
    }
}

//! A scene: what the clients do, as a small TOML file.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::workload::toml_text::from_toml;

/// The scene that is played when none is asked for.
pub const DEFAULT: &str = "three-clients";

/// The scenes that are built in, by name.
const BUILT_IN: [(&str, &str); 7] = [
    (DEFAULT, include_str!("../../scenes/three-clients.toml")),
    ("slow-client", include_str!("../../scenes/slow-client.toml")),
    ("work", include_str!("../../scenes/work.toml")),
    (
        "more-clients-than-workers",
        include_str!("../../scenes/more-clients-than-workers.toml"),
    ),
    ("newcomer", include_str!("../../scenes/newcomer.toml")),
    ("polling", include_str!("../../scenes/polling.toml")),
    ("stop", include_str!("../../scenes/stop.toml")),
];

/// The limits of a scene: with more clients, or a longer time, the picture cannot be read.
const MOST_CLIENTS: usize = 100;
const LONGEST: Duration = Duration::from_mins(1);
const MOST_BYTES: u64 = 64 << 20;
const MOST_PIECES: u64 = 1000;

/// What the clients do.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scene {
    /// A sentence or two: who does what.
    pub about: String,
    /// Flags of the server.
    #[serde(default)]
    pub server: Vec<String>,
    /// When the server is asked to stop; absent: when all clients are done.
    #[serde(default, deserialize_with = "some_time")]
    pub stop: Option<Duration>,
    /// The clients, in the order in which they connect.
    #[serde(default, rename = "client")]
    pub clients: Vec<Client>,
}

/// What a client does. All times run from the beginning of the scene.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Client {
    /// When it connects.
    #[serde(deserialize_with = "time")]
    pub connect: Duration,
    /// What it asks. A question waits for the answer to the one before.
    #[serde(default)]
    pub ask: Vec<Ask>,
    /// It reads nothing before this.
    #[serde(default, deserialize_with = "some_time")]
    pub read_from: Option<Duration>,
    /// When it leaves, at the earliest: it waits for its answers. Absent: it stays until the server stops.
    #[serde(default, deserialize_with = "some_time")]
    pub close: Option<Duration>,
}

/// A message to an echo server.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// When its first byte is sent.
    #[serde(deserialize_with = "time")]
    pub at: Duration,
    /// How many bytes it has.
    pub bytes: u64,
    /// It is sent in this many pieces of about the same size.
    #[serde(default = "one")]
    pub pieces: u64,
    /// The time between two pieces.
    #[serde(default, deserialize_with = "time")]
    pub every: Duration,
}

fn one() -> u64 {
    1
}

fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    let time = humantime::parse_duration(&text)
        .map_err(|error| D::Error::custom(format!("`{text}`: {error}, such as 200ms")))?;
    if time > LONGEST {
        let longest = humantime::format_duration(LONGEST);
        return Err(D::Error::custom(format!(
            "`{text}`: a scene takes at most {longest}"
        )));
    }
    Ok(time)
}

fn some_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    time(deserializer).map(Some)
}

impl Scene {
    /// A scene by its name, or from a file, which has a `/` or ends in `.toml`.
    ///
    /// # Errors
    /// When there is no such scene, or the file says something else than a scene does.
    pub fn find(name: &str) -> anyhow::Result<Self> {
        if name.contains('/') || Path::new(name).extension().is_some_and(|end| end == "toml") {
            let text =
                std::fs::read_to_string(name).with_context(|| format!("cannot read {name}"))?;
            return Self::parse(name, &text);
        }
        let Some((_, text)) = BUILT_IN.iter().find(|(known, _)| *known == name) else {
            bail!(
                "no scene is called {name}: choose one of {}, or give a file such as ./my.toml",
                names()
            );
        };
        Self::parse(name, text)
    }

    fn parse(name: &str, text: &str) -> anyhow::Result<Self> {
        let scene: Self = from_toml(name, text)?;
        ensure!(
            !scene.clients.is_empty(),
            "{name}: no [[client]] does anything"
        );
        let clients = scene.clients.len();
        ensure!(
            clients <= MOST_CLIENTS,
            "{name}: {clients} clients; a scene has at most {MOST_CLIENTS}"
        );
        for (number, client) in (1..).zip(&scene.clients) {
            for ask in &client.ask {
                ensure!(
                    (1..=MOST_BYTES).contains(&ask.bytes),
                    "{name}: client {number}: bytes = {}: from 1 to {MOST_BYTES}",
                    ask.bytes
                );
                let most = ask.bytes.min(MOST_PIECES);
                ensure!(
                    (1..=most).contains(&ask.pieces),
                    "{name}: client {number}: pieces = {}: from 1 to {most}",
                    ask.pieces
                );
                let waits = u32::try_from(ask.pieces - 1).unwrap_or(u32::MAX);
                ensure!(
                    ask.at + ask.every * waits <= LONGEST,
                    "{name}: client {number}: the last of {} pieces is sent after {}, the longest time of a scene",
                    ask.pieces,
                    humantime::format_duration(LONGEST)
                );
            }
        }
        ensure!(
            scene.clients.is_sorted_by_key(|client| client.connect),
            "{name}: write the clients in the order in which they connect: client 1 is the first"
        );
        Ok(scene)
    }
}

/// The names of the scenes that are built in.
pub fn names() -> String {
    BUILT_IN.map(|(name, _)| name).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> String {
        format!("{:#}", Scene::parse("my.toml", text).unwrap_err())
    }

    #[test]
    fn each_scene_that_is_built_in_can_be_played() {
        for (name, _) in BUILT_IN {
            let scene = Scene::find(name).unwrap();
            assert!(scene.about.ends_with('.'), "{name}: {}", scene.about);
        }
    }

    #[test]
    fn what_is_wrong_with_a_scene_is_one_line() {
        let client = "[[client]]\nconnect = '0ms'\n";
        for (text, expected) in [
            ("about = 'x'", "my.toml: no [[client]] does anything"),
            (
                &format!("about = 'x'\n{client}colour = 'red'"),
                "my.toml:4: unknown field `colour`",
            ),
            (
                "about = 'x'\n[[client]]\nconnect = 'soon'",
                "my.toml:3: `soon`: expected number at 0, such as 200ms",
            ),
            (
                "about = 'x'\n[[client]]\nconnect = '2h'",
                "my.toml:3: `2h`: a scene takes at most 1m",
            ),
            (
                &format!("about = 'x'\n{client}ask = [{{ at = '1ms', bytes = 0 }}]"),
                "my.toml: client 1: bytes = 0",
            ),
            (
                &format!("about = 'x'\n{client}ask = [{{ at = '1ms', bytes = 2, pieces = 3 }}]"),
                "my.toml: client 1: pieces = 3: from 1 to 2",
            ),
            (
                &format!(
                    "about = 'x'\n{client}ask = [{{ at = '1ms', bytes = 4000, pieces = 4000 }}]"
                ),
                "my.toml: client 1: pieces = 4000: from 1 to 1000",
            ),
            (
                &format!(
                    "about = 'x'\n{client}ask = [{{ at = '1ms', bytes = 9, pieces = 9, every = '59s' }}]"
                ),
                "my.toml: client 1: the last of 9 pieces is sent after 1m",
            ),
            (
                &format!("about = 'x'\n[[client]]\nconnect = '1ms'\n{client}"),
                "my.toml: write the clients in the order",
            ),
        ] {
            let said = fault(text);
            assert!(said.starts_with(expected), "{said}");
            assert!(!said.contains('\n'), "{said}");
        }
        let said = format!("{:#}", Scene::find("tragedy").unwrap_err());
        assert!(said.contains("three-clients, slow-client"), "{said}");
    }
}

//! An experiment as it is written: a scenario file of the bench with a table `[answer]`, which says what is asked, who
//! claimed what, and which rule turns the trials into a verdict.

use std::path::Path;

use anyhow::{Context, ensure};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::figure::Figure;
use super::rule::{Row, Rule};
use crate::workload::profile::Profile;
use crate::workload::scenario::Scenario;
use crate::workload::toml_text::from_toml;

/// The experiments that are built in, in the order of the document.
const BUILT_IN: [(&str, &str); 13] = [
    (
        "threads-for-100",
        include_str!("../../scenarios/answers/threads-for-100.toml"),
    ),
    (
        "polling-interval",
        include_str!("../../scenarios/answers/polling-interval.toml"),
    ),
    ("idle", include_str!("../../scenarios/answers/idle.toml")),
    (
        "edge-or-level",
        include_str!("../../scenarios/answers/edge-or-level.toml"),
    ),
    (
        "uring-dispute",
        include_str!("../../scenarios/answers/uring-dispute.toml"),
    ),
    (
        "accept-fairness",
        include_str!("../../scenarios/answers/accept-fairness.toml"),
    ),
    ("herd", include_str!("../../scenarios/answers/herd.toml")),
    (
        "fork-or-thread",
        include_str!("../../scenarios/answers/fork-or-thread.toml"),
    ),
    (
        "open-closed",
        include_str!("../../scenarios/answers/open-closed.toml"),
    ),
    (
        "omission",
        include_str!("../../scenarios/answers/omission.toml"),
    ),
    (
        "slow-request",
        include_str!("../../scenarios/answers/slow-request.toml"),
    ),
    (
        "memory",
        include_str!("../../scenarios/answers/memory.toml"),
    ),
    (
        "wake-up",
        include_str!("../../scenarios/answers/wake-up.toml"),
    ),
];

/// A question with what is to be measured.
#[derive(Debug, Clone)]
pub struct Experiment {
    /// Its name, which is its file's and its directory's.
    pub name: String,
    /// What is asked and claimed.
    pub answer: Answer,
    /// What is measured.
    pub profile: Profile,
    /// SHA-256 of the loads and the rules, not of the words.
    pub fingerprint: String,
}

/// The table `[answer]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// What is asked.
    pub question: String,
    /// Who published what, with the figure.
    pub source: String,
    /// What the source measured on.
    pub setting: String,
    /// What is varied.
    pub varied: String,
    /// What is held constant.
    pub constant: String,
    /// What a small machine can and cannot say here.
    pub limits: String,
    /// On a machine with fewer cores the claims are undecided.
    #[serde(default)]
    pub least_cores: usize,
    /// The columns of the table.
    pub figures: Vec<Figure>,
    /// What the picture shows.
    pub chart: Chart,
    /// What was claimed, each with its rule.
    pub claim: Vec<Claim>,
}

/// What the picture shows.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chart {
    /// The figure.
    pub figure: Figure,
    /// What stands side by side.
    pub side_by_side: SideBySide,
    /// Whether each step upwards is ten times more.
    #[serde(default)]
    pub logarithmic: bool,
}

/// What stands side by side in a chart; the other is told apart by colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SideBySide {
    /// The loads.
    Points,
    /// The servers.
    Rows,
}

/// A statement that can be checked.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// The statement.
    pub text: String,
    /// How it is checked.
    pub rule: Rule,
}

/// The file beside what the bench reads of it.
#[derive(Deserialize)]
struct File {
    answer: Answer,
}

impl Experiment {
    /// Those that are built in.
    ///
    /// # Errors
    /// When one is not sound, which a test excludes.
    pub fn built_in() -> anyhow::Result<Vec<Self>> {
        let parse = |(name, text): &(&str, &str)| {
            let profile = Profile::of_text(&format!("{name}.toml"), text)?;
            Self::new(name, text, profile)
        };
        BUILT_IN.iter().map(parse).collect()
    }

    /// One of the user's own.
    ///
    /// # Errors
    /// When the file cannot be read, or names what there is not; with its line where that is known.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let profile = Profile::read(path)?;
        let name = path.file_stem().context("the file has no name")?;
        let text = std::fs::read_to_string(path)?;
        Self::new(&name.to_string_lossy(), &text, profile)
    }

    fn new(name: &str, text: &str, profile: Profile) -> anyhow::Result<Self> {
        let file = format!("{name}.toml");
        let File { answer } = from_toml(&file, text)?;
        let experiment = Self {
            name: name.to_owned(),
            answer,
            profile,
            fingerprint: fingerprint(text)?,
        };
        experiment.check().context(file)?;
        Ok(experiment)
    }

    /// The scenario of a row.
    pub fn scenario(&self, row: &Row) -> Option<&Scenario> {
        let mut scenarios = self.profile.scenarios.iter();
        match &row.scenario {
            None => scenarios.next(),
            Some(name) => scenarios.find(|scenario| scenario.name == *name),
        }
    }

    /// Checks that everything that the rules name is measured.
    fn check(&self) -> anyhow::Result<()> {
        ensure!(
            !self.answer.claim.is_empty(),
            "there is no [[answer.claim]]"
        );
        for claim in &self.answer.claim {
            let (rows, points) = claim.rule.named();
            if let Rule::Ratio(rule) | Rule::Difference(rule) = &claim.rule
                && rule.points.is_empty()
            {
                let loads = |row| self.scenario(row).map(|scenario| scenario.points.len());
                ensure!(
                    loads(&rule.of) == loads(&rule.to),
                    "a ratio of rows with different numbers of loads needs `points`"
                );
            }
            for row in rows {
                let Row { scenario, server } = &row;
                let known = self.profile.servers.iter().any(|s| s.name == *server);
                ensure!(known, "a rule names `{server}`, which is no [[server]]");
                let measured = self.scenario(&row);
                let measured = measured.with_context(|| {
                    format!(
                        "a rule names the scenario `{}`",
                        scenario.as_deref().unwrap_or_default()
                    )
                })?;
                for point in points {
                    ensure!(
                        measured.points.iter().any(|p| p.name == *point),
                        "a rule names the point `{point}`, which `{}` has not",
                        measured.name
                    );
                }
            }
        }
        Ok(())
    }
}

/// The SHA-256 of the loads and the rules. Words may be corrected after the measuring, these may not.
fn fingerprint(text: &str) -> anyhow::Result<String> {
    let mut file: toml::Table = text.parse()?;
    file.remove("about");
    if let Some(answer) = file.get_mut("answer").and_then(toml::Value::as_table_mut) {
        answer.retain(|key, _| ["claim", "least_cores", "figures"].contains(&key));
        let claims = answer.get_mut("claim").and_then(toml::Value::as_array_mut);
        for claim in claims.into_iter().flatten() {
            claim.as_table_mut().map(|claim| claim.remove("text"));
        }
    }
    Ok(format!("{:x}", Sha256::digest(toml::to_string(&file)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_experiments_are_sound() {
        let experiments = Experiment::built_in().unwrap();
        assert_eq!(experiments.len(), BUILT_IN.len());
        for experiment in experiments {
            assert!(experiment.profile.trials >= 3, "{}", experiment.name);
        }
    }

    #[test]
    fn words_may_be_mended_and_rules_may_not() {
        let text = BUILT_IN[0].1;
        let own = fingerprint(text).unwrap();
        let words = text.replace("text = \"", "text = \"In other words: ");
        assert_eq!(fingerprint(&words).unwrap(), own);
        for rule in [
            text.replace("within = 0.15", "within = 0.5"),
            text.replace("exp:1ms", "1ms"),
        ] {
            assert_ne!(fingerprint(&rule).unwrap(), own);
        }
    }
}
